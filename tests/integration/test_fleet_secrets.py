"""A run of a fleet over rows full of secrets: none of them stands in its log, its metrics or its tables in clear."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any, Final

import pytest

from lockside.emulators.emulator import Emulator
from tests.fakes.fleet import fleet_on
from tests.fakes.kill_evidence import scan, table_names
from tests.fakes.stream_model import made_record
from tests.fakes.worker_process import worker_process

SECRET: Final = "tok_do-not-tell_"  # noqa: S105 - made up, to be looked for
ROWS: Final = 12
RECORDED_SECONDS_MAX: Final = 60.0


@pytest.mark.timeout(300)
def test_no_secret_of_a_row_is_told(dynamodb_local: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At debug level, with undecodable changes, a kill by a second signal, and the fleet's tables searched whole."""
    monkeypatch.setenv("LOCKSIDE_OPS__LOG_LEVEL", "debug")
    monkeypatch.setenv("LOCKSIDE_OPS__LISTEN", "127.0.0.1:0")
    with fleet_on(dynamodb_local, "fleet-secrets", tmp_path) as stage:
        table = stage.settings["fleet"].source[1].table
        for number in range(ROWS):
            key, payload = {"S": f"session:{SECRET}{number}"}, {"B": SECRET.encode()}
            item: Any = {"id": key, "val": payload, "expiration": {"N": "9e9"}}
            stage.client.put_item(TableName=table, Item=item)
        odd = {**made_record(f"session:{SECRET}odd", 0), "eventName": "UPSERT"}
        stage.order(put={"table": table, "records": [odd]})
        (worker,) = stage.start()
        address = next(line for line in worker.lines if line["event"] == "listening")
        stage.until(lambda: len(stage.trail().changes) > ROWS, "not all was recorded", RECORDED_SECONDS_MAX)
        with urllib.request.urlopen(f"http://127.0.0.1:{address['port']}/metrics") as page:
            metrics = page.read().decode()
        worker.send(signal.SIGTERM)
        worker.send(signal.SIGTERM)
        worker.process.wait(RECORDED_SECONDS_MAX)
        told = "\n".join(str(line) for line in stage.lines())
        kept = "\n".join(
            str(item)
            for name in table_names(stage.client)
            if name.startswith("fleet-secrets-fleet") or "-kcl-" in name
            for item in scan(stage.client, name)
        )
    assert "kcl" in told
    assert 'lockside_leases_held{table="fleet-secrets-sessions"} 1.0' in metrics
    for where, text in {"log": told, "metrics": metrics, "tables": kept}.items():
        assert not re.search(re.escape(SECRET), text), f"a secret in the {where}"


DYING_THREAD: Final = """
import logging, sys
import jpype
from lockside.engines.kcl import bridge, java
logging.basicConfig(stream=sys.stdout, format="%(name)s %(levelname)s %(message)s")
java.start((), heap_mb=64)
bridge.install()
dies = lambda: java.class_of("java.lang.Integer").parseInt(sys.argv[1])
thread = java.class_of("java.lang.Thread")(jpype.JProxy("java.lang.Runnable", dict={"run": dies}), "dying")
thread.start()
thread.join()
"""


def test_what_ends_a_thread_of_javas_is_told_without_its_words() -> None:
    """Java itself would print them on stderr, past the log."""
    said = subprocess.run([sys.executable, "-c", DYING_THREAD, SECRET], capture_output=True, text=True, check=True)  # noqa: S603
    assert said.stdout.startswith("kcl ERROR the thread dying ended by ")
    assert SECRET not in said.stdout + said.stderr


def test_a_missing_jar_is_one_message(tmp_path: Path) -> None:
    """Without the jars a worker ends with exit code 2 and says what to run; it fetches nothing by itself."""
    config = tmp_path / "lockside.toml"
    config.write_text('[[source]]\nid = "a"\ntable = "tab"\nlayout = "awslabs"\n', encoding="utf-8")
    nowhere = Emulator("moto", "http://127.0.0.1:1", lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("M2_REPO", str(tmp_path / os.urandom(4).hex()))
        with worker_process(config, nowhere, "--engine", "kcl") as worker:
            assert worker.ended() == 2
    assert "75 of KCL's 75 jars are not in the Maven cache" in worker.lines[-1]["event"]
    assert "lockside kcl jars" in worker.lines[-1]["event"]

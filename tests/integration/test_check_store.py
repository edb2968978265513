"""The random read/write check: it passes on sound stores, with faults too, and finds each planted bug."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from click.testing import CliRunner

from lockside.app import trial_faults
from lockside.app.store_check import Maker, Plan, Report, Site, check, open_shop, prepare, remove
from lockside.aws.clients import connect
from lockside.aws.retrying import error_code
from lockside.cli.main import main
from lockside.emulators.emulator import Emulator
from lockside.settings import AwsSettings
from tests.fakes.kill_evidence import table_names
from tests.fakes.planted_stores import PLANTED
from tests.fakes.state_table import access, dynamodb, make_state_table

NUMBERS = itertools.count()
LEASE_SECONDS = 1.0
END_SECONDS_MAX = 90.0

pytestmark = pytest.mark.timeout(300)


def hold(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, maker: Maker = open_shop, **more: Any) -> Report:
    """Hold a short trial of three clients over few keys and one lock."""
    for variable, value in emulator.environment.items():
        monkeypatch.setenv(variable, value)
    aws = AwsSettings(region=emulator.region, endpoint_url=emulator.endpoint_url)
    site = Site(aws, f"trial-{next(NUMBERS)}", "run", LEASE_SECONDS, **more)
    clients = connect(aws)
    made = prepare(clients, site)
    try:
        return check(site, Plan(4, 3, 7, keys=5, locks=1), threading.Event(), lambda _elapsed, _calls: None, maker)
    finally:
        remove(clients, made)


def check_sound(report: Report) -> None:
    """See that nothing was found, and that everything was put to the test."""
    assert report.verdict.findings == ()
    assert report.verdict.open_questions == ()
    shown = report.verdict.shown
    assert shown.stale_refused >= 1
    assert report.pauses >= 1
    assert shown.holders >= 2
    assert report.calls > 20


def test_sound_stores_pass_on_dynamodb_local(dynamodb_local: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Holders that were stopped and overtaken tried to write, and were refused."""
    check_sound(hold(dynamodb_local, monkeypatch))


def test_sound_stores_pass_though_calls_fail(dynamodb_local: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused, failed, unreached, and done with the answer lost: one in ten."""
    check_sound(hold(dynamodb_local, monkeypatch, faults=0.1))


def test_faults_are_of_every_kind(moto: Emulator) -> None:
    """Some of those writes were done after all, and some were not."""
    client = dynamodb(moto)
    table = make_state_table(client)
    errors: dict[str, str] = {}
    faulty = client_of_faults(moto)
    for number in range(60):
        try:
            faulty.put_item(TableName=table, Item={"pk": {"S": str(number)}, "sk": {"S": "-"}})
        except (ClientError, BotoCoreError) as error:
            errors[str(number)] = error_code(error)
    done = {item["pk"]["S"] for item in client.scan(TableName=table)["Items"]}
    assert set(errors.values()) == {"ThrottlingException", "InternalServerError", "ConnectionError"}
    assert len(errors) == 60
    for code in ("InternalServerError", "ConnectionError"):
        kinds = {number in done for number, each in errors.items() if each == code}
        assert kinds == {True, False}, code
    assert not any(number in done for number, code in errors.items() if code == "ThrottlingException")


def client_of_faults(emulator: Emulator) -> Any:
    """Return a client whose every call goes wrong, and that tries nothing again."""
    client = boto3.client("dynamodb", config=Config(retries={"total_max_attempts": 1}), **access(emulator))
    trial_faults.install(client, 1.0, Random(5))  # noqa: S311 - to be repeated, not secret
    return client


def test_the_command_tells_on_moto(moto: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls, times, and what was put to the test; the tables that it made are gone again."""
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    arguments = ["--endpoint", moto.endpoint_url, "--seconds", "4", "--clients", "3", "--seed", "3", "--lease", "1"]
    result = CliRunner().invoke(main, ["check-store", *arguments, "--json"])
    told = json.loads(result.stdout)
    assert (result.exit_code, told["findings"], told["open_questions"]) == (0, [], []), told
    assert told["seed"] == 3
    assert told["calls"] > 20
    assert set(told["milliseconds"]["read"]) == {"p50", "p95", "p99"}
    assert told["shown"]["stale_refused"] >= 1
    clients = connect(AwsSettings(region=moto.region, endpoint_url=moto.endpoint_url))
    names = table_names(clients.dynamodb)
    assert not [name for name in names if name.startswith("lockside-check-store")]


def session_of(process: int) -> dict[int, str]:
    """Return the processes of a session that run, and their states."""
    command = ["ps", "-s", str(process), "-o", "pid=,stat="]
    listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
    found = (line.split() for line in listed.splitlines())
    return {int(pid): state for pid, state in found if not state.startswith("Z")}


def test_sigterm_leaves_neither_clients_nor_tables(
    moto: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not even a client that is stopped at that moment."""
    for variable, value in moto.environment.items():
        monkeypatch.setenv(variable, value)
    command = [sys.executable, "-m", "lockside", "check-store", "--endpoint", moto.endpoint_url, "--seconds", "60"]
    options = ["--clients", "2", "--lease", "5", "--table", "ended-early"]
    process = subprocess.Popen([*command, *options], start_new_session=True, cwd=tmp_path)  # noqa: S603
    try:
        limit = time.monotonic() + END_SECONDS_MAX
        while not any(state.startswith("T") for state in session_of(process.pid).values()):
            assert process.poll() is None
            assert time.monotonic() < limit
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_SECONDS_MAX) == 128 + signal.SIGTERM
        while session_of(process.pid):
            assert time.monotonic() < limit
    finally:
        for pid in session_of(process.pid):
            os.kill(pid, signal.SIGKILL)
    clients = connect(AwsSettings(region=moto.region, endpoint_url=moto.endpoint_url))
    assert not [name for name in table_names(clients.dynamodb) if name.startswith("ended-early")]


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(dynamodb_local: Emulator, monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    """By the law that it breaks."""
    maker, law = PLANTED[bug]
    report = hold(dynamodb_local, monkeypatch, maker)
    assert law in {finding.law for finding in report.verdict.findings}, report.verdict

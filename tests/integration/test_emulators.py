"""Both backends for real, and the real clients against them."""

import http.client
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import groupby
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Any

import boto3
import pytest

from lockside.emulators import dynamodb_local, tables, tether
from lockside.emulators.clients import member
from lockside.emulators.clients.cast import BILLING, IMPORT, NIGHTLY, REPORT
from lockside.emulators.clients.crew import QUICK, Crew
from lockside.emulators.clients.truth import Line
from lockside.emulators.emulator import Emulator
from lockside.emulators.start import start
from lockside.errors import SetupError

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodbstreams import DynamoDBStreamsClient

CREW_SECONDS_MAX = 90.0


@pytest.fixture(scope="module", params=["moto", "dynamodb-local"])
def emulator(request: pytest.FixtureRequest) -> Iterator[Emulator]:
    """Run each backend once for this file."""
    with start(request.param) as running:
        yield running


def dynamodb(emulator: Emulator) -> "DynamoDBClient":
    """Return a client of an emulator."""
    return boto3.client("dynamodb", **access(emulator))


def access(emulator: Emulator) -> dict[str, Any]:
    """Return what boto3 needs to reach an emulator, whatever the environment says."""
    return {
        "endpoint_url": emulator.endpoint_url,
        "region_name": emulator.region,
        "aws_access_key_id": emulator.credentials.access_key_id,
        "aws_secret_access_key": emulator.credentials.secret_access_key,
    }


def stream(emulator: Emulator, arn: str) -> list[dict[str, Any]]:
    """Read all of a stream's records, from its one shard."""
    streams: DynamoDBStreamsClient = boto3.client("dynamodbstreams", **access(emulator))
    shard = streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"][0]["ShardId"]
    iterator = streams.get_shard_iterator(StreamArn=arn, ShardId=shard, ShardIteratorType="TRIM_HORIZON")
    records: list[dict[str, Any]] = []
    following: str | None = iterator["ShardIterator"]
    while following:
        page = streams.get_records(ShardIterator=following)
        if not page["Records"]:
            break
        records += [dict(record) for record in page["Records"]]
        following = page.get("NextShardIterator")
    return records


def steps(truth: tuple[Line, ...], **wanted: str) -> list[tuple[str, str]]:
    """List the steps of one lock or of one user's session, runs of renewals as one."""
    lines = [line for line in truth if all(line.get(name) == value for name, value in wanted.items())]
    told = [(line["step"], line.get("owner") or line.get("user") or "") for line in lines]
    return [step for step, _run in groupby(told)]


def test_the_clients_tell_what_they_did(emulator: Emulator) -> None:
    """The whole cast plays: each lock and session has its story, and the streams carry it."""
    client = dynamodb(emulator)
    locks = tables.create_lock_table(client, "locks")
    sessions = tables.create_session_table(client, "sessions")
    with Crew(emulator, "locks", "sessions", replace(QUICK, late_seconds=1.0)) as crew:
        assert crew.wait(CREW_SECONDS_MAX)
        assert crew.problems == ()
        truth = crew.truth
    check_locks(truth)
    check_sessions(truth)
    held = client.scan(TableName="locks", ConsistentRead=True)["Items"]
    assert [row["lock_key"]["S"] for row in held] == [NIGHTLY]
    keys = {record["dynamodb"]["Keys"]["lock_key"]["S"] for record in stream(emulator, locks)}
    assert keys == {REPORT, BILLING, NIGHTLY, IMPORT}
    seen = {record["dynamodb"]["Keys"]["id"]["S"] for record in stream(emulator, sessions)}
    assert seen == {line[name] for line in truth for name in ("session", "old") if name in line}


def check_locks(truth: tuple[Line, ...]) -> None:
    """Compare the locks' stories with the script."""
    assert steps(truth, lock=BILLING) == [("acquired", "alpha"), ("renewed", "alpha"), ("released", "alpha")]
    assert steps(truth, lock=REPORT, owner="alpha") == [
        ("acquired", "alpha"),
        ("renewed", "alpha"),
        ("released", "alpha"),
    ]
    assert [step for step, _owner in steps(truth, lock=REPORT, owner="beta")] == [
        "waiting",
        "acquired",
        "renewed",
        "released",
    ]
    crash = [("acquired", "crash"), ("renewed", "crash"), ("killed", "crash")]
    assert steps(truth, lock=NIGHTLY) == [*crash, ("expired", "crash")]
    assert [step for step in steps(truth, lock=IMPORT) if step[0] != "waiting"] == [
        *crash,
        ("expired", "crash"),
        ("taken_over", "gamma"),
        ("renewed", "gamma"),
        ("released", "gamma"),
    ]
    for lock in (NIGHTLY, IMPORT):
        of_crash = [line for line in truth if line.get("lock") == lock and line.get("owner") == "crash"]
        beat, due = (max(line["t"] for line in of_crash if line["step"] == step) for step in ("renewed", "expired"))
        assert due == pytest.approx(beat + QUICK.lease_seconds)


def check_sessions(truth: tuple[Line, ...]) -> None:
    """Compare the visitors' stories with the script."""
    assert steps(truth, user="dave") == [("created", "dave"), ("renewed", "dave"), ("expired", "dave")]
    erin = ["created", "expired", "renewed", "expired"]
    assert [step for step, _user in steps(truth, user="erin")] == erin
    assert [step for step, _user in steps(truth, user="bob")] == ["created", "renewed", "logout"]
    assert [step for step, _user in steps(truth, user="gina")] == ["created"]
    assert [step for step, _user in steps(truth, user="hank")] == ["switched", "logout"]
    assert [step for step, _user in steps(truth, user="carol")] == ["rotated_login", "logout"]
    (login,) = [line for line in truth if line["step"] == "login"]
    assert [step for step, _user in steps(truth, session=login["session"])] == [
        "created",
        "login",
        "renewed",
        "changed",
        "logout",
        "ended",
    ]
    (rotated,) = [line for line in truth if line["step"] == "rotated_login"]
    assert rotated["old"] != rotated["session"]


def test_closing_the_crew_midway_ends_every_client(emulator: Emulator) -> None:
    """A crew that is closed while it plays leaves no process, reports no problem, and says that it did not finish."""
    client = dynamodb(emulator)
    tables.create_lock_table(client, "locks-midway")
    tables.create_session_table(client, "sessions-midway")
    crew = Crew(emulator, "locks-midway", "sessions-midway")
    with crew:
        assert not crew.finished
    crew.close()
    assert not crew.finished
    assert crew.problems == ()
    assert all(member.process.returncode is not None for member in crew._members)


def test_a_client_that_fails_is_reported(emulator: Emulator) -> None:
    """Clients whose table is missing end, and the report names them and what they said."""
    # Flask-Session makes its own table when there is none; only the lock clients must fail here.
    with Crew(emulator, "no-such-table", "sessions-alone", QUICK) as crew:
        assert crew.wait(CREW_SECONDS_MAX)
        problems = crew.problems
    assert len(problems) == 2
    assert all("ended with exit code 1" in problem for problem in problems)
    assert all("ResourceNotFoundException" in problem for problem in problems)


def test_a_clients_complaint_carries_no_session_id() -> None:
    """What a failing client says of a session is passed on without the session's id."""
    secret = token_urlsafe(32)
    failing = member.Member("failing", tether.launch([sys.executable, "-c", f"exit('no row session:{secret}')"]))
    gone = threading.Event()
    failing.listen(lambda _member, _line: None, lambda _member: gone.set())
    assert gone.wait(30.0)
    assert failing.problem == "the client 'failing' ended with exit code 1; it said: no row session:…"
    failing.end()


def test_the_tables_program_leaves_alone_what_is_there(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """compose.yaml runs it at each start, whether its DynamoDB is new or not."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    for said in ("created", "is there"):
        tables.main([emulator.endpoint_url, "program-locks", "program-sessions"])
        assert capsys.readouterr().out.splitlines() == [f"program-locks: {said}", f"program-sessions: {said}"]


def test_the_environment_is_enough(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process with the emulator's environment reaches it without any argument."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    assert boto3.Session().client("dynamodb").list_tables()["ResponseMetadata"]["HTTPStatusCode"] == 200


@pytest.mark.parametrize("kind", ["moto", "dynamodb-local"])
def test_a_taken_port_is_a_clear_error(kind: Any) -> None:
    """A port somebody else has is named at once."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        with pytest.raises(SetupError, match=f"port {number} .* choose another"):
            start(kind, port=number)


def test_moto_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    """No request log is printed; a closed server answers no more; closing twice is fine."""
    with start("moto") as running:
        tables.create_lock_table(dynamodb(running), "short-lived")
        host, _colon, number = running.endpoint_url.removeprefix("http://").partition(":")
    running.close()
    assert capfd.readouterr() == ("", "")
    with closing(http.client.HTTPConnection(host, int(number), timeout=5)) as line, pytest.raises(ConnectionError):
        line.request("GET", "/")


def test_moto_forgets_with_its_last_server() -> None:
    """Servers of one process share their tables, and the last one to end takes them along."""
    program = """
import boto3
from lockside.emulators import moto, tables
def names(emulator):
    return boto3.client("dynamodb", endpoint_url=emulator.endpoint_url).list_tables()["TableNames"]
with moto.start():
    with moto.start() as other:
        tables.create_lock_table(boto3.client("dynamodb", endpoint_url=other.endpoint_url), "locks")
    with moto.start() as other:
        print(names(other))
with moto.start() as fresh:
    print(names(fresh))
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert said.stdout == "['locks']\n[]\n"


def test_a_java_that_ends_at_once_is_seen() -> None:
    """A child that ends instead of answering is noticed at once, with its last words."""
    child = dynamodb_local.Child([sys.executable, "-c", "import sys; sys.exit('no such class')"], 9)
    assert not child.wait_ready(30.0)
    child.close()
    assert child.said() == "no such class"


def test_a_java_that_never_answers_is_given_up() -> None:
    """The wait for an answer is bounded, and the error says what the child last said and the way out."""
    child = dynamodb_local.Child([sys.executable, "-c", "import threading; threading.Event().wait()"], 9)
    with pytest.raises(SetupError, match=r"did not answer on port 9 within 0 s; it last said: nothing.*'moto'"):
        child.wait_ready(0.2)
    child.close()
    assert child.process.returncode is not None

"""What `lockside check` says where IAM denies: which action, on which table, and the way out. It changes nothing.

The guard before DynamoDB Local allows what `deploy/iam` allows, less one action at a time.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from lockside.app import attempts, fleet, preflight
from lockside.app.attempts import Place
from lockside.app.finding import Finding
from lockside.aws.clients import Clients, connect
from lockside.aws.tables import audit_table, state_table
from lockside.emulators.emulator import Emulator, Kind
from lockside.ops.clock import SystemClock
from tests.contract.test_iam import POLICIES
from tests.fakes.dynamodb import FakeDynamoDB, service_error
from tests.fakes.estate import Estate
from tests.fakes.guard import Guard
from tests.fakes.permissions import Grant, grants, renamed

LEFT_TO_SINGLE_CALLS = {"dynamodb:PartiQLInsert", "dynamodb:PartiQLDelete"}
"""Without these the worker writes entries of the live index one by one."""

MADE = {"dynamodb:DescribeTable", "dynamodb:CreateTable"}
USED = {
    f"dynamodb:{verb}" for verb in ("DescribeTable", "GetItem", "PutItem", "UpdateItem", "DeleteItem", "Scan", "Query")
}
"""What a fleet calls of KCL's tables, before they are there and after."""


@pytest.fixture
def estate(dynamodb_local: Emulator, tmp_path: Path) -> Estate:
    """Make an installation that could run, with a trail of one record."""
    made = Estate(dynamodb_local, tmp_path)
    made.make()
    made.take("a")
    made.drain()
    return made


@pytest.fixture
def guard(estate: Estate) -> Iterator[Guard]:
    """Stand before it, and allow what a check needs."""
    with estate.guarded(allowed_to(estate, "check")) as standing:
        yield standing


def allowed_to(estate: Estate, command: str) -> frozenset[Grant]:
    """Return what a command's policy allows here."""
    return renamed(grants(POLICIES / f"{command}.json"), estate.names)


def found(estate: Estate, clients: Clients | None = None) -> list[Finding]:
    """Return all that a check finds."""
    settings = estate.settings
    return list(preflight.examine(settings, clients or connect(settings.aws), SystemClock(), uuid4().hex))


@pytest.mark.timeout(600)
def test_each_action_that_the_worker_lacks_is_named_with_its_table(estate: Estate, guard: Guard) -> None:
    """None that a worker needs is left to be found out while it runs; what a check alone needs keeps nobody."""
    everything, clients = guard.allowed or frozenset(), connect(estate.settings.aws)
    for action, resource in sorted(everything):
        guard.allowed = everything - {(action, resource)}
        said = [
            each
            for each in found(estate, clients)
            if f"{action.partition(':')[2]} " in each.what and "denied" in each.what
        ]
        if (action, resource) not in allowed_to(estate, "run-embedded"):
            assert all(each.level == "warning" for each in said), (action, resource, said)
            continue
        (finding,) = said
        assert finding.level == ("warning" if action in LEFT_TO_SINGLE_CALLS else "fault")
        assert finding.table == resource.split("/")[1]
        assert f"allow {action}" in finding.fix or (action in finding.fix and finding.table in finding.fix)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("there", [False, True], ids=["before its tables", "with its tables"])
def test_each_action_that_a_fleet_lacks_besides_is_named(
    estate: Estate, guard: Guard, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    """Of KCL's tables: that they may be made, as long as they are not there, and then each call of them."""
    fleet.fetch_jars()
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    if there:
        estate.make_lease_tables()
    everything, clients = guard.allowed or frozenset(), connect(estate.settings.aws)
    besides = allowed_to(estate, "run-kcl") - allowed_to(estate, "run-embedded")
    shown = 0
    for action, resource in sorted(besides):
        guard.allowed = everything - {(action, resource)}
        said = [
            each
            for each in found(estate, clients)
            if each.level == "fault" and f"{action} is denied (AccessDeniedException)" == each.what
        ]
        needed = action in (USED if there else MADE)
        assert bool(said) == needed, (action, said)
        prefix = resource.split("/")[1].rstrip("*")
        assert all(each.table is not None and each.table.startswith(prefix) for each in said)
        assert all("deploy/iam/run-kcl.json has all" in (each.fix or "") for each in said)
        shown += needed
    assert shown == len(USED if there else MADE)


def test_a_fleets_tables_that_are_not_there_are_told_and_not_made(
    estate: Estate, guard: Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That they may be made is proved, and what cannot be proved before is said."""
    del guard
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    before = estate.client.list_tables()["TableNames"]
    said = [each for each in found(estate) if "is not there yet" in each.what]
    assert [each.level for each in said] == ["note"] * 6
    assert all("cannot be proved before" in each.what for each in said)
    assert estate.client.list_tables()["TableNames"] == before


@pytest.mark.parametrize("denied", [("DescribeTable", ""), ("DescribeStream", "/stream/*")], ids=lambda pair: pair[0])
def test_a_fleet_is_checked_to_the_end_where_a_stream_may_not_be_looked_at(
    estate: Estate, guard: Guard, monkeypatch: pytest.MonkeyPatch, denied: tuple[str, str]
) -> None:
    """What it would ask of that stream is left out; the denial is told once."""
    monkeypatch.setenv("LOCKSIDE_ENGINE__KIND", "kcl")
    action, place = denied
    guard.allowed = (guard.allowed or frozenset()) - {(f"dynamodb:{action}", f"table/{estate.name}-locks{place}")}
    said = found(estate)
    (fault,) = [each for each in said if each.level == "fault"]
    assert action in fault.what
    assert "is denied" in fault.what
    assert fault.table == f"{estate.name}-locks"
    assert [each.table for each in said if "GetRecords, " in each.what] == [f"{estate.name}-sessions"]


def test_a_check_changes_nothing(estate: Estate, guard: Guard) -> None:
    """Not an item of any table, though it made each call of the worker."""
    before = [estate.client.scan(TableName=table)["Items"] for table in estate.tables.values()]
    said = found(estate)
    assert [estate.client.scan(TableName=table)["Items"] for table in estate.tables.values()] == before
    assert guard.used >= allowed_to(estate, "run-embedded")
    assert sum("calls of it are allowed" in each.what and each.level == "good" for each in said) == 4


def test_a_denied_action_ends_the_command_with_one(estate: Estate, guard: Guard) -> None:
    """The line names the action and where all of them stand."""
    guard.allowed = (guard.allowed or frozenset()) - {("dynamodb:ConditionCheckItem", f"table/{estate.name}-state")}
    result = estate.run("check")
    assert result.exit_code == 1
    denied = "dynamodb:ConditionCheckItem is denied (AccessDeniedException)"
    assert f"fault    {estate.name}-state: {denied}" in result.stdout
    way_out = f"allow dynamodb:ConditionCheckItem on table/{estate.name}-state; deploy/iam/run-embedded.json has all"
    assert f"→ {way_out}" in result.stdout


def test_without_batches_no_statement_is_tried(estate: Estate, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the worker will not call needs no permission."""
    monkeypatch.setenv("LOCKSIDE_STATE__BATCHED", "false")
    everything = guard.allowed or frozenset()
    guard.allowed = frozenset(pair for pair in everything if pair[0] not in LEFT_TO_SINGLE_CALLS)
    assert not [each for each in found(estate) if "denied" in each.what]
    assert not guard.denied


class Denying(FakeDynamoDB):
    """Tables in memory, of which one operation fails."""

    def __init__(self, operation: str, code: str) -> None:
        """Fail this operation with this code."""
        super().__init__(audit_table("audit").create, state_table("state").create)
        setattr(self, operation, self._fail(operation, code))

    def _fail(self, operation: str, code: str) -> Callable[..., None]:
        def failing(**_: object) -> None:
            raise service_error(code, operation)

        return failing

    def place(self, purpose: str) -> Place:
        """Return a table as findings name it."""
        return Place(purpose, f"{purpose}.table", self.client, "nobody", "policy.json")


class Answering(Denying):
    """Tables in memory, beside which statements are answered so."""

    def __init__(self, answer: dict[str, Any]) -> None:
        """Give this answer to whatever statements."""
        super().__init__("put_item", "ConditionalCheckFailedException")
        self._answer = answer

    def batch_execute_statement(self, **_: object) -> dict[str, Any]:
        """Carry out nothing."""
        return self._answer


@pytest.mark.parametrize(
    ("operation", "code", "level", "what"),
    [
        ("put_item", "KMSAccessDeniedException", "fault", "dynamodb:PutItem is denied (KMSAccessDeniedException)"),
        (
            "transact_write_items",
            "AccessDeniedException",
            "fault",
            "dynamodb:ConditionCheckItem or dynamodb:UpdateItem is denied (AccessDeniedException)",
        ),
        ("query", "ThrottlingException", "warning", "query failed (ThrottlingException)"),
    ],
)
def test_a_denial_that_names_no_action_is_told_by_its_call(operation: str, code: str, level: str, what: str) -> None:
    """A text that another service wrote is not relied on; a call that failed otherwise is no denial."""
    said = list(attempts.state(Denying(operation, code).place("state"), batched=False))
    assert [(each.level, each.what) for each in said] == [(level, what)]


def test_a_statement_denied_in_a_good_answer_is_denied() -> None:
    """BatchExecuteStatement tells of each statement in its answer."""
    table = Answering({"Responses": [{"Error": {"Code": "AccessDenied", "Message": "no"}}]})
    said = list(attempts.state(table.place("state"), batched=True))
    assert [(each.level, each.what) for each in said] == [
        ("warning", "dynamodb:PartiQLInsert is denied (AccessDenied)"),
        ("warning", "dynamodb:PartiQLDelete is denied (AccessDenied)"),
    ]


def test_an_endpoint_without_statements_is_only_noted(emulator_of: Callable[[Kind], Emulator], tmp_path: Path) -> None:
    """Moto knows none, and the worker gets on without."""
    estate = Estate(emulator_of("moto"), tmp_path)
    estate.make()
    assert [each.level for each in found(estate) if "written singly" in each.what] == ["note"]

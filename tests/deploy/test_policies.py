"""The IAM policies, as far as they can be read: what they allow is held against the commands in tests/contract."""

import json
from pathlib import Path
from typing import Final

import botocore.session
import pytest

from lockside.settings import Settings, load
from tests.deploy import DEPLOY
from tests.fakes.permissions import PREFIX, grants

POLICIES = sorted((DEPLOY / "iam").glob("*.json"))
BESIDE_OPERATIONS: Final = {"PartiQLInsert", "PartiQLDelete", "ConditionCheckItem"}
"""Actions that are no operations of the API: of statements and of transactions."""

KCL_TABLES: Final = "table/lockside-kcl-*"
KCL_ACTIONS: Final = frozenset(
    {"CreateTable", "DescribeTable", "Scan", "GetItem", "PutItem", "UpdateItem", "DeleteItem"}
)
"""Of the lease, coordinator and worker-metrics tables: "IAM permissions required for KCL consumer applications", Amazon
Kinesis Data Streams Developer Guide. Two of its actions are not needed: CloudWatch's, as nothing is sent there, and
UpdateTable, which adds the index to a table of KCL 2; ours is made with it."""

POLICY_CHARACTERS_MAX: Final = 6_144
"""IAM's limit for a managed policy, white space left out."""


@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: policy.stem)
def test_a_policy_is_one_that_iam_takes(policy: Path) -> None:
    """Known actions, our own resources, a statement for each kind of use, and not too long."""
    text = policy.read_text(encoding="utf-8")
    document = json.loads(text)
    assert document["Version"] == "2012-10-17"
    identifiers = [statement["Sid"] for statement in document["Statement"]]
    assert len(set(identifiers)) == len(identifiers)
    assert len(json.dumps(document, separators=(",", ":"))) < POLICY_CHARACTERS_MAX
    session = botocore.session.get_session()
    operations = {
        name
        for service in ("dynamodb", "dynamodbstreams")
        for name in session.get_service_model(service).operation_names
    }
    used = {action.partition(":")[2] for action, _ in grants(policy)}
    assert used <= operations | BESIDE_OPERATIONS


def test_the_tables_are_those_of_the_example_settings() -> None:
    """Whoever follows config/lockside.toml has to fill in nothing but region and account."""
    settings, example = Settings(), load(DEPLOY.parent / "config" / "lockside.toml")
    own = {settings.audit.table, settings.state.table}
    watched = {source.table for source in example.source}
    named = {resource.split("/")[1] for policy in POLICIES for _, resource in grants(policy)}
    assert named - {KCL_TABLES.split("/")[1]} == own | watched
    assert f"table/{settings.application}-kcl-*" == KCL_TABLES


def test_a_worker_of_a_fleet_may_besides_share_shards_out() -> None:
    """What KCL itself calls, by Amazon's list; all else is as with the embedded engine, but for the owner."""
    fleet, alone = (grants(DEPLOY / "iam" / f"run-{engine}.json") for engine in ("kcl", "embedded"))
    besides = fleet - alone
    index = ("dynamodb:Query", f"{KCL_TABLES}/index/LeaseOwnerToLeaseKeyIndex")
    assert besides == {(f"dynamodb:{action}", KCL_TABLES) for action in KCL_ACTIONS} | {index}
    assert alone - fleet == {("dynamodb:ConditionCheckItem", "table/lockside-state")}


def test_every_policy_is_plain_to_fill_in() -> None:
    """Region and account are two words to replace, nothing else."""
    for policy in POLICIES:
        text = policy.read_text(encoding="utf-8")
        assert text.count(PREFIX) == text.count("arn:")

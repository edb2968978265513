"""The tables that CloudFormation makes are those that the worker expects."""

from typing import Any

import pytest
import yaml

from lockside.app.provision import shape_faults
from lockside.aws.tables import TableDefinition, audit_table, state_table
from tests.deploy import DEPLOY


class _Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as the name they hold."""


_Loader.add_multi_constructor("!", lambda _loader, suffix, node: f"{suffix} {node.value}")


@pytest.mark.parametrize(
    ("resource", "definition"), [("Audit", audit_table("lockside-audit")), ("State", state_table("lockside-state"))]
)
def test_a_table_is_as_init_would_make_it(resource: str, definition: TableDefinition) -> None:
    """Keys, indexes with what they carry, billing, protection, recovery and expiry."""
    template: Any = yaml.load((DEPLOY / "cloudformation" / "tables.yaml").read_text(encoding="utf-8"), _Loader)  # noqa: S506
    properties = template["Resources"][resource]["Properties"]
    parameter = template["Parameters"][properties["TableName"].removeprefix("Ref ")]
    made = {**properties, "TableName": parameter["Default"]}
    recovery, expiry = made.pop("PointInTimeRecoverySpecification"), made.pop("TimeToLiveSpecification", None)
    assert made == definition.create
    assert shape_faults(definition, made) == []
    assert recovery == {"PointInTimeRecoveryEnabled": definition.point_in_time_recovery}
    wanted = definition.ttl_attribute
    assert expiry == (None if wanted is None else {"AttributeName": wanted, "Enabled": True})

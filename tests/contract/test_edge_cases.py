"""The 43 edge cases of a streams consumer: each has its tests, found by their names, or a reason why it has none."""

import ast
import re
from collections import defaultdict
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).parents[1]
NAMED: Final = re.compile(r"test_edge_(\d+)_")

CASES: Final[dict[int, str]] = {
    1: "changes are kept for 24 hours",
    2: "shards roll and split",
    3: "the last page may carry records together with a null iterator",
    4: "an empty page is neither the end nor the tip",
    5: "a finished shard is marked so, apart from its position",
    6: "a parent that is listed is waited for, one that aged out is done",
    7: "a child may be closed when it is first seen",
    8: "DescribeStream has pages, and bears ten calls a second",
    9: "listings have holes, open parents with children and children that come late",
    10: "CHILD_SHARDS is late, or ignored",
    11: "the time in a shard's name is a hint",
    12: "streams are being enabled, and switched off",
    13: "iterators live for 15 minutes",
    14: "data is trimmed before it is read",
    15: "not found: the shard, the stream or the table",
    16: "there are four kinds of iterators",
    17: "a page has 1,000 records or 1 MB",
    18: "a shard bears two readers",
    19: "calls are throttled, fail, and break off",
    20: "botocore checks lengths by itself",
    21: "a record is in the stream once, and delivered at least once",
    22: "order holds per item only",
    23: "a transaction comes apart",
    24: "a write that changes nothing leaves no record",
    25: "the view type may hide an image",
    26: "off and on again is another stream",
    27: "a table may be made again under its name",
    28: "creation times are rounded down",
    29: "a TTL removal bears the service's identity",
    30: "global tables write attributes of their own",
    31: "absent is not empty; 38 digits, bytes, empty strings",
    32: "event names and versions may be unknown",
    33: "restores have no stream; batches are changes of their own",
    34: "permissions and keys may be lost while running",
    35: "each GetRecords call is paid for",
    36: "LATEST loses what comes before the first iterator",
    37: "a poisonous record",
    38: "a zombie, and its writes",
    39: "watching one's own tables",
    40: "an audit item has 400 KB, a change may have twice that",
    41: "clocks are wrong",
    42: "a snapshot joined to a stream",
    43: "hundreds of retained shards",
}
"""What each is about, by its number in the list that the design was made from."""

NOT_OURS: Final[dict[int, str]] = {
    42: "no table is ever read as a snapshot: what is held is known from changes, a lapse from one read",
}
"""Why a case does not concern this consumer."""


def names() -> dict[int, set[str]]:
    """Return the tests by the number in their names, as they stand in the files."""
    found: dict[int, set[str]] = defaultdict(set)
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (named := NAMED.match(node.name)):
                found[int(named[1])].add(f"{path.relative_to(TESTS)}::{node.name}")
    return found


def test_every_edge_case_has_a_test_or_a_reason() -> None:
    """Neither both, nor none; and no test is named after a case that is not on the list."""
    assert sorted(CASES) == list(range(1, 44))
    found = names()
    assert set(found) <= set(CASES)
    assert {number: title for number, title in CASES.items() if number not in {*found, *NOT_OURS}} == {}
    assert set(found) & set(NOT_OURS) == set()


def test_every_edge_case_is_tried_over_a_socket_or_by_the_whole_worker() -> None:
    """A test beside a fake in memory is not enough: one at least is in a file that drives the fake server."""
    over_a_socket = {
        number
        for number, tests in names().items()
        if any("test_edge_" in name.partition("::")[0] or "test_preflight" in name for name in tests)
    }
    assert set(CASES) - set(NOT_OURS) - over_a_socket == set()

"""How loudly a change that cannot be written is spoken of, and how seldom."""

import pytest
from structlog.testing import capture_logs

from lockside.app.reporter import Escalation
from lockside.core.change import ShardRef
from lockside.core.status import ShardView
from lockside.core.unwritten import Told, hours_left, level_of, tell
from tests.fakes.streams import arn_of

HOUR_MS = 3_600_000
SHARD = ShardRef(arn_of("locks"), "shardId-a")


@pytest.mark.parametrize(
    ("held_ms", "age_ms", "expected"),
    [
        (9_999, 9_999, None),
        (10_000, 12_000, "info"),
        (60_000, 61_000, "warning"),
        (300_000, 300_000, "error"),
        (5_000, 20 * HOUR_MS, None),
        (10_000, 12 * HOUR_MS, "error"),
    ],
)
def test_it_grows_louder_with_time(held_ms: int, age_ms: int, expected: str | None) -> None:
    """By how long the batch was held; a late change is an error as soon as it is worth a word at all."""
    assert level_of(held_ms, age_ms) == expected


def test_a_backlog_that_is_written_well_is_no_alarm() -> None:
    """After a night's outage every batch is old, and none is held."""
    assert tell(1_000, 8 * HOUR_MS, None, 1_400) is None


def test_the_same_is_said_again_each_five_minutes() -> None:
    """A louder word comes at once, another batch is another matter."""
    told: Told | None = None
    said = []
    for second in range(0, 3_601, 5):
        now = tell(0, second * 1_000, told, second * 1_000)
        told = now or told
        said += [(second, now.level)] if now else []
    assert said[:4] == [(10, "info"), (60, "warning"), (300, "error"), (600, "error")]
    assert len(said) == 3 + (3_600 - 300) // 300
    assert told is not None
    assert tell(3_500_000, 11_000, told, 3_511_000) == Told(3_500_000, "info", 3_511_000)


@pytest.mark.parametrize(("age_ms", "hours"), [(0, 24.0), (90 * 60_000, 22.5), (25 * HOUR_MS, 0.0)])
def test_hours_left(age_ms: int, hours: float) -> None:
    """What is left of the stream's 24 hours, never less than nothing."""
    assert hours_left(age_ms) == hours


def test_the_line_tells_age_and_hours_left_and_the_end_of_it() -> None:
    """One line per shard that is held, one when it goes on, and none for those that never were."""
    escalation = Escalation()
    quiet = ShardView("reading")
    with capture_logs() as logs:
        for second in range(0, 120, 5):
            held = ShardView("reading", unwritten_ms=second * 1_000 + HOUR_MS, held_since_ms=0)
            escalation.check({SHARD: held, ShardRef(SHARD.stream_arn, "shardId-b"): quiet}, second * 1_000)
        escalation.check({SHARD: quiet}, 121_000)
        escalation.check({SHARD: quiet}, 126_000)
    assert [(line["event"], line["log_level"]) for line in logs] == [
        ("change_unwritten", "info"),
        ("change_unwritten", "warning"),
        ("change_written_again", "info"),
    ]
    assert logs[1] == {
        "event": "change_unwritten",
        "log_level": "warning",
        "table": "locks",
        "shard": "shardId-a",
        "seconds": 60,
        "age_seconds": 3_660,
        "hours_left": 23.0,
    }

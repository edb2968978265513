"""How fast a worker reads, and how long it may be silent, from its settings."""

from typing import Final

from lockside.aws.clients import ATTEMPTS_MAX
from lockside.aws.retrying import WAIT_MAX_SECONDS
from lockside.engines.consumer import CheckpointPolicy
from lockside.engines.embedded.pace import Idle
from lockside.engines.embedded.plan import Settings as Pace
from lockside.ops.heartbeat import SILENCE_MAX_MS
from lockside.settings import Settings

DRAIN_SHARE: Final = 0.8
"""Of the time for shutdown, what the engine may take for its last batches; the rest is for what follows it."""


def silence_max_ms(settings: Settings) -> int:
    """Return how long a turning loop may be silent: one wait, then two calls (iterator, page) that nobody answers."""
    call_seconds = ATTEMPTS_MAX * (settings.aws.connect_timeout_seconds + settings.aws.read_timeout_seconds)
    longest_seconds = max(WAIT_MAX_SECONDS, settings.engine.idle_max_ms / 1000) + 2 * call_seconds
    return max(SILENCE_MAX_MS, round(longest_seconds * 1000))


def pace_of(settings: Settings) -> Pace:
    """Translate the settings of `[engine]`."""
    engine = settings.engine
    return Pace(
        idle=Idle(engine.idle_min_ms / 1000, engine.idle_max_ms / 1000),
        checkpoint=CheckpointPolicy(engine.checkpoint_interval_seconds),
        page_records=engine.page_limit,
        discovery_interval_seconds=engine.shard_listing_seconds,
        shutdown_seconds=settings.ops.shutdown_seconds * DRAIN_SHARE,
        threads=engine.threads,
        in_flight_bytes=engine.in_flight_bytes,
    )

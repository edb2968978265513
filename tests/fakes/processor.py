"""A processor that keeps what it was given, in one list for all shards, and fails where it is told to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from lockside.core import decode
from lockside.core.change import ShardRef
from lockside.core.gap import Gap


class Recorder:
    """Makes processors that write into one list: (verb, short shard name, what it was given)."""

    def __init__(self) -> None:
        """Start empty. `on_record` is called before a record is consumed and may raise; `on_verb` likewise.

        `unsafe` are sequence numbers that a flush does not yet vouch for.
        """
        self.unsafe: set[int] = set()
        self.log: list[tuple[str, str, Any]] = []
        self.on_record: Callable[[int], None] = lambda _number: None
        self.on_verb: Callable[[str, str], None] = lambda _verb, _shard: None

    def __call__(self, shard: ShardRef) -> "RecordingProcessor":
        """Make a shard's processor."""
        return RecordingProcessor(self, shard.shard_id.rsplit("-", 1)[-1])

    def consumed(self, shard: str | None = None) -> list[int]:
        """Return the sequence numbers consumed, in order."""
        return [detail for verb, name, detail in self.log if verb == "record" and shard in {None, name}]

    def verbs(self, shard: str | None = None) -> list[str]:
        """Return the verbs called, in order, without the ticks and records."""
        return [verb for verb, name, _ in self.log if verb not in {"record", "tick"} and shard in {None, name}]

    def gaps(self, shard: str | None = None) -> list[Gap]:
        """Return the gaps told of, in order."""
        return [detail for verb, name, detail in self.log if verb == "gap" and shard in {None, name}]

    def initialized(self) -> list[tuple[str, int | None]]:
        """Return the shards begun and their positions, in order."""
        return [(name, detail) for verb, name, detail in self.log if verb == "initialize"]


class RecordingProcessor:
    """One shard's processor; consumes a whole batch or, if told to fail, nothing of it."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        """Keep where to write."""
        self._recorder = recorder
        self._name = name
        self._position: int | None = None
        self.caught_up = False

    def initialize(self, shard: ShardRef, position: int | None, since_ms: int | None = None) -> None:
        """Note the shard and its position."""
        del since_ms
        self._note("initialize", position)
        assert shard.shard_id.endswith(self._name)
        self._position = position

    def process_records(self, records: Sequence[Mapping[str, Any]], *, caught_up: bool) -> None:
        """Note each record, or a tick."""
        numbers = [decode.sequence_number(record) for record in records]
        for number in numbers:
            self._recorder.on_record(number)
        self._recorder.log += [("record", self._name, number) for number in numbers] or [
            ("tick", self._name, caught_up)
        ]
        self._position = next(
            (number for number in reversed(numbers) if number not in self._recorder.unsafe), self._position
        )
        if caught_up and not self.caught_up:
            self.caught_up = True
            self._note("caught_up", None)

    def gap(self, gap: Gap) -> bool:
        """Note it."""
        self._note("gap", gap)
        return True

    def flush(self) -> int | None:
        """Note it, and return the last position."""
        self._note("flush", self._position)
        return self._position

    def lease_lost(self) -> None:
        """Note it."""
        self._note("lease_lost", None)

    def shard_ended(self) -> None:
        """Note it."""
        self._note("shard_ended", None)

    def shutdown_requested(self) -> None:
        """Note it."""
        self._note("shutdown_requested", None)

    def _note(self, verb: str, detail: Any) -> None:
        self._recorder.on_verb(verb, self._name)
        self._recorder.log.append((verb, self._name, detail))

"""What each change must give, by the pure core and one recipe, whoever consumes it and however often (law 2)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lockside.core import decode, interpret, records
from lockside.core.change import ShardRef
from lockside.core.entity import PUBLIC_KEYS
from lockside.core.event import Interpretation
from lockside.core.recipe import Source, recipe_digest, recipe_json
from lockside.core.records import ChangeRecord
from lockside.errors import WireFaultError
from tests.simulation.table import Accepted, History


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one change comes to: its record, if it is recorded, and what is held around it, if it can be understood."""

    record: ChangeRecord | None
    told: Interpretation | None


@dataclass
class Oracle:
    """Knows the history of every stream, by ARN for each table, and the recipes in use, by digest.

    `first` is the stream of each table that was taken up first; `served` as `StreamsService` has it.
    """

    tables: Iterable[Mapping[str, History]]
    served: Mapping[ShardRef, int] = field(default_factory=dict)
    recipes: dict[str, tuple[Source, ...]] = field(default_factory=dict)
    since_ms: dict[str, int] = field(default_factory=dict)
    begun_ms: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    _known: dict[tuple[ShardRef, int, str], Meaning] = field(default_factory=dict)
    _by_position: dict[tuple[ShardRef, int], Accepted] = field(default_factory=dict)

    @property
    def histories(self) -> dict[str, History]:
        """All streams there ever were."""
        return {arn: history for table in self.tables for arn, history in table.items()}

    def learn(self, sources: tuple[Source, ...]) -> None:
        """Take note of a configuration."""
        self.recipes[recipe_digest(recipe_json(sources))] = sources

    def change(self, shard: ShardRef, position: int) -> Accepted | None:
        """Find a change by its place."""
        if (shard, position) not in self._by_position:
            found = self.histories[shard.stream_arn].shards.get(shard, [])
            self._by_position.update(((shard, each.position), each) for each in found)
        return self._by_position.get((shard, position))

    def changes(self, shard: ShardRef, after: int, until: int) -> list[Accepted]:
        """List the changes of a shard within (after, until]."""
        return [each for each in self.histories[shard.stream_arn].shards[shard] if after < each.position <= until]

    def met(self, arn: str) -> None:
        """Learn that a worker took up a stream: what the table had before it was never promised."""
        self.first.setdefault(arn.partition("/stream/")[0], arn)

    def promised(self, arn: str) -> bool:
        """Whether a stream is the first that was taken up of its table, or came after it."""
        first = self.first.get(arn.partition("/stream/")[0])
        return first is not None and first <= arn

    def before_start(self, change: Accepted) -> bool:
        """Whether a start at LATEST leaves a change out: it was surely made before."""
        since_ms = self.since_ms.get(change.shard.stream_arn)
        return since_ms is not None and change.at_ms // 1000 * 1000 + 1000 <= since_ms

    def before_begin(self, change: Accepted) -> bool:
        """Whether a change was made before anybody began to read its stream."""
        begun_ms = self.begun_ms.get(change.shard.stream_arn)
        return begun_ms is not None and change.at_ms < begun_ms

    def meaning(self, change: Accepted, digest: str) -> Meaning:
        """Say what a change means under a recipe."""
        known = self._known.get((change.shard, change.position, digest))
        if known is None:
            known = self._meaning(change, self.recipes[digest])
            self._known[change.shard, change.position, digest] = known
        return known

    def _meaning(self, change: Accepted, sources: tuple[Source, ...]) -> Meaning:
        schema = sources[0].key_schema
        try:
            decoded = decode.decode_record(change.raw, change.shard, schema, 1_000)
            source, told = interpret.interpret_for(decoded, sources)
        except WireFaultError as fault:
            salvaged = decode.salvage(change.raw, schema, 1_000)
            place = records.Place(change.shard, change.position, salvaged.created_ms or 0)
            record = records.undecodable_record(place, fault.code, salvaged.key, sources[0], PUBLIC_KEYS)
            return Meaning(record, None)
        if source is None or told.event is None or not told.event.recorded:
            return Meaning(None, told)
        return Meaning(records.change_record(told.event, decoded, source, PUBLIC_KEYS), told)

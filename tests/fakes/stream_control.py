"""What can be done to the service from outside: one table of verbs, for `POST /_control`, for scripts and for tests.

A command is an object with one verb, for example {"split": {"table": "locks"}}. Where a verb takes a shard it takes
`table` (its newest stream) or `arn`, and `shard_id`, short or whole; without one it means every open shard.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.fakes.stream_faults import Chaos, Fault, Faults, Kind
from tests.fakes.stream_life import Life, Pace
from tests.fakes.stream_model import Shard, Stream, made_record
from tests.fakes.stream_names import spelled
from tests.fakes.stream_service import StreamService

Arguments = Mapping[str, Any]
Verb = Callable[[StreamService, Arguments], Any]

QUIRKS: Final = (
    "null_with_records",
    "empty_pages",
    "hidden_listings",
    "hidden_until_ms",
    "open_listings",
)
"""What `shard` may set on a shard."""

OPTIONS: Final = (
    "shards_per_page",
    "page_records",
    "page_bytes",
    "iterator_life_ms",
    "child_filter",
    "repeat_cursor",
)
"""What `set` may set on the service."""


class CommandError(Exception):
    """A command that cannot be understood."""


def command(service: StreamService, order: Mapping[str, Any]) -> Any:
    """Carry out one command and return what it has to say.

    Raises CommandError for a command that is not one, and ServiceError where something is not there.
    """
    verb = next(iter(order), "")
    if len(order) != 1 or verb not in VERBS:
        raise CommandError(f"a command is an object with one of {', '.join(sorted(VERBS))}; got {sorted(order)}")
    try:
        with service.lock:
            return VERBS[verb](service, order[verb] or {})
    except (KeyError, TypeError, ValueError) as error:
        raise CommandError(f"{verb}: {type(error).__name__}: {error}") from error


def create(service: StreamService, arguments: Arguments) -> Any:
    """Switch on the stream of a new or known table, with `shards` open shards."""
    made = service.model.add_stream(
        arguments["table"],
        service.now_ms(),
        label=arguments.get("label", ""),
        shards=arguments.get("shards", 1),
        grows=arguments.get("grows", True),
    )
    return {"arn": made.arn, "shards": list(made.shards)}


def add_shard(service: StreamService, arguments: Arguments) -> Any:
    """Add a shard that takes only what is put into it by name."""
    stream = _stream(service, arguments)
    parent = arguments.get("parent_id")
    shard = service.model.add_shard(
        stream, arguments.get("shard_id", ""), spelled(parent) if parent else None, service.now_ms()
    )
    _set(shard, {name: value for name, value in arguments.items() if name in QUIRKS}, QUIRKS)
    return {"shards": [shard.shard_id]}


def history(service: StreamService, arguments: Arguments) -> Any:
    """Let every open shard have rolled `generations` times before now, `every_ms` apart."""
    added = service.model.add_history(
        _stream(service, arguments), arguments["generations"], service.now_ms(), arguments.get("every_ms", 60_000)
    )
    return {"shards": [shard.shard_id for shard in added]}


def put(service: StreamService, arguments: Arguments) -> Any:
    """Append inserts of `keys`, or whole `records`: to a shard by name, else to the one that each item belongs to."""
    stream = _stream(service, arguments)
    at_ms = arguments.get("created_ms", service.now_ms())
    records = arguments.get("records") or [
        made_record(key, service.model.serial + place) for place, key in enumerate(arguments["keys"])
    ]
    if "shard_id" in arguments:
        (shard,) = _shards(service, arguments)
        return {"numbers": [str(service.model.append(shard, record, at_ms)) for record in records]}
    return {"numbers": [str(service.model.feed(stream.table, record, at_ms)) for record in records]}


def roll(service: StreamService, arguments: Arguments) -> Any:
    """Close shards, each with one child."""
    return _divided(service, arguments, 1)


def split(service: StreamService, arguments: Arguments) -> Any:
    """Close shards, each with two children."""
    return _divided(service, arguments, 2)


def close(service: StreamService, arguments: Arguments) -> None:
    """Close shards without children."""
    for shard in _shards(service, arguments):
        service.model.close(shard, service.now_ms())


def trim(service: StreamService, arguments: Arguments) -> None:
    """Forget the first `count` records of shards; all without a count."""
    for shard in _shards(service, arguments):
        service.model.trim(shard, arguments.get("count", len(shard.records)))


def age_out(service: StreamService, arguments: Arguments) -> None:
    """Let shards age out."""
    for shard in _shards(service, arguments):
        service.model.age_out(shard)


def quirk(service: StreamService, arguments: Arguments) -> None:
    """Set quirks on shards: see `QUIRKS`."""
    wanted = {name: value for name, value in arguments.items() if name not in {"table", "arn", "shard_id"}}
    for shard in _shards(service, arguments):
        _set(shard, wanted, QUIRKS)


def spoil(service: StreamService, arguments: Arguments) -> None:
    """Take the sequence number of the record at `index` away, for so many readings."""
    (shard,) = _shards(service, arguments)
    shard.spoilt[arguments["index"]] = arguments.get("readings", 1_000)


def status(service: StreamService, arguments: Arguments) -> None:
    """Set a stream's status as it stands in listings, and nothing else."""
    _stream(service, arguments).status = arguments["status"]


def disable(service: StreamService, arguments: Arguments) -> None:
    """Switch a table's stream off."""
    service.model.disable(arguments["table"], service.now_ms())


def delete_stream(service: StreamService, arguments: Arguments) -> None:
    """Forget a stream; its table stays."""
    service.model.delete_stream(_stream(service, arguments).arn)


def delete(service: StreamService, arguments: Arguments) -> None:
    """Delete a table and all its streams."""
    service.model.delete_table(arguments["table"])


def expire(service: StreamService, _arguments: Arguments) -> None:
    """Let all iterators given out so far expire."""
    service.model.iterators_expired = service.model.iterators


def fail(service: StreamService, arguments: Arguments) -> None:
    """Let the next `times` calls of `operation` go wrong, as `kind` and `code` say, after `passes` that do not."""
    kind = Kind(arguments.get("kind", "error"))
    fault = Fault(
        kind,
        arguments.get("code", "InternalServerError"),
        arguments.get("status", 400 if "code" in arguments else 500),
        arguments.get("seconds", 0.0),
    )
    fates: list[Fault | None] = [None] * arguments.get("passes", 0)
    service.misfortunes.add(arguments["operation"], *fates, *[fault] * arguments.get("times", 1))


def chaos(service: StreamService, arguments: Arguments) -> None:
    """Let calls fail at random: fields of `Faults`, or `all` and a `seed`. Nothing more without any."""
    faults = Faults.all_at(arguments["all"], arguments.get("seed", 0)) if "all" in arguments else Faults(**arguments)
    service.misfortunes.chaos = Chaos(faults)


def live(service: StreamService, arguments: Arguments) -> None:
    """Let shards roll and age out by themselves: fields of `Pace`, and a `seed`."""
    wanted = {name: value for name, value in arguments.items() if name != "seed"}
    service.life = Life(Pace(**wanted), Random(arguments.get("seed", 0)))  # noqa: S311 - no secret hangs on it


def options(service: StreamService, arguments: Arguments) -> None:
    """Set what holds throughout: see `OPTIONS`."""
    _set(service.model.options, arguments, OPTIONS)


def state(service: StreamService, _arguments: Arguments) -> Any:
    """Tell of all streams and shards."""
    return {"now_ms": service.now_ms(), "calls": len(service.calls), "streams": [
        {
            "arn": stream.arn,
            "status": stream.status,
            "shards": [_told(shard) for shard in stream.shards.values()],
        }
        for stream in service.model.streams.values()
    ]}  # fmt: skip


VERBS: Final[Mapping[str, Verb]] = {
    "add_shard": add_shard,
    "age_out": age_out,
    "chaos": chaos,
    "close": close,
    "create": create,
    "delete": delete,
    "delete_stream": delete_stream,
    "disable": disable,
    "enable": create,
    "expire": expire,
    "fail": fail,
    "history": history,
    "life": live,
    "put": put,
    "roll": roll,
    "set": options,
    "shard": quirk,
    "split": split,
    "spoil": spoil,
    "state": state,
    "status": status,
    "trim": trim,
}


@dataclass(frozen=True, slots=True)
class Scene:
    """One command, and when: `after_ms` of a script, or before the call that follows `calls` of an operation."""

    order: Mapping[str, Any]
    after_ms: int = 0
    operation: str = ""
    calls: int = 0


@dataclass(slots=True)
class Script:
    """Scenes that play by themselves as calls come in, each once, in the order given where several are due."""

    service: StreamService
    scenes: Sequence[Scene]
    _begun_ms: int = 0
    _counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Begin."""
        self._begun_ms = self.service.now_ms()
        self.service.before_call = self.play

    def play(self, operation: str, now_ms: int) -> None:
        """Play what is due before a call."""
        seen = dict(self._counts)
        self._counts[operation] = self._counts.get(operation, 0) + 1
        due = [scene for scene in self.scenes if self._due(scene, operation, seen, now_ms)]
        self.scenes = [scene for scene in self.scenes if scene not in due]
        for scene in due:
            command(self.service, scene.order)

    def _due(self, scene: Scene, operation: str, seen: Mapping[str, int], now_ms: int) -> bool:
        if now_ms < self._begun_ms + scene.after_ms:
            return False
        return not scene.operation or (scene.operation == operation and seen.get(operation, 0) >= scene.calls)


def _stream(service: StreamService, arguments: Arguments) -> Stream:
    return service.model.stream_of(arguments["arn"] if "arn" in arguments else arguments["table"])


def _shards(service: StreamService, arguments: Arguments) -> list[Shard]:
    stream = _stream(service, arguments)
    if "shard_id" in arguments:
        return [stream.shards[spelled(arguments["shard_id"])]]
    return [shard for shard in stream.shards.values() if not shard.closed]


def _divided(service: StreamService, arguments: Arguments, children: int) -> Any:
    stream = _stream(service, arguments)
    made = [
        child
        for shard in _shards(service, arguments)
        for child in service.model.divide(stream, shard, service.now_ms(), children)
    ]
    for child in made:
        _set(child, {name: value for name, value in arguments.items() if name in QUIRKS}, QUIRKS)
    return {"shards": [child.shard_id for child in made]}


def _set(target: object, wanted: Mapping[str, Any], known: Sequence[str]) -> None:
    for name, value in wanted.items():
        if name not in known:
            raise CommandError(f"{name!r} is none of {', '.join(known)}")
        setattr(target, name, value)


def _told(shard: Shard) -> Mapping[str, Any]:
    return {
        "shard_id": shard.shard_id,
        "parent_id": shard.parent_id,
        "closed": shard.closed,
        "records": len(shard.records),
        "trimmed": shard.trimmed,
        "aged_out": shard.aged_out,
    }

"""What `lockside detect` finds out: the layouts a real table's rows are in, and the sources that would watch them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import BotoCoreError, ClientError

from lockside.app import provision, readable
from lockside.app.finding import Finding
from lockside.app.sample import Progress, samples, scan
from lockside.aws.clients import refusal
from lockside.aws.retrying import verdict
from lockside.core.attributes import Image
from lockside.core.entity import EntityKey, KeySchema, entity_key
from lockside.core.failures import Verdict
from lockside.errors import NotFoundOutError, SetupError, WireFaultError
from lockside.layouts.claim import has_type
from lockside.layouts.detect import Candidate, Detection, detect
from lockside.layouts.matching import is_flat, known_names

if TYPE_CHECKING:
    from lockside.aws.clients import Clients
    from lockside.layouts.registry import Registry
    from lockside.layouts.spec import Spec
    from lockside.settings import Settings

ID_CHARS_MAX: Final = 64
"""What the settings allow for a source's id."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """One source to paste. `rows` is its filter, `attributes` the table's names, `asks` what a person has to add.

    `layout` is empty while `question` is open: so pasted as it is, it is refused.
    """

    id: str
    table: str
    layout: str
    candidates: tuple[Candidate, ...]
    rows: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)
    question: str | None = None
    asks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """All that was found out about one table. `whole`: the sample is the table. `watched` are sources that have it."""

    table: str
    looked_at: int
    whole: bool
    detection: Detection
    proposals: tuple[Proposal, ...]
    findings: tuple[Finding, ...]
    watched: tuple[str, ...]

    @property
    def settled(self) -> bool:
        """Whether there is a layout, and nothing left to ask."""
        return bool(self.proposals) and all(proposal.question is None for proposal in self.proposals)


def examine(settings: "Settings", clients: "Clients", name: str, rows_max: int, progress: Progress) -> Answer:
    """Look at a table: its description, its stream, and a sample of its rows.

    Raises SetupError if it is not there or the endpoint refuses, NotFoundOutError if its rows may not be read.
    """
    try:
        table = provision.describe(clients.dynamodb, name)
        if table is None:
            raise SetupError(
                f'--table "{name}": there is no such table at {clients.endpoint}; correct the name, aws.region or '
                "aws.endpoint_url"
            )
        stream = tuple(found for found in readable.stream("source", name, table, clients.streams) if found.fix)
        rows, whole = _scan(clients, name, rows_max, progress)
        ttl = _ttl(clients, name)
    except (ClientError, BotoCoreError) as error:
        raise refusal(error, clients.endpoint) from error
    elements = sorted(table["KeySchema"], key=lambda element: bool(element["KeyType"] != "HASH"))
    schema = KeySchema(tuple(element["AttributeName"] for element in elements))
    known = settings.layouts
    detection = detect(samples(rows, schema), known)
    return Answer(
        table=name,
        looked_at=len(rows),
        whole=whole,
        detection=detection,
        proposals=tuple(_proposals(name, detection, schema, rows, ttl, known)),
        findings=stream,
        watched=tuple(source.id for source in settings.source if source.table == name),
    )


def _scan(clients: "Clients", name: str, rows_max: int, progress: Progress) -> tuple[list[Image], bool]:
    try:
        return scan(clients.dynamodb, name, rows_max, progress)
    except ClientError as error:
        if verdict(error) is Verdict.DENIED:
            raise NotFoundOutError(
                f'--table "{name}": its rows may not be read; allow dynamodb:Scan on it for this command (the worker '
                "does not need it), or give stream records to `lockside explain`"
            ) from error
        raise


def _ttl(clients: "Clients", name: str) -> str | None:
    try:
        return provision.ttl_attribute(clients.dynamodb, name)
    except ClientError as error:
        if verdict(error) is Verdict.DENIED:
            return None
        raise


def _proposals(  # noqa: PLR0913, PLR0917 - what a proposal is made of
    table: str,
    detection: Detection,
    schema: KeySchema,
    rows: Sequence[Image],
    ttl: str | None,
    known: "Registry",
) -> Iterator[Proposal]:
    groups = sorted(detection.groups, key=lambda group: any(one.spec.rows.asks_nothing for one in group))
    for at, group in enumerate(groups):
        specs = tuple(candidate.spec for candidate in group)
        own = [row for row in rows if _is_full(specs, row)]
        question = next((candidate.question for candidate in group if candidate.question is not None), None)
        rule, left_in = _filter(specs, schema, rows)
        let_in = [row for row in rows if _claimed(specs, schema, row) and _passes(rule, row)]
        taken = {
            later[0].spec.family: _misread(specs, tuple(one.spec for one in later), schema, let_in)
            for later in groups[at + 1 :]
        }
        yield Proposal(
            id=_id(table, specs, alone=len(groups) == 1),
            table=table,
            layout="" if question else _layout(specs, known),
            candidates=group,
            rows=rule,
            attributes=_attributes(group, schema, own, ttl),
            question=question,
            asks=tuple(_asks(specs, left_in=left_in, taken=taken)),
        )


def _id(table: str, specs: Sequence["Spec"], *, alone: bool) -> str:
    return table[:ID_CHARS_MAX] if alone else f"{table[: ID_CHARS_MAX // 2]}-{specs[0].family}"[:ID_CHARS_MAX]


def _layout(specs: Sequence["Spec"], known: "Registry") -> str:
    """Name one layout, or the family of several."""
    if len(specs) == 1:
        return specs[0].name
    family = {spec.name for spec in known.find(specs[0].family)}
    return specs[0].family if {spec.name for spec in specs} <= family else specs[0].name


def _is_full(specs: Sequence["Spec"], row: Image) -> bool:
    return any(all(has_type(row, name, types) for name, types in spec.signature) for spec in specs)


def _filter(specs: Sequence["Spec"], schema: KeySchema, rows: Sequence[Image]) -> tuple[dict[str, Any], int]:
    """Find attributes that a layout's rows have and others of the table, which it would claim, have not.

    Return the filter, and how many rows of another kind it would still let in. Never a key's value: it may be secret.
    """
    names = frozenset[str]().union(*(known_names(spec) for spec in specs))
    strange = [
        row for row in rows if _claimed(specs, schema, row) and not _is_full(specs, row) and not set(row) <= names
    ]
    rule: dict[str, Any] = {}
    shared = [(name, types) for name, types in specs[0].signature if all((name, types) in s.signature for s in specs)]
    for name, types in shared:
        kept = [row for row in strange if has_type(row, name, types)]
        if strange and len(kept) < len(strange):
            rule.setdefault("required", {})[name] = sorted(types)
            strange = kept
    return rule, len(strange)


def _claimed(specs: Sequence["Spec"], schema: KeySchema, row: Image) -> bool:
    try:
        key: EntityKey = entity_key(row, schema)
    except WireFaultError:
        return False
    return any(spec.claims(key, row) for spec in specs)


def _passes(rule: Mapping[str, Any], row: Image) -> bool:
    return all(has_type(row, name, frozenset(types)) for name, types in rule.get("required", {}).items())


def _misread(specs: Sequence["Spec"], others: Sequence["Spec"], schema: KeySchema, let_in: Sequence[Image]) -> int:
    """Count the rows that a source would take from one that stands after it, and misread."""
    return sum(
        _is_full(others, row) and _claimed(others, schema, row) and _reads(others, row) and not _reads(specs, row)
        for row in let_in
    )


def _reads(specs: Sequence["Spec"], row: Image) -> bool:
    return any(not spec.read(row).faults for spec in specs)


def _attributes(group: Sequence[Candidate], schema: KeySchema, own: Sequence[Image], ttl: str | None) -> dict[str, str]:
    """Find what a source's `attributes` must say: what detection found renamed, the TTL's name, a flat row's key."""
    names = {was: new for candidate in group for was, new in candidate.attributes}
    for candidate in group:
        spec = candidate.spec
        cleanup = spec.ttl_attr
        strange = ttl if ttl not in known_names(spec) else None
        if cleanup and strange and any(strange in row for row in own) and not any(cleanup in row for row in own):
            names[cleanup] = strange
        if is_flat(spec):
            names |= {was: new for was, new in zip(spec.key_names, schema.names, strict=False) if was != new}
    return names


def _asks(specs: Sequence["Spec"], *, left_in: int, taken: Mapping[str, int]) -> Iterator[str]:
    """Say what no row tells, and the source's settings must."""
    if any(spec.needs_lease for spec in specs):
        yield "lease_ms: the rows hold no lease; set it to what the clients are configured with, in milliseconds"
    if any(spec.traits.kind == "session" and not spec.knows_principal for spec in specs):
        yield "principal: the layout knows no place for a user; name the paths at which yours stands, if there are any"
    if left_in:
        yield f"rows: it would also take {left_in} sampled rows of another kind; tell them apart by their keys"
    for family, count in taken.items():
        if count:
            yield (
                f"rows: it would also take {count} sampled rows of {family} and misread them, as no attribute tells "
                "the two apart; filter both sources by their keys (rows.partition) or by an attribute that only one "
                "client's rows have, or give each client a table of its own"
            )

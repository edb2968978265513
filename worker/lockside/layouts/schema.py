"""The fields of a layout's data file: the same, and checked the same, for built-in layouts and for users' own.

A layout file is one TOML table. Names of attributes are data; what they mean is in the field's name.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from lockside.errors import LayoutError
from lockside.layouts.impossible import never_true
from lockside.layouts.misspelt import Fields, fault_lines

Name = Annotated[str, StringConstraints(min_length=1, max_length=255)]
"""An attribute's name, within DynamoDB's limits."""

Tag = Literal["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"]


def _segments(path: object) -> object:
    return path.split(".") if isinstance(path, str) else path


PathData = Annotated[list[Name], Field(min_length=1), BeforeValidator(_segments)]
"""A dotted path, or its segments where a name itself holds a dot."""


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_compiles)]
"""A regular expression that is searched for."""


class Table(BaseModel):
    """One table of a layout file: nothing unknown is allowed in it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class KeyNames(Table):
    """The key attributes as the client names them by default, and the sort key value it writes when given none."""

    names: Annotated[list[Name], Field(min_length=1, max_length=2)]
    default_sort: str | None = None


class KeyRuleData(Table):
    """What one part of the key must look like; of each list one entry is enough."""

    types: list[Literal["S", "N", "B"]] = []
    equals: list[str] = []
    prefix: list[Name] = []
    suffix: list[Name] = []
    contains: list[Name] = []
    not_prefix: list[Name] = []
    not_suffix: list[Name] = []
    pattern: list[Pattern] = []


class Rows(Table):
    """Which rows are the layout's own, where that takes more than the owner or the key.

    `if_present`: an attribute that old clients do not write yet, and the values it has where it is there.
    """

    partition: KeyRuleData | None = None
    sort: KeyRuleData | None = None
    required: dict[Name, list[Tag]] = {}
    absent: list[Name] = []
    equals: dict[Name, Annotated[list[str | int | bool], Field(min_length=1)]] = {}
    if_present: dict[Name, Annotated[list[str | int | bool], Field(min_length=1)]] = {}


class Text(Table):
    """An attribute read as text. `path` leads into the JSON that the attribute holds.

    `binary`: how bytes are spelled, as base64 or, where the client puts text into them, as that text.
    """

    attr: Name
    types: Annotated[list[Literal["S", "N", "B", "M"]], Field(min_length=1)] = ["S"]
    optional: bool = False
    path: PathData | None = None
    binary: Literal["base64", "utf-8"] = "base64"


class Progress(Text):
    """What a renewal reports; `beside` are further attributes of it, with their types."""

    beside: dict[Name, Annotated[list[Literal["S", "N"]], Field(min_length=1)]] = {}


DAY_MS: Final = 24 * 3_600_000


class LeaseData(Table):
    """The length of a lease, counted from the write. `times`: how many such lengths a contender lets pass."""

    attr: Name
    types: Annotated[list[Literal["S", "N"]], Field(min_length=1)] = ["N"]
    unit: Literal["ms", "s", "go-duration"]
    optional: bool = False
    times: Annotated[int, Field(ge=1, le=100)] = 1


InstantUnit = Literal["s", "ms", "us", "ns", "auto", "iso"]


class InstantData(Table):
    """A stored instant that another is measured against, if the row has it."""

    attr: Name
    types: Annotated[list[Literal["S", "N"]], Field(min_length=1)] = ["N"]
    unit: InstantUnit
    within_ms: Annotated[int, Field(ge=0)] = 0


class DeadlineData(Table):
    """A stored instant. `auto` tells the unit by size; `iso` is text only.

    `grace_ms`: how long past it the clients still honour it; below zero where others may enter before it.
    `otherwise`: where the instant stands in a row that does not have this one.
    `never`: numbers in its place that mean none. `none_until`: a deadline no later than that instant, or than
    `within_ms` after it, is none either. `offset_ms`: how much later than meant it is stored, below zero for earlier:
    Flask-Session on a host at UTC+9 stores nine hours too little, -32400000.
    """

    attr: Name
    types: Annotated[list[Literal["S", "N"]], Field(min_length=1)] = ["N"]
    unit: InstantUnit
    optional: bool = False
    grace_ms: Annotated[int, Field(ge=-60_000)] = 0
    otherwise: "DeadlineData | None" = None
    never: list[int] = []
    none_until: InstantData | None = None
    offset_ms: Annotated[int, Field(ge=-DAY_MS, le=DAY_MS)] = 0

    @model_validator(mode="after")
    def _one_grace(self) -> Self:
        if self.otherwise is not None and (self.otherwise.grace_ms or self.otherwise.otherwise is not None):
            raise ValueError("otherwise has no grace_ms and no otherwise of its own: the first one's counts for both")
        return self


class Ttl(Table):
    """The attribute DynamoDB's TTL goes by, and whether it is the deadline itself or only cleanup."""

    attr: Name
    is_deadline: bool


Mode = Literal["delete", "mark", "both", "set_deadline", "never"]
"""How clients let go: by deleting the row, marking it, either, moving its deadline back, or not at all."""


class ReleaseNone(Table):
    """The row alone never says that the lock is free."""

    rule: Literal["none"]
    mode: Mode


class ReleaseAttribute(Table):
    """Free while an attribute is there, or while it is not."""

    rule: Literal["exists", "absent"]
    mode: Mode
    attr: Name


class ReleaseEquals(Table):
    """Free while an attribute has a value."""

    rule: Literal["equals"]
    mode: Mode
    attr: Name
    value: str | int | bool


class ReleaseLease(Table):
    """Free while the lease has one length in milliseconds that no holder uses."""

    rule: Literal["lease_equals"]
    mode: Mode
    value: Annotated[int, Field(ge=0)]


ReleaseData = Annotated[ReleaseNone | ReleaseAttribute | ReleaseEquals | ReleaseLease, Discriminator("rule")]


class PrincipalData(Table):
    """Where a user's name may stand. `of = "row"`: beside the payload. `strip`: a prefix that is no name."""

    path: PathData
    of: Literal["payload", "row"] = "payload"
    strip: str = ""


def _principal(data: object) -> object:
    return {"path": data} if isinstance(data, str | list) else data


class PayloadData(Table):
    """Where the payload stands: in `attr`, or, without it, flat among the row's own attributes.

    `codecs` are tried in order for text and binary; `map` reads a DynamoDB map; `opaque`, the last, has what none of
    them reads for opaque by design and no fault. No codec: always opaque. `path` leads to the payload within what was
    read. `volatile` paths change without meaning. `churns`: what is opaque is rewritten with every request, so that it
    changed tells nothing.
    """

    attr: Name | None = None
    codecs: list[Literal["json", "msgpack", "map", "php", "django", "opaque"]] = []
    path: PathData | None = None
    volatile: list[PathData] = []
    churns: bool = False

    @model_validator(mode="after")
    def _flat_has_no_codec(self) -> Self:
        if self.attr is None and self.codecs:
            raise ValueError("codecs belong to an attribute: name it in attr, or leave codecs out for a flat row")
        if self.attr is None and (self.path or self.churns):
            raise ValueError(
                "path and churns belong to an attribute: name it in attr, or leave them out for a flat row"
            )
        if "opaque" in self.codecs[:-1]:
            raise ValueError("opaque takes all that the codecs before it do not read: it must be the last of codecs")
        return self


class EndedData(Table):
    """What a row that is still there says of itself when its session is over: a value of these, or a number below."""

    path: PathData
    equals: list[str | int | bool] = []
    below: int | None = None

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        if bool(self.equals) == (self.below is not None):
            raise ValueError("say what the value is then: equals or below, one of them")
        return self


class _Common(Table):
    """What both kinds have.

    For detection only: `shows` is what a full row has besides what it must have, `carries` the types of what a row may
    have (with another type it is another client's row), and `fallback` says that any row fits, so that a fit says
    nothing.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    family: Name | None = None
    aliases: list[Name] = []
    client: str = ""
    language: str = ""
    docs: str = ""
    notes: str = ""
    keys: KeyNames
    rows: Rows = Rows()
    ttl: Ttl | None = None
    secrets: list[Name] = []
    shows: dict[Name, list[Tag]] = {}
    carries: dict[Name, Annotated[list[Tag], Field(min_length=1)]] = {}
    fallback: bool = False


class Blocked(Table):
    """An attribute that keeps everybody out of the lock while it is there, free or not."""

    attr: Name


class LockData(_Common):
    """A lock layout.

    `lease_configured`: the lease stands only in the clients' settings, so the source must name it. `lease` and
    `deadline` may share an attribute whose type tells which it is.
    `handoff`: who still works while the owner's name is already the next one's. `progress`: what some renewals also
    report. `renews`: whether clients renew; else a new version is a new holder. `prunes`: whether contenders mark a
    lapsed lock free themselves. `writes_once`: no client ever changes a row. `retires`: clients delete rows, held or
    not, that nobody will need again.
    """

    kind: Literal["lock"]
    owner: Text | None = None
    version: Text | None = None
    lease: LeaseData | None = None
    lease_configured: bool = False
    deadline: DeadlineData | None = None
    release: ReleaseData
    fence: Text | None = None
    acquired_at: Text | None = None
    handoff: Text | None = None
    progress: Progress | None = None
    blocked: Blocked | None = None
    owner_change: Literal["taken_over", "transferred"] = "taken_over"
    renews: bool = True
    prunes: bool = False
    writes_once: bool = False
    retires: bool = False

    @model_validator(mode="after")
    def _one_clock(self) -> Self:
        clocks = sum((self.lease is not None, self.lease_configured, self.deadline is not None))
        if clocks > 1 and not self._told_by_type():
            raise ValueError("a lock has a lease, or lease_configured, or a deadline: only one of them")
        if self.release.mode == "set_deadline" and (self.deadline is None or self.acquired_at is None):
            raise ValueError("release.mode set_deadline needs a deadline, and acquired_at to tell an acquisition by")
        if self.owner is None and not self.rows.required and not self.rows.equals:
            raise ValueError("without an owner, rows.required or rows.equals must say which rows are locks")
        return self

    def _told_by_type(self) -> bool:
        """Whether one attribute holds a lease in some rows and a deadline in others, of another type each."""
        lease, deadline = self.lease, self.deadline
        if self.lease_configured or lease is None or deadline is None or lease.attr != deadline.attr:
            return False
        return not set(lease.types) & set(deadline.types)


class SessionData(_Common):
    """A session layout.

    `absent_user`: what it means that a user stands at none of `principals`: nobody is logged in, or, where the
    application keeps its user where it likes, nothing. `privileges`: payload paths whose change is one of rights.
    `lifetime_max_ms`: a deadline farther ahead than any client means it is a wrong unit.
    """

    kind: Literal["session"]
    payload: PayloadData
    principals: list[Annotated[PrincipalData, BeforeValidator(_principal)]] = []
    absent_user: Literal["no", "unknown"] = "no"
    privileges: list[PathData] = []
    deadline: DeadlineData | None = None
    lifetime_max_ms: Annotated[int, Field(gt=0)] | None = None
    ended: EndedData | None = None


LayoutData = LockData | SessionData
_ADAPTER: Final[TypeAdapter[LayoutData]] = TypeAdapter(Annotated[LayoutData, Discriminator("kind")])
_DOCUMENTATION: Final = frozenset({"client", "language", "docs", "notes", "aliases", "shows", "carries", "fallback"})


def parse(document: Mapping[str, Any], origin: str) -> LayoutData:
    """Check one layout's data.

    Raises LayoutError with every fault, each with its field, its value and what is allowed.
    """
    try:
        data = _ADAPTER.validate_python(dict(document))
    except ValidationError as error:
        raise _refusal(origin, fault_lines(error, FIELDS)) from None
    if contradictions := tuple(never_true(data)):
        raise _refusal(origin, contradictions)
    return data


def _refusal(origin: str, faults: Iterable[str]) -> LayoutError:
    lines = "\n".join(f"  {line}" for line in faults)
    return LayoutError(f"{origin}: this layout is badly written\n{lines}")


def meaning(data: LayoutData) -> dict[str, Any]:
    """Return what decides how rows are read: no documentation, and no field left at its default.

    So neither a corrected note nor a field that a later revision adds makes a new recipe.
    """
    return data.model_dump(mode="json", exclude=set(_DOCUMENTATION), exclude_defaults=True)


def _all_fields() -> frozenset[str]:
    models: list[type[BaseModel]] = [LockData, SessionData, KeyNames, KeyRuleData, Rows, Text, Progress, LeaseData]
    models += [DeadlineData, Ttl, ReleaseNone, ReleaseAttribute, ReleaseEquals, PrincipalData, PayloadData]
    models += [Blocked, InstantData, EndedData]
    return frozenset(name for model in models for name in model.model_fields)


FIELDS: Final = Fields(
    known=sorted(_all_fields()),
    variants={
        "kind": {"lock": list(LockData.model_fields), "session": list(SessionData.model_fields)},
        "rule": {
            tag: list(model.model_fields)
            for model in (ReleaseNone, ReleaseAttribute, ReleaseEquals, ReleaseLease)
            for tag in get_args(model.model_fields["rule"].annotation)
        },
    },
)

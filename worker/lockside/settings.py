"""The settings: defaults < TOML file < environment (`LOCKSIDE_AUDIT__TABLE`) < flags, checked once and then frozen.

`config/lockside.toml` shows every key. Units live in names; an empty text means "not set", as TOML has no null.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, InitSettingsSource, SettingsConfigDict, SettingsError

from lockside.errors import ConfigError, LayoutError
from lockside.faults import clashes, fault, loops, unknown_environment
from lockside.layouts.registry import Registry, builtin
from lockside.layouts.schema import Rows
from lockside.layouts.spec import load as load_layout

ENV_PREFIX: Final = "LOCKSIDE_"
ENV_DELIMITER: Final = "__"
PORT_MAX: Final = 65535
PRECISION_MS_MAX: Final = 60_000

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
TableName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{3,255}$")]
StartMode = Literal["TRIM_HORIZON", "LATEST"]
Concealed = Literal["name", "owner", "principal"]


def listen_address(text: str) -> tuple[str, int] | None:
    """Read `host:port` (`[::1]:9464` for IPv6, port 0 for any free one); None for empty text. Raises ValueError."""
    if not text:
        return None
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > PORT_MAX:
        raise ValueError('should be "host:port", for example "127.0.0.1:9464", or "" for none')
    return host, int(port)


def _listen(text: str) -> str:
    listen_address(text)
    return text


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError('should be a URL such as "http://127.0.0.1:8000", or "" for AWS itself')
    if parts.username or parts.password:
        raise ValueError("should hold no user or password; credentials come from AWS's own chain")
    return text


def _redis_url(text: str) -> str:
    parts = urlsplit(text)
    if text and (parts.scheme not in {"redis", "rediss"} or not parts.hostname):
        raise ValueError('should be a URL such as "redis://127.0.0.1:6379/0", or "rediss://…" for TLS')
    if parts.password:
        raise ValueError("should hold no password; password_variable names the environment variable that holds it")
    return text


def _precision(value: Any) -> Any:
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value
    if number == "auto" or (type(number) is int and 1 <= number <= PRECISION_MS_MAX):
        return number
    raise ValueError(f'should be "auto" or whole milliseconds from 1 to {PRECISION_MS_MAX}')


class Section(BaseModel):
    """One table of the settings file: frozen, and unknown keys are refused."""

    # Defaults too: one may clash with what is given beside it.
    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


class AwsSettings(Section):
    """How AWS is reached. What is empty is left to AWS's own chain of environment, profile and instance."""

    region: str = ""
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] = ""
    profile: str = ""
    max_connections: int = Field(default=32, ge=1, le=1024)
    connect_timeout_seconds: float = Field(default=3.0, gt=0, le=60)
    read_timeout_seconds: float = Field(default=15.0, gt=0, le=120)
    fast_parse: bool = True
    fast_write: bool = True


class AuditSettings(Section):
    """Where the audit trail is kept."""

    table: TableName = "lockside-audit"
    retention_days: int = Field(default=0, ge=0, le=36_500)
    deletion_protection: bool = True
    point_in_time_recovery: bool = True


class StateSettings(Section):
    """Where the worker keeps what it must remember."""

    table: TableName = "lockside-state"
    batched: bool = True


class KeysSettings(Section):
    """Where the keys are that make pseudonyms, image hashes and seals."""

    file: Path = Path("lockside.keys.json")


Milliseconds = Annotated[int, Field(ge=1, le=600_000)]


class KclSettings(Section):
    """How a fleet shares its shards out. What is not set is the profile's (engines/kcl/knobs.py)."""

    profile: Literal["default", "conservative"] = "default"
    failover_ms: Milliseconds | None = None
    lease_assignment_ms: Milliseconds | None = None
    shard_sync_ms: Milliseconds | None = None
    parent_poll_ms: Milliseconds | None = None
    dispatch_ms: Milliseconds | None = None
    leader_lease_ms: Milliseconds | None = None
    leader_heartbeat_ms: Milliseconds | None = None
    worker_report_ms: Annotated[int, Field(ge=1_000, le=600_000)] | None = None
    idle_ms: Milliseconds | None = None
    worker_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{0,128}$")] = ""
    java_home: str = ""
    java_heap_mb: int = Field(default=512, ge=64, le=65_536)

    @field_validator("leader_heartbeat_ms", mode="after")
    @classmethod
    def _leader_range(cls, leader_heartbeat_ms: int | None, info: ValidationInfo) -> int | None:
        lease_ms = info.data.get("leader_lease_ms")
        if leader_heartbeat_ms is not None and lease_ms is not None and lease_ms < 2 * leader_heartbeat_ms:
            raise ValueError(f"should be at most half of leader_lease_ms = {lease_ms}")
        return leader_heartbeat_ms


class EngineSettings(Section):
    """Where changes come from, and at what pace."""

    kind: Literal["embedded", "kcl"] = "embedded"
    kcl: KclSettings = KclSettings()
    start: StartMode = "TRIM_HORIZON"
    idle_min_ms: int = Field(default=200, ge=1, le=60_000)
    idle_max_ms: int = Field(default=1_000, ge=1, le=60_000)
    checkpoint_interval_seconds: float = Field(default=5.0, ge=0, le=3_600)
    page_limit: int = Field(default=1_000, ge=1, le=1_000)
    shard_listing_seconds: float = Field(default=30.0, gt=0, le=3_600)
    threads: int = Field(default=8, ge=1, le=256)
    in_flight_bytes: int = Field(default=8_388_608, ge=1_048_576, le=1_073_741_824)
    owner_lease_seconds: float = Field(default=9.0, ge=0.5, le=60)
    undecodable_max: int = Field(default=100, ge=0, le=10_000)
    undecodable_bytes_max: int = Field(default=10_485_760, ge=1_048_576, le=1_073_741_824)

    @field_validator("idle_max_ms", mode="after")
    @classmethod
    def _idle_range(cls, idle_max_ms: int, info: ValidationInfo) -> int:
        if idle_max_ms < info.data.get("idle_min_ms", 0):
            raise ValueError(f"should be at least idle_min_ms = {info.data['idle_min_ms']}")
        return idle_max_ms


class RecipeSettings(Section):
    """What decides a record's bytes besides the change. Another value here seals the logs and opens new ones."""

    clock_margin_ms: int = Field(default=2_000, ge=0, le=60_000)
    refresh_bucket_seconds: int = Field(default=3_600, ge=1, le=86_400)
    time_precision_ms: Annotated[Literal["auto"] | int, BeforeValidator(_precision)] = "auto"


class StoresSettings(Section):
    """The tables of the stores that this installation uses itself; none of them is needed to watch tables."""

    lock_table: TableName = "lockside-locks"
    phrase_table: TableName = "lockside-phrases"
    phrase_shards: int = Field(default=8, ge=1, le=256)
    session_table: TableName = "lockside-sessions"


class OpsSettings(Section):
    """What an operator sees."""

    listen: Annotated[str, AfterValidator(_listen)] = ""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "pretty"] = "auto"
    shutdown_seconds: float = Field(default=20.0, gt=0, le=600)
    status_seconds: float = Field(default=5.0, ge=0.1, le=300)


def _layout(document: dict[str, Any]) -> dict[str, Any]:
    try:
        load_layout(document, "")
    except LayoutError as error:
        # Its lines stand under the layout's place in the file.
        raise ValueError(str(error).removeprefix(": ").replace("\n", "\n  ")) from None
    return document


class SourceSettings(Section):
    """One watched table and what it holds; `rows` says which of its rows, where it holds more than one kind."""

    id: Name
    table: TableName
    layout: str = Field(min_length=1)
    rows: Rows = Rows()
    pseudonymise: tuple[Concealed, ...] = ()
    attributes: dict[str, str] = Field(default_factory=dict)
    principal: tuple[str, ...] = ()
    lease_ms: int | None = Field(default=None, ge=1, le=31 * 86_400_000)
    releases: Literal["delete", "mark", "both"] | None = None
    stale_after_seconds: int | None = Field(default=None, ge=1, le=366 * 86_400)
    start: StartMode | None = None
    on_gap: Literal["continue", "halt"] = "continue"


class ReplicaSettings(Section):
    """One replica of a table. What is empty of region, endpoint_url and profile is as in `[aws]`."""

    id: Name
    table: TableName
    to: Literal["dynamodb", "redis"]
    reader: Name | None = None
    target_table: TableName | None = None
    region: str = ""
    endpoint_url: Annotated[str, AfterValidator(_endpoint)] = ""
    profile: str = ""
    url: Annotated[str, AfterValidator(_redis_url)] = ""
    password_variable: str = Field(default="", pattern=r"^[A-Za-z0-9_]{0,128}$")
    key_prefix: str = Field(default="", pattern=r"^[A-Za-z0-9:._/-]{0,200}$")
    rows: Literal["plain", "phrases"] = "plain"
    on_loss: Literal["bootstrap", "advise"] = "bootstrap"
    tombstone_hours: int = Field(default=48, ge=26, le=8_760)
    writers: int = Field(default=8, ge=1, le=64)

    @property
    def reader_name(self) -> str:
        """The reader of the stream that it is fed by: its own, unless it shares one."""
        return self.reader or self.id

    @property
    def prefix(self) -> str:
        """What its keys in Redis begin with."""
        return self.key_prefix or f"lockside:{self.id}:"

    @model_validator(mode="after")
    def _place(self) -> "ReplicaSettings":
        if self.to == "dynamodb" and not self.target_table:
            raise ValueError('to = "dynamodb" needs target_table, the name of the table that holds the replica')
        if self.to == "redis" and not self.url:
            raise ValueError('to = "redis" needs url, for example "redis://127.0.0.1:6379/0"')
        return self

    def is_beside(self, aws: AwsSettings) -> bool:
        """Whether its target is asked for where the source is."""
        return all(getattr(self, name) in {"", getattr(aws, name)} for name in ("region", "endpoint_url", "profile"))


class Settings(BaseSettings):
    """All settings. Made by `load`, which knows the file and the flags."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        validate_default=True,
        env_prefix=ENV_PREFIX,
        env_nested_delimiter=ENV_DELIMITER,
    )

    application: Name = "lockside"
    aws: AwsSettings = AwsSettings()
    audit: AuditSettings = AuditSettings()
    state: StateSettings = StateSettings()
    keys: KeysSettings = KeysSettings()
    engine: EngineSettings = EngineSettings()
    recipe: RecipeSettings = RecipeSettings()
    ops: OpsSettings = OpsSettings()
    layout: tuple[Annotated[dict[str, Any], AfterValidator(_layout)], ...] = ()
    stores: StoresSettings = StoresSettings()
    source: tuple[SourceSettings, ...] = ()
    replica: tuple[ReplicaSettings, ...] = ()

    @property
    def layouts(self) -> Registry:
        """The built-in layouts and those of this file."""
        return builtin().with_layouts(self.layout, "layout") if self.layout else builtin()

    # On the field, not on the whole: faults elsewhere must not hide these.
    @field_validator("layout", mode="after")
    @classmethod
    def _layouts_apart(cls, layout: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        names = [document["name"] for document in layout]
        twice = [name for name in sorted(set(names)) if names.count(name) > 1]
        if twice:
            raise ValueError(f'name "{twice[0]}" is used {names.count(twice[0])} times; each layout needs its own')
        try:
            builtin().with_layouts(layout, "layout")
        except LayoutError as error:
            raise ValueError(str(error)) from None
        return layout

    @field_validator("source", mode="after")
    @classmethod
    def _sources_apart(cls, sources: tuple[SourceSettings, ...], info: ValidationInfo) -> tuple[SourceSettings, ...]:
        ids = [source.id for source in sources]
        faults = [
            f'id "{name}" is used {ids.count(name)} times; each source needs its own'
            for name in sorted(set(ids))
            if ids.count(name) > 1
        ]
        for section in ("audit", "state"):
            own = info.data.get(section)
            faults += [
                f'id "{source.id}" watches {section}.table = "{own.table}"; Lockside\'s own tables cannot be watched'
                for source in sources
                if own is not None and source.table == own.table
            ]
        if faults:
            raise ValueError("; ".join(faults))
        return sources

    @field_validator("replica", mode="after")
    @classmethod
    def _replicas_apart(
        cls, replicas: tuple[ReplicaSettings, ...], info: ValidationInfo
    ) -> tuple[ReplicaSettings, ...]:
        if faults := [*clashes(replicas), *loops(replicas, info.data)]:
            raise ValueError("; ".join(faults))
        return replicas

    @field_validator("state", mode="after")
    @classmethod
    def _state_apart(cls, state: StateSettings, info: ValidationInfo) -> StateSettings:
        audit = info.data.get("audit")
        if audit is not None and state.table == audit.table:
            raise ValueError(f'table = "{state.table}" is audit.table too; the two need tables of their own')
        return state


def load(path: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings from a TOML file, the environment and flags (`{"ops.listen": …}`; a flag not given is None).

    Raises ConfigError with every fault found.
    """
    document = _read(path)
    flags = _nested({name: value for name, value in (overrides or {}).items() if value is not None})
    faults = list(unknown_environment(ENV_PREFIX, ENV_DELIMITER, Settings))
    try:
        environment = EnvSettingsSource(Settings)
        layers = (InitSettingsSource(Settings, flags), environment, InitSettingsSource(Settings, document))
        settings = Settings(_build_sources=(layers, {}))
    except SettingsError as error:
        # Its text names the variable's field; its cause, which is left out, may quote the value.
        faults.append(f"environment: {error}; a section or list is written as JSON, for example '[{{...}}]'")
    except ValidationError as error:
        origins = ((flags, "a flag"), (environment(), "the environment"))
        faults += [fault(Settings, detail, origins) for detail in error.errors(include_url=False)]
    if faults:
        count = f"{len(faults)} fault{'s' if len(faults) > 1 else ''}"
        raise ConfigError("\n".join([f"{count} in the settings ({path or 'no file'}):", *(f"  {f}" for f in faults)]))
    return settings


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); name the file with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text, which TOML must be") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from error


def _nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *sections, key = name.split(".")
        branch = tree
        for section in sections:
            branch = branch.setdefault(section, {})
        branch[key] = value
    return tree

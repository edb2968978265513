"""Reading a session's row.

Strategy: decode the payload, drop what changes without meaning, look for the principal, digest what is left. A row with
nothing left is a stub (a touch that came after the delete, a lock on an unknown id) or was emptied: payload None.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import blake2b
from typing import Any, Final, Literal

from lockside.core import attributes
from lockside.core.attributes import Image
from lockside.core.row import Authenticated, SessionRow
from lockside.errors import WireFaultError
from lockside.layouts import payload
from lockside.layouts.claim import scalar_text
from lockside.layouts.field import Deadline
from lockside.layouts.path import MISSING, Path, drop, find

UNREADABLE: Final = "payload_unreadable"
NAMELESS: Final = "principal_unreadable"
REPLICATION_PREFIX: Final = "aws:rep:"
"""Attributes that global tables of version 2017.11.29 add to every item; they are no payload."""


PRINCIPAL_CHARS_MAX: Final = 256

NO_NAME: Final = re.compile(
    r"""[\s"']*+(?:
    (?:j:)?[{\[]                                      # JSON, also as Express keeps it in cookies
    | %(?:7B|5B|7b|5b)                               # the same, escaped for an address
    | <[?!\w/]                                       # XML
    | -----BEGIN\s
    | (?:(?i:bearer)\s+)?eyJ[\w-]{8,}                # a JSON Web Token (RFC 7519), JSON in base64
    | (?i:bearer|basic|token)\s+[\w+/=.~-]{16,}      # an Authorization header (RFC 9110)
    | [aOCEs]:[0-9]+:                                # what PHP serialises
    | \$(?:2[abxy]|[1567y]|argon2\w*|scrypt|pbkdf2[\w-]*)\$
    | (?:pbkdf2|bcrypt|argon2|scrypt)\w*[$:]         # hashes of passwords, in crypt(3)'s spelling and Django's
    | gh[oprsu]_\w{16,} | github_pat_ | glpat-        # tokens by the beginnings that their makers gave them
    | xox[abeoprs]- | [rs]k_(?:live|test)_ | sk-[\w-]{20,}
    | (?:AKIA|ASIA)[0-9A-Z]{16} | AIza[\w-]{20,} | ya29\.
    | shp(?:at|ca|pa|rt|ss|ua)_ | npm_\w{20,} | SG\.[\w-]{16,}
    )""",
    re.ASCII | re.VERBOSE,
)
"""What begins like a document, a token or a hash, and so is nobody's name."""

PAYLOADS_KNOWN_MAX: Final = 4_096
"""Payloads of a layout whose reading is kept: some two megabytes. Past it all are read anew."""

MARK_BYTES: Final = 16

ID_CHARS_MIN: Final = 8
"""The end of a key from this length on is a session's id, whatever stands before it."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Where a user's name may stand: in the payload, or in the row beside it. `strip` is a prefix that is no name."""

    path: Path
    of: Literal["payload", "row"] = "payload"
    strip: str = ""


@dataclass(frozen=True, slots=True)
class PayloadReader:
    """Where the payload stands and how it is read: one attribute through codecs, a map, or the row's own attributes.

    `attr` None means the row's own attributes, without those of `ignored`. No codec for text or bytes: opaque. `path`
    leads to the payload within what was read. `falls_opaque`: what no codec reads is opaque by design, and no fault.
    `churns`: it is no news that an opaque payload changed.
    """

    attr: str | None
    codecs: tuple[payload.Codec, ...] = ()
    maps: bool = False
    path: Path = ()
    volatile: tuple[Path, ...] = ()
    ignored: frozenset[str] = frozenset()
    falls_opaque: bool = False
    churns: bool = False

    @property
    def opaque(self) -> bool:
        """Whether the payload cannot be looked into by design."""
        return self.attr is not None and not self.codecs and not self.maps

    def decoded(self, image: Image) -> Any:
        """Return the payload as plain values, None where there is none. Raises UnreadableError."""
        try:
            if self.attr is None:
                return attributes.decode_image(self._own(image))
            wire = image.get(self.attr)
            value = None if wire is None else attributes.decode(wire)
        except (WireFaultError, AttributeError, TypeError):
            raise payload.UnreadableError from None
        match value:
            case str() | bytes() if self.codecs:
                return payload.decode(value, self.codecs, self.path)
            case dict() if self.maps:
                return payload.within(value, self.path)
            case None | "" | b"":
                return None
            case _ if self.opaque:
                return value
            case _:
                raise payload.UnreadableError

    def raw(self, image: Image) -> Any:
        """Return the payload undecoded, for a digest of what cannot be read; the same from bytes and from base64."""
        if self.attr is None:
            return {name: _value_or_wire(wire) for name, wire in self._own(image).items()}
        return _value_or_wire(image.get(self.attr))

    def opaque_digest(self, value: Any) -> str:
        """Digest what cannot be looked into; all alike where a change of it tells nothing."""
        return payload.digest_opaque(b"" if self.churns else value)

    def _own(self, image: Image) -> Image:
        return {k: v for k, v in image.items() if k not in self.ignored and not k.startswith(REPLICATION_PREFIX)}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a row that is still there says that its session is over: a value of these, or a number below."""

    path: Path
    equals: frozenset[str] = frozenset()
    below: int | None = None

    def holds(self, image: Image) -> bool:
        """Whether the row says so. What cannot be read says nothing."""
        found = find(_Row(image).value(self.path), self.path)
        if self.below is not None:
            return isinstance(found, Decimal) and found < self.below
        return scalar_text(found) in self.equals


@dataclass(frozen=True, slots=True)
class _Said:
    """What a row says besides its deadline."""

    principal: str | None
    authenticated: Authenticated
    payload: str | None
    faults: tuple[str, ...] = ()
    nobody: bool = False
    privileges: str | None = None


@dataclass(frozen=True, slots=True)
class SessionReader:
    """Reads the rows of one session layout. `absent_user`: what it means that a user stands in none of the places.

    `withheld`: attributes that hold the session's id or another secret, which no user's name may repeat (law 7).
    """

    payload: PayloadReader
    principals: tuple[Principal, ...] = ()
    deadline: Deadline | None = None
    absent_user: Authenticated = "no"
    privileges: tuple[Path, ...] = ()
    ended: Ended | None = None
    withheld: tuple[str, ...] = ()
    _known: dict[bytes, _Said] = field(default_factory=dict, compare=False, repr=False)

    def read(self, image: Image) -> SessionRow:
        """Read a row; what is not as it should be becomes a fault."""
        faults: list[str] = []
        deadline_ms = self.deadline.read(image, faults) if self.deadline else None
        if self.ended is not None and self.ended.holds(image):
            return SessionRow(None, "no", deadline_ms, None, tuple(faults))
        said = self._said(image)
        principal, authenticated = said.principal, said.authenticated
        if principal is not None and self._repeats_a_secret(principal, image):
            principal, authenticated = None, "unknown"
            faults.append(NAMELESS)
        return SessionRow(
            principal,
            authenticated,
            deadline_ms,
            said.payload,
            (*faults, *said.faults),
            said.nobody,
            said.privileges,
        )

    def _said(self, image: Image) -> _Said:
        """Read all but the deadline; once, where a payload is one that was read lately.

        A refresh carries the whole payload twice, as it was before, and decoding it is most of what a record costs.
        What is kept is known by a digest: no payload stays in memory for it.
        """
        wire = image.get(self.payload.attr or "") if self._stands_alone else None
        if not _is_text(wire):
            return self._say(image)
        mark = _mark(wire)
        said = self._known.get(mark)
        if said is None:
            said = self._say(image)
            if len(self._known) >= PAYLOADS_KNOWN_MAX:
                self._known.clear()
            self._known[mark] = said
        return said

    @property
    def _stands_alone(self) -> bool:
        """Whether one attribute tells all but the deadline."""
        return self.payload.attr is not None and all(one.of == "payload" for one in self.principals)

    def _say(self, image: Image) -> _Said:
        faults: list[str] = []
        try:
            value = self.payload.decoded(image)
            if self.payload.opaque:
                return self._unread(image, self.payload.opaque_digest(value) if value else None, faults)
            principal, authenticated = self._principal(value, image, faults)
            privileges = self._privileges(value)
            spelled = self._rest(value)
        except payload.UnreadableError:
            faults = [] if self.payload.falls_opaque else [UNREADABLE]
            return self._unread(image, self.payload.opaque_digest(self.payload.raw(image)), faults)
        if spelled is None:
            return _Said(None, "no", None, tuple(faults))
        nobody = principal is None and not faults
        return _Said(principal, authenticated, spelled, tuple(faults), nobody, privileges)

    def _unread(self, image: Image, digest: str | None, faults: list[str]) -> _Said:
        """Say what the row beside an unread payload says of its user; nothing, where one may stand in the payload."""
        if digest is None:
            return _Said(None, "unknown", None)
        unread = len(faults)
        principal, authenticated = self._principal(MISSING, image, faults)
        hidden = not self.principals or any(one.of == "payload" for one in self.principals)
        if principal is None and hidden:
            return _Said(None, "unknown", digest, tuple(faults))
        nobody = principal is None and len(faults) == unread
        return _Said(principal, authenticated, digest, tuple(faults), nobody)

    def _privileges(self, value: Any) -> str | None:
        if not self.privileges:
            return None
        found = [find(value, path) for path in self.privileges]
        return payload.digest([None if one is MISSING else one for one in found])

    def _rest(self, value: Any) -> str | None:
        for path in self.payload.volatile:
            drop(value, path)
        return payload.digest(value) if value else None

    def _principal(self, value: Any, image: Image, faults: list[str]) -> tuple[str | None, Authenticated]:
        nameless = False
        for principal in self.principals:
            found = find(value if principal.of == "payload" else _Row(image).value(principal.path), principal.path)
            if _nobody(found):
                continue
            name = payload.text_of(found)
            if name is not None and (name := name.removeprefix(principal.strip)) and not _may_be_a_secret(name):
                return name, "yes"
            nameless = True
        if nameless:
            faults.append(NAMELESS)
            return None, "unknown"
        return None, self.absent_user if self.principals else "unknown"

    def _repeats_a_secret(self, name: str, image: Image) -> bool:
        """Whether a name is what a secret attribute of the row holds, or the id at its end.

        Asked of each row anew, whatever of it was read before.
        """
        for attr in self.withheld:
            held = _text_at(image, attr)
            if held is not None and held.endswith(name) and (held == name or _is_id_in(held, name)):
                return True
        return False


def _is_id_in(held: str, end: str) -> bool:
    """Whether the end of a key is the id in it: all after a mark, or long. Shopify's ends in its user, a number."""
    return not end.isdecimal() and (len(end) >= ID_CHARS_MIN or not held[-len(end) - 1].isalnum())


def _may_be_a_secret(name: str) -> bool:
    """Whether what stands in a user's place is no name: a web token, a whole document, a text of that size (law 7)."""
    return len(name) > PRINCIPAL_CHARS_MAX or NO_NAME.match(name) is not None


@dataclass(frozen=True, slots=True)
class _Row:
    """The row beside the payload, of which a path touches only one attribute."""

    image: Image

    def value(self, path: Path) -> Mapping[str, Any]:
        """Return a map with the one attribute that a path starts at."""
        name = path[0]
        if not isinstance(name, str) or name not in self.image:
            return {}
        try:
            return {name: attributes.decode(self.image[name])}
        except WireFaultError:
            return {}


def _is_text(wire: object) -> bool:
    """Whether a wire value is one text, or bytes, so that a digest of these is one of the value."""
    if type(wire) is not dict or len(wire) != 1:
        return False
    # Of no other type: a stranger's tag may be anything, and the reading proper tells what is wrong with it.
    return type(wire.get("S", wire.get("B"))) in {str, bytes}


def _text_at(image: Image, name: str) -> str | None:
    wire = image.get(name)
    text = wire.get("S") if isinstance(wire, Mapping) else None
    return text if isinstance(text, str) else None


def _mark(wire: Any) -> bytes:
    ((tag, text),) = wire.items()
    spelled = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    # By type too: a text and bytes that are spelled alike are read as different things.
    return blake2b(spelled, digest_size=MARK_BYTES, person=f"{tag}{type(text).__name__}"[:16].encode()).digest()


def _value_or_wire(wire: Any) -> Any:
    try:
        return attributes.decode(wire)
    except WireFaultError:
        return wire


def _nobody(found: Any) -> bool:
    # By identity and type: user 0 is somebody, and 0 equals False.
    return found is MISSING or found is None or found is False or (isinstance(found, str | dict | list) and not found)

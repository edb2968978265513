"""Every error Lockside raises on purpose.

LocksideError
├── UsageError            a person must act; the message names the field, the value and the way out (exit 2)
│   ├── ConfigError       the settings do not hold together
│   ├── LayoutError       a layout is unknown or badly written
│   ├── SetupError        a table, a stream, credentials or an endpoint is not as the worker needs it
│   ├── LimitError        a key, a value or an option is none that a store can hold
│   ├── ReentranceError   a thread asks for a lock that it holds already
│   └── HaltError         one shard cannot be read on; the others go on, and its checkpoint stays
│       ├── FaultyPageError        a page held a record without a usable sequence number, or out of order
│       ├── StreamLostError        the stream no longer holds what comes next, and that is to halt the shard
│       ├── UndecodableLimitError  the shard holds as many undecodable changes as it may
│       └── ReplicaError           a change or row cannot be brought to a replica
├── NotFoundOutError      the answer could not be found out (exit 3)
│   └── OutcomeUnknownError   whether a write took effect could not be found out
├── RefusedError          a store's rule refuses what was asked; nothing was written
│   ├── LockTakenError        the lock stayed another's for as long as was to be waited
│   ├── LockLostError         a lock is no longer surely ours
│   ├── VersionError          the row has another version than the writer saw
│   ├── PartlyWrittenError    of an update of many, some were written and some were not
│   └── SessionLimitError     a user has as many sessions as the policy allows
├── WireFaultError        one stream record cannot be understood; carries a reason code and never its contents
├── StoppedError          a shutdown ended a wait
└── FencedError           another owner has taken over; nothing more may be written
"""


class LocksideError(Exception):
    """The root of every error Lockside raises on purpose."""


class UsageError(LocksideError):
    """What a new start alone would not mend. Its text says what is wrong and the way out; it never holds a secret."""


class ConfigError(UsageError):
    """The settings do not hold together; the text lists every fault found."""


class LayoutError(UsageError):
    """A layout is unknown or badly written."""


class SetupError(UsageError):
    """A table, a stream, credentials or an endpoint is not as the worker needs it."""


class HaltError(UsageError):
    """One shard cannot be read on until a person acts. Nothing is skipped, and the other shards go on."""


class FaultyPageError(HaltError):
    """A whole page with a record that has no place, or stands out of order: read it again, then halt the shard.

    An answer that broke off is none of these; it is asked for again, however often.
    """


class StreamLostError(HaltError):
    """The stream no longer holds what comes next of a shard: it was trimmed before it was read."""


class UndecodableLimitError(HaltError):
    """A shard holds as many undecodable changes as it may; `position` is the first that did not fit."""

    def __init__(self, message: str, position: int) -> None:
        """Keep the position beside the message."""
        super().__init__(message)
        self.position = position


class ReplicaError(HaltError):
    """A change or a row cannot be brought to a replica: it cannot be read, or the replica cannot hold it."""


class NotFoundOutError(LocksideError):
    """The answer could not be found out, for example because an endpoint did not reply."""


class OutcomeUnknownError(NotFoundOutError):
    """A write got no answer, and its row does not tell: it may have taken effect, or yet take effect."""


class LimitError(UsageError):
    """A key, a value or an option is none that a store can hold; nothing was sent."""


class ReentranceError(UsageError):
    """A thread asks for a lock that it holds already, and would wait for itself."""


class ForkedError(UsageError):
    """A lock client is used in a fork of the process that made it: its locks and threads are the parent's."""


class RefusedError(LocksideError):
    """A store's rule refuses what was asked."""


class LockTakenError(RefusedError):
    """The lock stayed another's for as long as was to be waited."""


class LockLostError(RefusedError):
    """A lock is no longer surely ours: its lease ran out with no renewal, or another took it.

    What was done under it may overlap with what the next holder does; a fenced write does not.
    """


class VersionError(RefusedError):
    """The row has another version than the writer saw; nothing was written. Read again, decide again."""


class PartlyWrittenError(RefusedError):
    """An update of many was not written whole.

    `written` and `unwritten` name the keys; `unknown` those that may or may not have been written.
    """

    def __init__(
        self, message: str, written: tuple[str, ...], unwritten: tuple[str, ...], unknown: tuple[str, ...]
    ) -> None:
        """Keep the keys beside the message, which does not show them."""
        super().__init__(message)
        self.written = written
        self.unwritten = unwritten
        self.unknown = unknown


class SessionLimitError(RefusedError):
    """A user has as many live sessions as the policy allows."""


class WireFaultError(LocksideError):
    """A stream record, or a part of one, cannot be understood.

    `code` is a fixed word that says why; the contents never enter the message.
    """

    def __init__(self, code: str) -> None:
        """Keep the reason code, which is also the whole message."""
        super().__init__(code)
        self.code = code


class StoppedError(LocksideError):
    """A shutdown was asked for while waiting; what was not acknowledged is not done."""


class FencedError(LocksideError):
    """Another owner has taken over this shard or application."""

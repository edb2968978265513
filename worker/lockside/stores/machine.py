"""What the stores take from the machine they run on: clocks, chance and waits."""

import random
import secrets
import time
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from lockside.core.ports import Stop

NANOSECONDS_PER_MS: Final = 1_000_000
VERSION_BYTES: Final = 16
TOKEN_BYTES: Final = 32

# CLOCK_MONOTONIC stands still while a Linux machine sleeps: a holder that woke up would think its lease young.
_HOLDING: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Machine(Protocol):
    """The only source of time and chance. Holders and waiters have a clock each, so that each errs on the safe side."""

    def holding_ms(self) -> int:
        """Read the clock that never steps and goes on while the machine sleeps: a lease is never thought too young."""
        ...

    def waiting_ms(self) -> int:
        """Read the clock that never steps and stands still in sleep: a lease is never thought too old."""
        ...

    def wall_ms(self) -> int:
        """Read the wall clock, in epoch milliseconds: for deadlines that are stored, never for locks."""
        ...

    def chance(self) -> float:
        """Draw a number from 0 to below 1."""
        ...

    def version(self) -> str:
        """Draw a row version that never was before."""
        ...

    def token(self) -> bytes:
        """Draw a secret of 256 bits."""
        ...

    def wait(self, stop: "Stop", seconds: float) -> bool:
        """Wait so long; True as soon as the stop is set."""
        ...


class System:
    """The machine as it is."""

    def holding_ms(self) -> int:
        """Read CLOCK_BOOTTIME where there is one."""
        return time.clock_gettime_ns(_HOLDING) // NANOSECONDS_PER_MS

    def waiting_ms(self) -> int:
        """Read CLOCK_MONOTONIC."""
        return time.monotonic_ns() // NANOSECONDS_PER_MS

    def wall_ms(self) -> int:
        """Read the wall clock."""
        return time.time_ns() // NANOSECONDS_PER_MS

    def chance(self) -> float:
        """Draw for a wait: it need not be hard to guess."""
        return random.random()  # noqa: S311

    def version(self) -> str:
        """Draw 128 bits, as text."""
        return secrets.token_hex(VERSION_BYTES)

    def token(self) -> bytes:
        """Draw from the system's source of secrets."""
        return secrets.token_bytes(TOKEN_BYTES)

    def wait(self, stop: "Stop", seconds: float) -> bool:
        """Wait on the stop itself."""
        return stop.wait(seconds)

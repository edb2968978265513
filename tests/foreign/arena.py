"""Where Java and Lockside fight over the same locks, and are killed, frozen and robbed while they do."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from lockside.emulators import tether
from lockside.emulators.emulator import Emulator
from lockside.stores import LockClient, tables
from tests.fakes.state_table import dynamodb, streams
from tests.foreign import java
from tests.foreign.history import History

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LEASE_SECONDS: Final = 1.5
LOCKS: Final = ("left", "right")
ROBBED: Final = "robbed"
"""The lock whose row a vandal deletes and overwrites: its holders are robbed, and only its fence must hold."""

READ_SECONDS: Final = 0.01
STRIKE_SECONDS: Final = 0.7
FREEZE_SECONDS: Final = 2.5 * LEASE_SECONDS
END_SECONDS_MAX: Final = 5.0
START_SECONDS_MAX: Final = 60.0
MORE_SECONDS_MAX: Final = 120.0
"""How much longer a fight may take on a slow machine until all that is to be judged has happened."""

NANOSECONDS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a fighter told: when, on the machine's one monotonic clock, what, of which lock, under which fence."""

    at: float
    fighter: str
    kind: str
    lock: str
    fence: int


@dataclass(frozen=True, slots=True)
class Claim:
    """From when to when a fighter that was neither frozen nor overtaken says that it held a lock."""

    fighter: str
    lock: str
    since: float
    until: float


@dataclass
class Fighter:
    """One process and its steps."""

    name: str
    process: subprocess.Popen[str]
    steps: list[Step] = field(default_factory=list)
    frozen: list[tuple[float, float]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    listener: threading.Thread | None = None

    def listen(self) -> None:
        """Read its steps until it ends."""
        if self.process.stdout is None:
            return
        for line in self.process.stdout:
            at, _, rest = line.rstrip().partition(" ")
            kind, _, rest = rest.partition(" ")
            lock, _, fence = rest.partition(" ")
            if not at.isdecimal() or not lock or not line.endswith("\n"):
                self.errors.append(line.rstrip())
                continue
            self.steps.append(Step(int(at) / NANOSECONDS, self.name, kind, lock, int(fence or 0)))

    def end(self) -> None:
        """End it, and what it has open."""
        self.signal(signal.SIGCONT)
        tether.end(self.process, END_SECONDS_MAX)
        if self.listener is not None:
            self.listener.join(END_SECONDS_MAX)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and whatever it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    @property
    def holds(self) -> str | None:
        """The lock that it last told to hold, if that was its last step."""
        last = self.steps[-1] if self.steps else None
        return last.lock if last is not None and last.kind == "acquired" else None

    def claims(self) -> Iterator[Claim]:
        """Tell its times of holding that nothing disturbed."""
        for at, step in enumerate(self.steps):
            if step.kind != "acquired":
                continue
            later = [each.kind for each in self.steps[at + 1 : at + 6]]
            end = next((each for each in self.steps[at + 1 :] if each.kind == "releasing"), None)
            if end is None or ("overtaken" in later and "acquired" not in later[: later.index("overtaken")]):
                continue
            if not any(begun < end.at and ended > step.at for begun, ended in self.frozen):
                yield Claim(self.name, step.lock, step.at, end.at)


class Arena:
    """The tables, the fighters and who disturbs them."""

    def __init__(self, emulator: Emulator, class_path: str, number: int, seed: int) -> None:
        """Create the tables; nobody fights yet."""
        self.client: DynamoDBClient = dynamodb(emulator)
        self.table, self.counters = f"fight-{number}", f"fight-{number}-counters"
        self.fighters: list[Fighter] = []
        self._emulator = emulator
        self._class_path = class_path
        self._chance = random.Random(seed)  # noqa: S311 - repeatable
        self._started: Counter[str] = Counter()
        LockClient.create(self.client, self.table)
        (_, counters) = tables.lock_tables(self.table, self.counters)
        tables.create(self.client, counters)
        arn = self.client.describe_table(TableName=self.table)["Table"]["LatestStreamArn"]
        self.history = History(streams(emulator), arn)

    def fight(self, seconds: float, enough: Callable[[], bool], javas: int = 2, locksides: int = 3) -> None:
        """Let them fight for so long and until there is enough to judge by, within a bound; read on what they write.

        Now and then one of them is struck.
        """
        living = [self._java("holder", LOCKS) for _ in range(javas)]
        living += [self._lockside((*LOCKS, ROBBED)) for _ in range(locksides)]
        vandal = self._java("vandal", (ROBBED,))
        frozen: list[tuple[Fighter, float]] = []
        self._warm_up()
        until, strike = time.monotonic() + seconds, time.monotonic() + 2 * STRIKE_SECONDS
        pause = threading.Event()
        last = until + MORE_SECONDS_MAX
        while time.monotonic() < until or frozen:
            if time.monotonic() >= until - STRIKE_SECONDS and not enough():
                until = min(last, time.monotonic() + 2 * STRIKE_SECONDS)
            self.history.read()
            pause.wait(READ_SECONDS)
            now = time.monotonic()
            for fighter, since in [each for each in frozen if now - each[1] > FREEZE_SECONDS]:
                fighter.signal(signal.SIGCONT)
                fighter.frozen.append((since, time.monotonic()))
                frozen.remove((fighter, since))
            if strike < now < until:
                strike = now + STRIKE_SECONDS
                self._strike(living, frozen)
        pause.wait(READ_SECONDS)
        for fighter in [*living, vandal]:
            fighter.signal(signal.SIGKILL)
        self.history.read()

    def close(self) -> None:
        """End everybody."""
        for fighter in self.fighters:
            fighter.end()

    def steps(self, *kinds: str, side: str = "") -> list[Step]:
        """Return all steps of these kinds of one side's fighters, in the order of time."""
        found = (step for each in self.fighters if each.name.startswith(side) for step in each.steps)
        return sorted((step for step in found if not kinds or step.kind in kinds), key=lambda step: step.at)

    def taken(self, lock: str) -> list[int]:
        """Return the fences a counter took, in the order of the table: a fighter may be frozen before it can tell."""
        row = self.client.get_item(TableName=self.counters, Key={"key": {"S": lock}}, ConsistentRead=True)
        return [int(fence["N"]) for fence in row.get("Item", {}).get("taken", {}).get("L", [])]

    def overlaps(self) -> list[tuple[Claim, Claim]]:
        """Return the pairs of claims that say of one lock that two held it at once; the robbed one is left out."""
        by_lock: dict[str, list[Claim]] = defaultdict(list)
        for fighter in self.fighters:
            for claim in fighter.claims():
                by_lock[claim.lock].append(claim)
        return [pair for lock in LOCKS for pair in overlapping(by_lock[lock])]

    def _warm_up(self) -> None:
        """Wait until both sides have held a lock: Java takes its time to start."""
        begun, pause = time.monotonic(), threading.Event()
        while not all(self.steps("acquired", side=side) for side in ("java", "lockside")):
            if time.monotonic() - begun > START_SECONDS_MAX:
                raise AssertionError(f"not all have started: {[each.errors for each in self.fighters]}")
            self.history.read()
            pause.wait(READ_SECONDS)

    def _strike(self, living: list[Fighter], frozen: list[tuple[Fighter, float]]) -> None:
        """Kill one and start another in its place, or freeze one of Lockside's while it holds a lock."""
        at_rest = {fighter.name for fighter, _ in frozen}
        holders = [each for each in living if each.name not in at_rest and each.holds in LOCKS]
        ours = [each for each in holders if each.name.startswith("lockside")]
        if ours and self._chance.random() < 2 / 3:
            victim = self._chance.choice(ours)
            victim.signal(signal.SIGSTOP)
            frozen.append((victim, time.monotonic()))
        elif holders:
            victim = self._chance.choice(holders)
            victim.signal(signal.SIGKILL)
            java_side = victim.name.startswith("java")
            living[living.index(victim)] = (
                self._java("holder", LOCKS) if java_side else self._lockside((*LOCKS, ROBBED))
            )

    def _java(self, part: str, locks: Sequence[str]) -> Fighter:
        name, seed = self._name("java" if part == "holder" else part)
        lease_ms = str(round(LEASE_SECONDS * 1000))
        arguments = [part, self._emulator.endpoint_url, self.table, name, lease_ms, seed, *locks]
        return self._enlisted(name, java.start(self._class_path, arguments))

    def _lockside(self, locks: Sequence[str]) -> Fighter:
        name, seed = self._name("lockside")
        arguments = [self._emulator.endpoint_url, self.table, self.counters, name, str(LEASE_SECONDS), seed, *locks]
        return self._enlisted(name, tether.launch([sys.executable, "-m", "tests.foreign.fighter", *arguments]))

    def _name(self, kind: str) -> tuple[str, str]:
        self._started[kind] += 1
        return f"{kind}-{self._started[kind]}", str(self._chance.randrange(1_000_000))

    def _enlisted(self, name: str, process: subprocess.Popen[str]) -> Fighter:
        fighter = Fighter(name, process)
        self.fighters.append(fighter)
        fighter.listener = threading.Thread(target=fighter.listen, name=name, daemon=True)
        fighter.listener.start()
        return fighter


def overlapping(claims: Sequence[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Return the pairs of different fighters' claims that overlap in time."""
    ordered = sorted(claims, key=lambda claim: claim.since)
    for at, one in enumerate(ordered):
        for other in ordered[at + 1 :]:
            if other.since >= one.until:
                break
            if other.fighter != one.fighter:
                yield one, other

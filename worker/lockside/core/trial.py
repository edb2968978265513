"""What a trial of the stores saw, and whether it may have been so. Pure: what happened in, a verdict out.

A trial is many clients that read, write, delete, scan and lock at random (`lockside check-store`). All times are of one
clock of one machine, in nanoseconds, taken before a call and after it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final, Literal

from lockside.core.linearizable import Answer, Explanation, Operation, Value, explain

Did = Literal["read", "write", "swap", "delete", "scan", "lock", "fenced", "held"]
Outcome = Literal["done", "refused", "unknown"]

NS_PER_MS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """One call of one client.

    `value` is what was written or read; `found` what a scan from `key` up to `end_key` returned, in its order. `fence`
    is that of a lock, or what a fenced write bore; `count` where the counter stood after it. A `held` tells of a whole
    time under a lock: from when it was taken to when it was given up or could no longer be sure of.
    """

    client: int
    did: Did
    key: str
    start_ns: int
    end_ns: int
    outcome: Outcome = "done"
    value: Value = None
    expected: Value = None
    end_key: str = ""
    found: tuple[tuple[str, str], ...] = ()
    fence: int = 0
    count: int = 0
    owner: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One change of a lock's row, by the table's own stream: the fence and the owner it shows, None once it is gone."""

    lock: str
    fence: int | None
    owner: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that may not be: which law it breaks, and what happened, without any value."""

    law: str
    what: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a trial has put to the test; a law that never was at stake is not shown to hold."""

    registers: int = 0
    scans: int = 0
    holders: int = 0
    stale_tried: int = 0
    stale_refused: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong, what could not be found out, and what was put to the test."""

    findings: tuple[Finding, ...]
    open_questions: tuple[str, ...]
    shown: Shown = field(default_factory=Shown)


def judge(events: Sequence[Event], steps: Sequence[Step] | None, keys: Sequence[str]) -> Verdict:
    """Judge a whole trial. `keys` are all that it used; `steps` the lock rows' history, None if it cannot be read."""
    findings: list[Finding] = []
    questions: list[str] = []
    for key, history in _histories(events, keys).items():
        explanation = explain(history)
        if explanation.answer is Answer.UNEXPLAINED:
            findings.append(Finding("every read is explained", _stuck(key, explanation)))
        elif explanation.answer is Answer.NOT_FOUND_OUT:
            questions.append(f"key {key}: its {len(history)} operations are too many at once to order; fewer clients")
    findings += _unordered(events)
    held = [event for event in events if event.did == "held"]
    findings += _two_holders(held)
    findings += _fences(held)
    findings += _counters(events)
    if steps is None:
        questions.append("the lock table's stream could not be read, so that its own history was not compared")
    else:
        findings += _history(held, steps)
        questions += _not_shown_yet(held, steps)
    stale = _stale(events)
    refused = sum(event.outcome == "refused" for event in stale)
    if not refused:
        questions.append("no superseded holder tried to write, so that its refusal is not shown; give more --seconds")
    scans = sum(event.did == "scan" for event in events)
    return Verdict(tuple(findings), tuple(questions), Shown(len(keys), scans, len(held), len(stale), refused))


def _histories(events: Iterable[Event], keys: Sequence[str]) -> Mapping[str, list[Operation]]:
    """Sort what happened by key. A scan read every key of its range, those too that it did not find."""
    histories: dict[str, list[Operation]] = defaultdict(list)
    for event in events:
        who = f"client {event.client}"
        end_ns = None if event.outcome == "unknown" else event.end_ns
        match event.did:
            case "scan" if end_ns is not None:
                found = dict(event.found)
                for key in keys:
                    if event.key <= key < event.end_key:
                        read = Operation(event.start_ns, end_ns, "read", found.get(key), who=f"{who}, in a scan")
                        histories[key].append(read)
            case "read" if end_ns is not None:
                histories[event.key].append(Operation(event.start_ns, end_ns, "read", event.value, who=who))
            case "write" | "delete":
                histories[event.key].append(Operation(event.start_ns, end_ns, "write", event.value, who=who))
            case "swap":
                kind: Literal["refused", "swap"] = "refused" if event.outcome == "refused" else "swap"
                swap = Operation(event.start_ns, end_ns, kind, event.value, event.expected, who)
                histories[event.key].append(swap)
            case _:
                pass
    return histories


def _stuck(key: str, explanation: Explanation) -> str:
    stuck = explanation.stuck
    if stuck is None:
        return f"key {key}: no order of its writes explains what was read"
    seen = "nothing" if stuck.value is None else "a value"
    did = {
        "read": f"read {seen}",
        "write": "wrote",
        "swap": "wrote over a version that was not there any more",
        "refused": "was refused, though its version was there",
    }[stuck.kind]
    ended = 0 if stuck.end is None else (stuck.end - stuck.start) // NS_PER_MS
    return f"key {key}: {stuck.who} {did} within {ended} ms, and no order of the writes explains it"


def _unordered(events: Iterable[Event]) -> Iterable[Finding]:
    for event in events:
        names = [name for name, _ in event.found]
        if any(one >= other for one, other in pairwise(names)):
            yield Finding("scans are in order", f"client {event.client}: a scan from {event.key} was out of order")
        if any(not event.key <= name < event.end_key for name in names):
            yield Finding("scans are in order", f"client {event.client}: a scan from {event.key} left its range")


def _by_lock(held: Iterable[Event]) -> Mapping[str, list[Event]]:
    locks: dict[str, list[Event]] = defaultdict(list)
    for event in held:
        locks[event.key].append(event)
    return locks


def _two_holders(held: Sequence[Event]) -> Iterable[Finding]:
    for lock, times in _by_lock(held).items():
        last: Event | None = None
        for event in sorted(times, key=lambda each: each.start_ns):
            if last is not None and event.start_ns < last.end_ns:
                both_ms = (min(event.end_ns, last.end_ns) - event.start_ns) // NS_PER_MS
                what = f"lock {lock}: client {event.client} took it while client {last.client} held it, by {both_ms} ms"
                yield Finding("no two holders within a lease", what)
            if last is None or event.end_ns > last.end_ns:
                last = event


def _fences(held: Sequence[Event]) -> Iterable[Finding]:
    for lock, times in _by_lock(held).items():
        for one, other in pairwise(sorted(times, key=lambda each: each.start_ns)):
            if other.fence <= one.fence:
                what = f"lock {lock}: fence {other.fence} of client {other.client} came after {one.fence}"
                yield Finding("fences grow", what)


def _counters(events: Iterable[Event]) -> Iterable[Finding]:
    """See that of a counter's accepted writes none bears a smaller fence than one before it."""
    accepted: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.did == "fenced" and event.outcome == "done":
            accepted[event.key].append(event)
    for name, writes in accepted.items():
        for one, other in pairwise(sorted(writes, key=lambda each: each.count)):
            if other.count == one.count:
                yield Finding("no counted write is lost", f"counter {name}: stood at {one.count} after two writes")
            if other.fence < one.fence:
                what = f"counter {name}: took a write of fence {other.fence} after one of {one.fence}"
                yield Finding("a superseded holder is refused", what)


def _stale(events: Sequence[Event]) -> list[Event]:
    """Return the fenced writes that began after one with a greater fence had been accepted."""
    taken: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for event in events:
        if event.did == "fenced" and event.outcome == "done":
            taken[event.key].append((event.end_ns, event.fence))
    return [
        event
        for event in events
        if event.did == "fenced"
        and any(end_ns < event.start_ns and fence > event.fence for end_ns, fence in taken[event.key])
    ]


def _history(held: Sequence[Event], steps: Sequence[Step]) -> Iterable[Finding]:
    """Compare what clients believed with what the table went through."""
    greatest: dict[str, int] = {}
    owners: dict[tuple[str, int], str] = {}
    for step in steps:
        if step.fence is None:
            continue
        if step.fence < greatest.get(step.lock, 0):
            what = f"lock {step.lock}: its row went from fence {greatest[step.lock]} back to {step.fence}"
            yield Finding("fences grow", what)
        greatest[step.lock] = max(step.fence, greatest.get(step.lock, 0))
        owner = owners.setdefault((step.lock, step.fence), step.owner)
        if owner != step.owner:
            yield Finding("fences grow", f"lock {step.lock}: fence {step.fence} was given to two owners")
    for event in held:
        # A fence above the greatest that was shown may yet come: streams are late.
        if event.fence <= greatest.get(event.key, 0) and owners.get((event.key, event.fence)) != event.owner:
            what = f"lock {event.key}: client {event.client} held fence {event.fence}, which its row never showed"
            yield Finding("no two holders within a lease", what)


def _not_shown_yet(held: Sequence[Event], steps: Sequence[Step]) -> Iterable[str]:
    """Name the locks whose history was not read up to their last fence."""
    shown = last_fences((step.lock, step.fence or 0) for step in steps)
    for lock, fence in last_fences((event.key, event.fence) for event in held).items():
        if fence > shown.get(lock, 0):
            yield f"lock {lock}: the table's stream had not shown its fence {fence} yet, but {shown.get(lock, 0)}"


def last_fences(fences: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the greatest fence of each lock."""
    greatest: dict[str, int] = {}
    for lock, fence in fences:
        greatest[lock] = max(fence, greatest.get(lock, 0))
    return greatest

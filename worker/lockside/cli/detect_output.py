"""How a detection looks: what was found and why, and the sources to paste, as TOML; one JSON object for a script."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from lockside.cli.explain_output import detection_lines, near_misses
from lockside.cli.rendering import level

if TYPE_CHECKING:
    from lockside.app.detection import Answer, Proposal
    from lockside.layouts.detect import Candidate

BARE: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def as_json(answer: "Answer") -> str:
    """Spell an answer as one JSON object."""
    found = answer.detection
    document = {
        "table": answer.table,
        "rows": answer.looked_at,
        "whole_table": answer.whole,
        "settled": answer.settled,
        "sources": [_proposal(proposal) for proposal in answer.proposals],
        "stubs": found.stubs,
        "others": [{"attributes": list(names), "rows": count} for names, count in found.others],
        "near": [] if answer.proposals else [_candidate(one) for one in found.candidates[:3]],
        "near_by_key": [spec.name for spec in found.by_key],
        "findings": list(answer.findings),
        "watched_by": list(answer.watched),
        "toml": "\n\n".join("\n".join(toml(proposal)) for proposal in answer.proposals),
    }
    return orjson.dumps(document).decode()


def as_lines(answer: "Answer") -> Iterator[str]:
    """Spell an answer for people."""
    found = answer.detection
    more = "all there are" if answer.whole else "there are more; --limit looks at more of them"
    yield f"Table {answer.table}: {answer.looked_at} rows looked at ({more})"
    if answer.proposals:
        yield from detection_lines(found)
    elif found.sampled:
        yield "No layout fits. The nearest:"
        yield from near_misses(found)
        for names, count in found.others:
            yield f"  {count} rows have {', '.join(names)}"
        yield "Write one of your own: docs/layouts.md shows how, and [[layout]] in the settings takes it."
    for finding in answer.findings:
        yield f"{level(finding.level)}  {finding.what}"
        yield f"         → {finding.fix}"
    for source in answer.watched:
        yield f'note     the settings watch this table already, as source "{source}"'
    if answer.proposals:
        yield ""
        yield "To paste into the settings:"
    for proposal in answer.proposals:
        yield ""
        yield from toml(proposal)


def toml(proposal: "Proposal") -> Iterator[str]:
    """Spell a source as a block of the settings file. One with an open question is refused until it is answered."""
    yield "[[source]]"
    yield f"id = {text(proposal.id)}"
    yield f"table = {text(proposal.table)}"
    if proposal.question is not None:
        yield f"# {proposal.question}."
        yield f"# Answer with one of: {', '.join(text(name) for name in _answers(proposal.candidates))}"
    elif proposal.candidates[0].confidence != "sure":
        doubt = proposal.candidates[0].confidence
        yield f"# {doubt}: look at `lockside layouts {proposal.layout}` before you rely on it"
    yield f"layout = {text(proposal.layout)}"
    if proposal.rows:
        yield f"rows = {_inline(proposal.rows)}"
    if proposal.attributes:
        yield f"attributes = {_inline(proposal.attributes)}"
    for ask in proposal.asks:
        yield f"# {ask}"


def text(value: str) -> str:
    """Spell a TOML string that cannot leave its quotes, its line or the terminal's control."""
    spelled = "".join(f"\\{char}" if char in {'"', "\\"} else char for char in value)
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in spelled) + '"'


def _inline(value: Any) -> str:
    match value:
        case Mapping():
            return "{ " + ", ".join(f"{_key(name)} = {_inline(one)}" for name, one in value.items()) + " }"
        case str():
            return text(value)
        case _:
            return f"[{', '.join(text(one) for one in value)}]"


def _key(name: str) -> str:
    return name if name and set(name) <= BARE else text(name)


def _proposal(proposal: "Proposal") -> dict[str, Any]:
    return {
        "id": proposal.id,
        "layout": proposal.layout or None,
        "layouts": [_candidate(one) for one in proposal.candidates],
        "confidence": proposal.candidates[0].confidence,
        "rows": dict(proposal.rows),
        "attributes": dict(proposal.attributes),
        "question": proposal.question,
        "answers": _answers(proposal.candidates) if proposal.question is not None else [],
        "asks": list(proposal.asks),
    }


def _answers(candidates: Sequence["Candidate"]) -> list[str]:
    return [spec.name for one in candidates for spec in (one.spec, *one.instead)]


def _candidate(one: "Candidate") -> dict[str, Any]:
    return {
        "layout": one.spec.name,
        "score": one.score,
        "rows": one.rows,
        "for": list(one.reasons_for),
        "against": list(one.reasons_against),
    }

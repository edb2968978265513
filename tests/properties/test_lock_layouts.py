"""Laws of every lock layout, over the rows of its cases with anything at all in the place of some attributes."""

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st

from lockside.core.attributes import Image
from lockside.core.event import Interpretation
from lockside.core.row import LockRow
from lockside.errors import WireFaultError
from lockside.layouts.lock import LockReader
from lockside.layouts.registry import builtin
from lockside.layouts.spec import Spec
from tests.fakes.cases import Case, CaseFile, all_cases
from tests.properties.test_layouts import anything


def layouts_of(file: CaseFile) -> list[Spec]:
    """Return the layouts of a case file's source."""
    names = [layout.name for layout in file.source.layouts]
    return [spec for spec in builtin() if spec.name in names]


def is_free(spec: Spec, image: Image) -> bool:
    """Whether a layout reads an image as a row that nobody holds."""
    row = spec.read(image)
    return isinstance(row, LockRow) and row.released


CASES: Final = [(file, case) for file, case in all_cases() if file.source.kind == "lock"]
FREE: Final = [
    (file, image)
    for file, case in CASES
    for image in (case.old, case.new)
    if image is not None and any(is_free(layout, image) for layout in layouts_of(file))
]


@st.composite
def changed(draw: st.DrawFn, image: Image | None, kept: frozenset[str]) -> Image | None:
    """Draw an image with some attributes replaced by anything, or taken away; those kept stay."""
    if image is None:
        return None
    row: dict[str, Any] = dict(image)
    names = sorted(row.keys() - kept)
    for name in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)) if names else []:
        row[name] = draw(anything)
    for name in draw(st.lists(st.sampled_from(names), max_size=1)) if names else []:
        del row[name]
    return row


@st.composite
def changes(draw: st.DrawFn) -> tuple[CaseFile, Case]:
    """Draw a case, of any operation of any client, whose rows were tampered with."""
    file, case = draw(st.sampled_from(CASES))
    keys = frozenset(file.source.key_schema.names)
    old, new = draw(changed(case.old, keys)), draw(changed(case.new, keys))
    members = {name: getattr(case, name) for name in ("layout", "operation", "cite", "event", "ttl")}
    return file, Case(**members, old=old, new=new, at=case.at + draw(st.integers(-100, 100)))


def told(file: CaseFile, case: Case) -> Interpretation | str:
    """Interpret a case; a wire fault is an answer too, as it becomes stream.undecodable."""
    try:
        return file.told(case)
    except WireFaultError as fault:
        return fault.code


@given(changes())
def test_a_change_is_always_told_and_always_alike(drawn: tuple[CaseFile, Case]) -> None:
    """No row stops the worker, and law 2: the same change means the same."""
    file, case = drawn
    first = told(file, case)
    assert first == told(file, case)
    if isinstance(first, Interpretation) and first.event is not None:
        assert first.event.recorded or first.event.type in {"lock.renewed", "lock.changed"}


@st.composite
def free_rows(draw: st.DrawFn) -> tuple[CaseFile, Image, Image | None]:
    """Draw a row that nobody holds, changed in all but what says so, and what stood there before."""
    file, image = draw(st.sampled_from(FREE))
    readers = [spec.reader for spec in layouts_of(file) if isinstance(spec.reader, LockReader)]
    leases = {reader.lease.field.attr for reader in readers if reader.lease}
    kept = frozenset({*file.source.key_schema.names, *leases, *(reader.release.attr for reader in readers)})
    before = draw(st.sampled_from([None, *(case.old for case in file.cases), *(case.new for case in file.cases)]))
    new = draw(changed(image, kept))
    assert new is not None
    return file, new, draw(changed(before, kept))


@given(free_rows())
def test_a_free_row_is_never_called_held(drawn: tuple[CaseFile, Image, Image | None]) -> None:
    """Whatever else stands in it, and whatever stood there before."""
    file, new, old = drawn
    key = file.source.key_schema.names
    if old is not None:
        old = {**old, **{name: new[name] for name in key}}
    case = Case(layout=file.layout, operation="", cite="", old=old, new=new, event=None)
    meaning = told(file, case)
    assert isinstance(meaning, Interpretation)
    assert meaning.after is None
    held = {"lock.acquired", "lock.taken_over", "lock.transferred"}
    if meaning.event is not None and "stale_marker" not in meaning.event.flags:
        assert meaning.event.type not in held

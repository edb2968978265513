"""Threads of one client queue for a lock: whoever stops waiting, for whatever reason, is out of the way."""

import math

import pytest

from lockside.stores.gate import Gate


def test_a_wait_that_is_broken_off_leaves_the_queue() -> None:
    """As by a signal; here by a wait that no lock of Python's can wait for, which raises within it."""
    gate = Gate()
    first = gate.enter("a", 0)
    assert first is not None
    with pytest.raises(OverflowError):
        gate.enter("a", math.inf)
    gate.leave("a", first)
    assert gate.enter("a", 0) is not None


def test_a_wait_whose_time_is_up_leaves_the_queue() -> None:
    """The next one comes first once the holder has left."""
    gate = Gate()
    first = gate.enter("a", 0)
    assert gate.enter("a", 0) is None
    assert first is not None
    gate.leave("a", first)
    assert gate.enter("a", 0) is not None

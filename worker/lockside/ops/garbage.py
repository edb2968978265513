"""The garbage collector, set for a process that reads pages of thousands of small maps and drops them whole."""

import gc
from typing import Final

YOUNG_MAX: Final = 50_000
"""Maps and lists made before the collector looks for cycles. A page of 1,000 records makes about 20,000, none of which
is in a cycle; with Python's 700 it is looked through thirty times, which doubles the cost of reading it."""


def calm() -> None:
    """Leave alone what was made until now, and look at what is new less often."""
    gc.collect()
    gc.freeze()
    _young, middle, old = gc.get_threshold()
    gc.set_threshold(YOUNG_MAX, middle, old)

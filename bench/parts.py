"""The parts of a run, each measured in a fresh process: no part's memory or garbage is another's."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import TYPE_CHECKING, Final

from bench.figures import Figure
from bench.sizes import Sizes
from bench.stage import point_away
from lockside.ops import logs

if TYPE_CHECKING:
    from collections.abc import Callable

PARTS: Final = ("flood", "writing", "units", "delays", "memory", "restarts", "stores")


def apart(part: str, sizes: Sizes) -> list[Figure]:
    """Measure one part in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, part, sizes).result()


def run(part: str, sizes: Sizes) -> list[Figure]:
    """Measure one part in this process."""
    point_away()
    logs.configure("error", "json")
    measure: Callable[[Sizes], list[Figure]] = import_module(f"bench.{part}").measure
    return measure(sizes)

"""One piece of work for each of many items, on all processors."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
FEW = 8
"""Up to so many items one process does as soon as several."""


def each(work: Callable[[Item], Outcome], items: Sequence[Item]) -> Iterator[Outcome]:
    """What `work` returns for each item, in their order, as it becomes known; what it raises ends the iteration.

    The processes are forks of this one. Where the iteration ends early, by Ctrl-C too, each of them gets
    KeyboardInterrupt in what it is at, cleans up, and has ended before the caller goes on.
    """
    count = min(os.cpu_count() or 1, len(items))
    if len(items) <= FEW or count == 1:
        yield from map(work, items)
        return
    import multiprocessing

    pool = multiprocessing.get_context("fork").Pool(count, _inherit, (work, items))
    try:
        yield from pool.imap(_work_on, range(len(items)), chunksize=4)
    finally:
        pool.terminate()
        pool.join()


_inherited: dict[str, Any] = {}
"""In a fork: the work and the items, which need not be such that they can be sent."""


def _inherit(work: Callable[[Item], Outcome], items: Sequence[Item]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and then asks the others to end
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _inherited.update(work=work, items=items)


def _work_on(number: int) -> Any:
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _inherited["work"](_inherited["items"][number])
    except KeyboardInterrupt:
        os._exit(130)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

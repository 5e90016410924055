"""One piece of work for each of many items, on all processors."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from patcher import progress
from patcher.errors import PatcherError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
FEW = 8
"""Up to so many items one process does as soon as several."""
_ENDING = (signal.SIGINT, signal.SIGTERM)


def each(work: Callable[[Item], Outcome], items: Sequence[Item]) -> Generator[Outcome, None, None]:
    """What `work` returns for each item, in their order, as it becomes known; what it raises ends the iteration.

    The processes are forks of this one, on which nothing is shown. Where the iteration is closed early, after Ctrl-C
    too, each of them gets KeyboardInterrupt in what it is at, cleans up, and has ended before the caller goes on.

    Raises PatcherError: `worker-ended` where the system ended one of them.
    """
    count = _count(len(items))
    if count == 1:
        yield from map(work, items)
        return
    progress.clear()  # a fork has one thread only, and would wait forever for what another one holds
    connections: list[Connection] = []
    processes: list[BaseProcess] = []
    try:
        with _signals_blocked():
            for _ in range(count):
                _start(connections, processes, work, items)
        yield from _collect(connections, len(items))
    finally:
        for process in processes:
            process.terminate()
        for connection in connections:
            connection.close()
        for process in processes:
            process.join()


def _start(
    connections: list[Connection],
    processes: list[BaseProcess],
    work: Callable[[Any], Any],
    items: Sequence[Any],
) -> None:
    import multiprocessing

    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    connections.append(ours)
    process = context.Process(target=_serve, args=(theirs, tuple(connections), work, items), daemon=True)
    process.start()
    processes.append(process)
    theirs.close()


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Within: Ctrl-C waits, for a process that has not begun to work could only end with a traceback."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _count(items: int) -> int:
    """How many processes to use. Accounts of users, which root asks for, cannot be asked in a fork on macOS."""
    is_unsafe = sys.platform == "darwin" and os.geteuid() == 0
    return 1 if items <= FEW or is_unsafe else min(os.cpu_count() or 1, items)


def _collect(connections: Sequence[Connection], count: int) -> Iterator[Any]:
    """Hands out the numbers of the items, and yields what comes back, in order."""
    from multiprocessing.connection import wait

    numbers, outcomes = iter(range(count)), {}
    for connection in connections:
        connection.send(next(numbers))
    for expected in range(count):
        while expected not in outcomes:
            for ready in wait(connections):
                number, outcomes[number] = _receive(ready)
                if (following := next(numbers, None)) is not None:
                    ready.send(following)  # type: ignore[arg-type, union-attr]  # it is a Connection
        yield outcomes.pop(expected)


def _receive(connection: Any) -> tuple[int, Any]:
    try:
        number, outcome = connection.recv()
    except (EOFError, ConnectionError) as error:
        message = "A worker process was killed, perhaps because memory ran out."
        raise PatcherError("worker-ended", message, "Run the same command again: to finish.") from error
    if isinstance(outcome, Exception):
        raise outcome
    return number, outcome


def _serve(
    connection: Connection, inherited: Sequence[Connection], work: Callable[[Any], Any], items: Sequence[Any]
) -> None:
    """Runs in a fork: works on the items whose numbers it receives, until it is ended, or the first process has."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and then ends the others
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    progress.hide()
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        for theirs in inherited:
            theirs.close()
        while True:
            number = connection.recv()
            try:
                outcome = work(items[number])
            except Exception as error:  # it is raised again in the first process
                outcome = error
            connection.send((number, outcome))
    except (EOFError, KeyboardInterrupt, ConnectionError):
        pass

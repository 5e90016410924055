"""Work on thousands of files by forks of this process, which start in a millisecond: multiprocessing takes twenty."""

from __future__ import annotations

import marshal
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, BinaryIO, NoReturn, TypeVar, cast

from patcher import progress

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")
MANY = 500
"""So many items are worth a fork."""
_MOST = 4
"""Processes, this one included: others may be at work on the machine too."""
_ENDING = (signal.SIGINT, signal.SIGTERM)


def in_parts(work: Callable[[Sequence[Item]], Outcome], items: Sequence[Item]) -> list[Outcome]:
    """What `work` makes of each part of the items: of one part here, of each other one in a fork.

    It reads alone, and returns plain values, which `marshal` takes. What a fork does not deliver, for whatever reason,
    is done here, and so are few items.
    """
    count = min(os.cpu_count() or 1, _MOST) if len(items) >= MANY else 1
    here, *others = (items[number::count] for number in range(count))
    with ExitStack() as forks:
        with progress.paused():  # a fork would not have its thread
            pipes = [forks.enter_context(_forked(work, part)) for part in others]
        return [work(here), *(_delivered(pipe, work, part) for pipe, part in zip(pipes, others, strict=True))]


@contextmanager
def _forked(work: Callable[[Sequence[Item]], Any], part: Sequence[Item]) -> Iterator[BinaryIO]:
    """Within: a fork is at work, and what it makes comes through this pipe: nothing where the system refuses a fork."""
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as pipe:
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)  # Ctrl-C must not unwind in a fork what is under way
        fork = _fork()
        try:
            if fork == 0:
                pipe.close()
                _deliver(work, part, theirs)
            os.close(theirs)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield pipe
        finally:
            if fork:
                with suppress(ProcessLookupError, ChildProcessError):  # none is to be waited for if SIGCHLD is ignored
                    os.kill(fork, signal.SIGKILL)
                    os.waitpid(fork, 0)


def _fork() -> int | None:
    try:
        return os.fork()
    except OSError:
        return None


def _deliver(work: Callable[[Sequence[Item]], Any], part: Sequence[Item], pipe: int) -> NoReturn:
    """Runs in the fork, and ends it whatever happens."""
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
        with os.fdopen(pipe, "wb") as file:
            marshal.dump(work(part), file)
    finally:
        os._exit(0)


def _delivered(pipe: BinaryIO, work: Callable[[Sequence[Item]], Outcome], part: Sequence[Item]) -> Outcome:
    try:
        return cast(Outcome, marshal.loads(pipe.read()))  # noqa: S302 - our own fork wrote it
    except (EOFError, ValueError, TypeError):  # it did not come to its end
        return work(part)

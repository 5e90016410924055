"""Records what a process asks of the emulated device, and adds it to a report when the process ends."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from functools import lru_cache
from multiprocessing import util
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import torch

from . import report
from .asked import Asked, name_of
from .kernels import Kernel, first_torch
from .limits import Limit
from .operators import State
from .releases import show

_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_SERVED = os.path.join(_OURS, "files", "")  # patched files of transformers, under their installed paths
_TORCH = os.path.dirname(os.path.abspath(torch.__file__))
_STANDARD_LIBRARY = os.path.dirname(os.path.abspath(os.__file__))
_PACKAGES = ("site-packages", "dist-packages")


class First(NamedTuple):
    """What is kept of an operator when it is asked for, or meets a limit, the first time."""

    kernel: Kernel
    line: str
    library: Optional[str]


class Recorder:
    """Counts operators by their dtypes."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.counts: Dict[Tuple[str, str, Tuple[torch.dtype, ...]], int] = {}
        self.first: Dict[Tuple[str, str], First] = {}
        self.limits: Dict[Tuple[str, str], Dict[Limit, None]] = {}

    def seen(self, one: Asked, operands: Sequence[torch.Tensor]) -> None:
        """Counts an operator. Called for each, so all but the first call does no more than that."""
        name, overload = one.name, one.overload
        key = name, overload, tuple([x.dtype for x in operands])
        is_new = (name, overload) not in self.first
        if one.limit:
            is_new = is_new or (name, overload) not in self.limits  # the line that met the limit is worth more
            self.limits.setdefault((name, overload), {})[one.limit] = None
        self.counts[key] = self.counts.get(key, 0) + 1
        if is_new:
            self.first[name, overload] = First(one.kernel, *find_lines(sys._getframe(1)))

    def asked(self) -> Iterator[report.Entry]:
        """All that was counted, by operator and dtypes; counting begins anew with this."""
        counts, self.counts = self.counts, {}
        for (name, overload, dtypes), count in [*counts.items()]:
            first, since = self.first[name, overload], first_torch(name, overload)
            yield report.Entry(
                operator="%s.%s" % (name, overload) if overload else name,
                **first.kernel._asdict(),
                first_torch=show(since) if since else None,
                calls=count,
                dtypes=[[*dict.fromkeys(map(name_of, dtypes))]],
                line=first.line,
                library=first.library,
                limits=[*map(_described, self.limits.get((name, overload), ()))],
            )

    def write(self) -> None:
        """Adds what was counted to the report. Where that cannot be written the user is told, and nothing else."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])  # half a report would be none
        try:
            asked = [*self.asked()]
            if asked:
                report.add(self.path, asked)
        except (OSError, ValueError) as error:
            sys.stderr.write("The report cannot be written: %s.\n" % error)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def forget(self) -> None:
        """What a process counted before it was forked is its parent's."""
        self.counts = {}

    def end(self, number: int, _frame: Any) -> None:
        """Writes, and ends the process as the signal does by itself."""
        self.write()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _described(limit: Limit) -> report.Limit:
    below = show(limit.below) if limit.below else None
    return {"effect": limit.effect, "dtypes": limit.dtypes, "below_macos": below, "message": limit.message.strip()}


def record(path: str) -> None:
    """From now on what this process and those that it forks ask for is added to that report when they end.

    That is at the end of the program, by exit code or exception, and at SIGTERM where the program does not handle that
    itself. Who ends by `os._exit`, or by another signal, adds nothing.
    """
    recorder = Recorder(path)
    State.seen = recorder.seen
    atexit.register(recorder.write)
    os.register_at_fork(after_in_child=recorder.forget)
    util.register_after_fork(recorder, _write_after_work)  # multiprocessing's children end without atexit
    _write_after_work(recorder)
    in_main_thread = threading.current_thread() is threading.main_thread()
    if in_main_thread and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, recorder.end)


def _write_after_work(recorder: Recorder) -> None:
    util.Finalize(None, recorder.write, exitpriority=-100)


def find_lines(frame: Any) -> Tuple[str, Optional[str]]:
    """The innermost line of the program's own files, and the innermost outside torch if that is another one.

    Each as `file:number`. Where no file is the program's own, the first is the innermost outside torch.
    """
    lines: List[Tuple[str, str]] = []
    while frame is not None:
        place = _place(frame.f_code.co_filename)
        if place:
            lines.append((place[0], "%s:%d" % (place[1], frame.f_lineno)))
        frame = frame.f_back
    innermost = lines[0][1] if lines else "-"
    own = next((line for kind, line in lines if kind == "own"), innermost)
    return own, innermost if innermost != own else None


@lru_cache(maxsize=None)
def _place(file: str) -> Optional[Tuple[str, str]]:
    """Whether a file is the program's `own` or a `library`'s, and how it is called; None for what is neither."""
    if file.startswith("<"):
        return ("own", file) if file in ("<string>", "<stdin>") else None
    path = os.path.abspath(file)
    if path.startswith(_SERVED):
        return "library", path[len(_SERVED) :]
    if path.startswith((_OURS + os.sep, _TORCH + os.sep)):
        return None
    for packages in _PACKAGES:
        _, found, inside = path.rpartition(os.sep + packages + os.sep)
        if found:
            return "library", inside
    if path.startswith(_STANDARD_LIBRARY + os.sep):
        return None
    here = os.path.join(os.getcwd(), "")
    return "own", path[len(here) :] if path.startswith(here) else path

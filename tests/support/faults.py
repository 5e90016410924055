"""Kills and failures at every system call with which `apply` and `revert` change anything, one run a call.

First the calls of a real process are recorded. Then, for each of them, a fresh process is killed in its place (and, in
the place of a write, when half of it is done); and forks of a process that has read the files before, which make the
very same calls, have it fail with each errno, once, or from there on for good, or are killed while they put everything
back. After each, every file of the target has to be whole, the state a true one, and the next `apply` or `revert` has
to leave nothing of it behind.
"""

from __future__ import annotations

import errno
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from documents import read_document
from fault_target import (
    FaultTarget,
    Lost,
    check_repaired,
    check_same,
    check_whole,
    record_calls,
    set_up,
    unpack_release,
)
from syscalls import Call, Decision, Ending, Half, Kill

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
LASTING = (errno.ENOSPC, errno.EROFS)
"""What does not go away by itself: the way back is barred too."""
CALLS_TO_PUT_BACK = 20
"""Of so many, more or less, each is the last of some process."""
TAKING_SPACE = ("openat", "write", "mkdir", "symlink")
"""What goes on failing on a full disk, where files can still be removed and renamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: what befalls which call."""

    number: int
    """Of the call, from 0."""
    call: Call
    decision: Decision
    lasting: bool = False
    """Whether all later calls fail too."""
    killed_after: int | None = None
    """How many calls later the process is killed, if it still runs then."""

    def __str__(self) -> str:
        what = errno.errorcode[self.decision] if isinstance(self.decision, int) else type(self.decision).__name__
        more = " for good" if self.lasting else f", Kill {self.killed_after} later" if self.killed_after else ""
        return f"{what}{more} at call {self.number}, {self.call.name} {self.call.path}"

    def judge(self, number: int, call: Call) -> Decision:
        """The decision about one call."""
        mine = (self.call.name, self.call.path, self.call.to)
        if number == self.number and (call.name, call.path, call.to) != mine:
            raise Lost(f"{self}: it was {call.name} {call.path} this time")
        if self.killed_after and number == self.number + self.killed_after:
            return Kill()
        lasts = self.lasting and number > self.number
        lasts = lasts and (self.decision != errno.ENOSPC or call.name in TAKING_SPACE)
        return self.decision if number == self.number or lasts else None


def points(calls: Sequence[Call]) -> Iterator[Point]:
    """Every run that there is to make."""
    for number, call in enumerate(calls):
        at = partial(Point, number=number, call=call)
        yield at(decision=Kill())
        if call.data:
            yield at(decision=Half())
        for one in ERRNOS:
            if (call.name, one) != ("setxattr", errno.EACCES):  # many an attribute is not for users to set: left out
                yield at(decision=one)
        for one in LASTING:
            yield at(decision=one, lasting=True)
        yield at(decision=errno.EIO, killed_after=1 + number * 7 % CALLS_TO_PUT_BACK)


def try_point(target: FaultTarget, verb: str, point: Point) -> str:
    """Makes one run and all that is to be seen after it; returns what befell it. Raises Lost."""
    set_up(target, verb)
    before = target.snapshot()
    at_once = isinstance(point.decision, Kill)
    ending = (target.cold if at_once else target.warm)(verb, point.judge)
    if len(ending.calls) <= point.number:
        raise Lost(f"{point}: it was not reached")
    cut = ending.status == -signal.SIGKILL and (at_once or point.killed_after)
    if cut and len(ending.calls) != point.number + (point.killed_after or 0) + 1:
        raise Lost(f"{point}: it was killed after {len(ending.calls)} calls")
    if not cut:
        check_refused(ending, point, verb)
    if not (cut or point.lasting):
        check_same(target.snapshot(), before, f"{verb}: {point}")
        target.clean = "apply" if verb == "revert" else "revert"
        return "failed once"
    if not cut and says_not_put_back(ending) == (target.snapshot() == before):
        raise Lost(f"{verb}: {point}: it says {ending.out}")
    check_whole(target, f"{verb}: {point}")
    check_repaired(target, f"{verb}: {point}", apply_first=verb == "apply" or point.number % 2 == 0)
    return "failed for good" if not cut else "killed" if at_once else "killed while putting back"


def check_refused(ending: Ending, point: Point, verb: str) -> None:
    """A failure is told in a line of cause and one of what to do, and by the exit code; and that nothing changed."""
    if ending.status != 1 or ending.err or not (failures := errors(ending)):
        raise Lost(f"{point}: it ended with {ending.status}: {ending.out}{ending.err}")
    for error in failures:
        if not all(error[part] and "\n" not in error[part] for part in ("code", "message", "hint")):
            raise Lost(f"{point}: {error}")
    told = {(result["changed"], result["state"]) for result in read_document(ending.out)["results"]}
    if not point.lasting and not told <= {(False, "unpatched" if verb == "apply" else "patched")}:
        raise Lost(f"{point}: it says {told}")


def says_not_put_back(ending: Ending) -> bool:
    """Whether the user is told that the target may not be as it was."""
    return any("Undoing the changes failed too" in error["message"] for error in errors(ending))


def errors(ending: Ending) -> list[dict[str, str]]:
    """The errors in a JSON document."""
    return [result["error"] for result in read_document(ending.out)["results"] if result["error"]]


def share(
    patch: str, verb: str, every: int, part: int = 0, parts: int = 1, *, whole: bool = True
) -> tuple[int, Counter[str]]:
    """One worker's share of the points: how many calls there are, and what befell how many."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mps-patcher-faults-") as folder:
        target = unpack_release(patch, Path(folder).resolve(), whole=whole, plain=False)
        target.prepare()
        calls = record_calls(target, verb)
        for point in list(points(calls))[part * every :: parts * every]:
            counts[try_point(target, verb, point)] += 1
    return len(calls), counts

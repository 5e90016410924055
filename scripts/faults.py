"""Kills and failures at every system call with which `apply` and `revert` change anything, one run a call.

    python scripts/faults.py                every call, on whole releases; writes docs/reliability.md
    python scripts/faults.py --every 7      only every seventh, and writes nothing

First the calls of a real process are recorded. Then, for each of them, a fresh process is killed in its place (and, in
the place of a write, when half of it is done); and forks of a process that has read the files before, which make the
very same calls, have it fail with each errno, once and from there on for good. After each, every file of the target has
to be whole, the state a true one, and the next `apply` or `revert` has to leave nothing of it behind.
"""

from __future__ import annotations

import argparse
import ast
import errno
import json
import os
import signal
import stat
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import reliability
from syscalls import AVAILABLE, Call, Decision, Ending, Half, Kill, held
from torch_env import wheel

from patcher import cli

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS)
RELEASES = {"isin_mps_friendly": "4.45.1", "direct_isin": "4.50.3"}
"""By patch, the release that it is tried on: direct_isin changes two files of 4.50.3, and brings the other along."""
VERBS = ("apply", "revert")
TRUE_STATES = {"unpatched", "patched", "interrupted"}

Facts = tuple[Any, ...]
Snapshot = dict[str, Facts]


class Lost(Exception):
    """Something was lost, left over or told wrongly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One run: what befalls which call."""

    number: int
    """Of the call, from 0."""
    call: Call
    decision: Decision
    lasting: bool = False
    """Whether all later calls fail too."""

    def __str__(self) -> str:
        what = errno.errorcode[self.decision] if isinstance(self.decision, int) else type(self.decision).__name__
        return f"{what}{' for good' if self.lasting else ''} at call {self.number}, {self.call.name} {self.call.path}"

    def judge(self, number: int, call: Call) -> Decision:
        """The decision about one call."""
        if number == self.number and (call.name, call.path, call.to) != (
            self.call.name,
            self.call.path,
            self.call.to,
        ):
            raise Lost(f"{self}: it was {call.name} {call.path} this time")
        return self.decision if number == self.number or (self.lasting and number > self.number) else None


@dataclass(slots=True)
class Ground:
    """An unpacked release, on which commands are run over and over."""

    site_packages: Path
    patch: str
    original: Snapshot = field(default_factory=dict)
    patched: Snapshot = field(default_factory=dict)
    meant: dict[str, set[str]] = field(default_factory=dict)
    """By path, the digests of all that an undisturbed run puts there, also in between."""
    clean: str | None = None
    """The verb whose work is known to be all that was done here; None where that is not known."""
    known: dict[tuple[int, ...], str] = field(default_factory=dict)
    """Digests by what the system says of a file: thousands of them stay the same."""

    def command(self, verb: str) -> list[str]:
        """The arguments of the tool."""
        return [verb, self.patch, "--site-packages", str(self.site_packages), "--json"]

    def cold(self, verb: str, judge: Callable[[int, Call], Decision]) -> Ending:
        """A real process, from the start of its interpreter."""
        return held([sys.executable, "-B", "-m", "patcher", *self.command(verb)], judge)

    def warm(self, verb: str, judge: Callable[[int, Call], Decision] = lambda *_: None) -> Ending:
        """A fork of this process, which has read the files before."""
        return held(partial(tool, self.command(verb)), judge)

    def results(self, verb: str, expected: int | None = 0) -> list[dict[str, Any]]:
        """What a command that nothing befalls says of each patch."""
        ending = self.warm(verb)
        if expected is not None and ending.status != expected:
            raise Lost(f"{verb} ended with {ending.status}: {ending.out}{ending.err}")
        document: list[dict[str, Any]] = json.loads(ending.out)["results"]
        return document

    def snapshot(self) -> Snapshot:
        """Everything below: mode, owner, time and content of files, text of links; folders without times."""
        found = (
            Path(folder, name) for folder, folders, files in os.walk(self.site_packages) for name in folders + files
        )
        return {str(path.relative_to(self.site_packages)): self._facts(path) for path in found}

    def _facts(self, path: Path) -> Facts:
        seen = path.lstat()
        if stat.S_ISLNK(seen.st_mode):
            return ("link", str(path.readlink()))
        facts = (stat.filemode(seen.st_mode), seen.st_uid, seen.st_gid, seen.st_nlink if not path.is_dir() else 0)
        if path.is_dir():
            return facts
        key = (seen.st_ino, seen.st_ctime_ns, seen.st_size)
        if key not in self.known:
            self.known[key] = sha256(path.read_bytes()).hexdigest()
        return (*facts, seen.st_mtime_ns, self.known[key])

    def prepare(self) -> None:
        """Learns what the release looks like before and after the patch, and lets this process read the files once."""
        self.original = self.snapshot()
        tool_here(self.command("apply"))
        self.patched = self.snapshot()
        tool_here(self.command("revert"))
        same(self.snapshot(), self.original, "revert")
        for snapshot in (self.original, self.patched):
            for path, facts in snapshot.items():
                self.meant.setdefault(path, set()).add(facts[-1])
        self.clean = "revert"

    def learn(self, calls: Sequence[Call]) -> None:
        """Adds what these calls put in the place of files."""
        written: dict[str, bytes] = {}
        names = {str(self.site_packages / path) for path in self.meant}
        for call in calls:
            if call.name == "openat":
                written[call.path] = b""
            elif call.data is not None:
                written[call.path] += call.data
            elif call.to in names and call.path in written:
                path = str(Path(str(call.to)).relative_to(self.site_packages))
                self.meant[path].add(sha256(written[call.path]).hexdigest())


def tool(arguments: Sequence[str]) -> int:
    """The tool's own entry, with its exit status."""
    try:
        cli.main(arguments)
    except SystemExit as ending:
        return int(ending.code or 0)


def tool_here(arguments: Sequence[str]) -> None:
    """The same without its output, in this process, which keeps what it has read."""
    with open(os.devnull, "w") as null:  # noqa: PTH123
        out, sys.stdout = sys.stdout, null
        try:
            code = tool(arguments)
        finally:
            sys.stdout = out
    if code:
        raise Lost(f"{' '.join(arguments)} ended with {code}")


def timeless(snapshot: Snapshot) -> Snapshot:
    """A snapshot without times: each apply has its own."""
    return {path: facts[:4] + facts[5:] for path, facts in snapshot.items()}


def same(now: Snapshot, wanted: Snapshot, what: str) -> None:
    """Raises Lost with the first difference."""
    for path in sorted(now.keys() | wanted.keys()):
        if now.get(path) != wanted.get(path):
            raise Lost(f"after {what}, {path} is {now.get(path)} and not {wanted.get(path)}")


def recorded(ground: Ground, verb: str) -> tuple[Call, ...]:
    """What a whole run calls: the same each time, be it a process of its own or a fork."""
    runs = []
    for run in (ground.cold, ground.cold, ground.warm):
        stand(ground, verb)
        ending = run(verb, lambda *_: None)
        if ending.status:
            raise Lost(f"{verb} ended with {ending.status}: {ending.out}{ending.err}")
        runs.append([(call.name, call.path, call.to) for call in ending.calls])
    if not runs[0] == runs[1] == runs[2] or not runs[0]:
        raise Lost(f"{verb} does not make the same calls each time")
    for call in ending.calls:
        if not call.path.startswith(f"{ground.site_packages}/"):
            raise Lost(f"{verb} changes {call.path}, which is no part of the target")
    ground.learn(ending.calls)
    return ending.calls


def stand(ground: Ground, verb: str) -> None:
    """The target as `verb` shall find it."""
    other = "apply" if verb == "revert" else "revert"
    if ground.clean != other:
        ground.results(other)
    ground.clean = None


def points(calls: Sequence[Call]) -> Iterator[Point]:
    """Every run that there is to make."""
    for number, call in enumerate(calls):
        at = partial(Point, number=number, call=call)
        yield at(decision=Kill())
        if call.data:
            yield at(decision=Half())
        for one in ERRNOS:
            yield at(decision=one)
            yield at(decision=one, lasting=True)


def tried(ground: Ground, verb: str, point: Point) -> str:
    """Makes one run and all that is to be seen after it; returns what befell it. Raises Lost."""
    stand(ground, verb)
    before = ground.snapshot()
    cut = isinstance(point.decision, Kill)
    ending = (ground.cold if cut else ground.warm)(verb, point.judge)
    if len(ending.calls) <= point.number:
        raise Lost(f"{point}: it was not reached")
    if cut:
        if ending.status != -signal.SIGKILL or len(ending.calls) != point.number + 1:
            raise Lost(f"{point}: it ended with {ending.status} after {len(ending.calls)} calls")
    else:
        refused(ending, point)
    if not cut and not point.lasting:
        same(ground.snapshot(), before, f"{verb}: {point}")
        ground.clean = "apply" if verb == "revert" else "revert"
        return "failed"
    repaired(ground, verb, point)
    return "killed" if cut else "failed for good"


def refused(ending: Ending, point: Point) -> None:
    """A failure is told in a line of cause and one of what to do, and by the exit code."""
    if ending.status != 1 or ending.err or not (failures := errors(ending)):
        raise Lost(f"{point}: it ended with {ending.status}: {ending.out}{ending.err}")
    for error in failures:
        if not all(error[part] and "\n" not in error[part] for part in ("code", "message", "hint")):
            raise Lost(f"{point}: {error}")


def errors(ending: Ending) -> list[dict[str, str]]:
    """The errors in a JSON document."""
    return [result["error"] for result in json.loads(ending.out)["results"] if result["error"]]


def repaired(ground: Ground, verb: str, point: Point) -> None:
    """Every file is whole, the state is true, and both ways lead on from here; they are taken in turns."""
    whole(ground, point)
    found = {result["patch"]: result["state"] for result in ground.results("status")}
    if not set(found.values()) <= TRUE_STATES:
        raise Lost(f"{point}: status says {found}")
    if point.number % 2 == 0 or verb == "apply":
        states = {result["state"] for result in ground.results("apply")}
        if states != {"patched"}:
            raise Lost(f"{point}: apply leaves {states}")
        same(timeless(ground.snapshot()), timeless(ground.patched), f"{verb} ({point}) and apply")
    ground.results("revert")
    same(ground.snapshot(), ground.original, f"{verb} ({point}) and revert")
    ground.clean = "revert"


def whole(ground: Ground, point: Point) -> None:
    """Each file that was there holds what was meant, and Python can read it; nothing but ours is new."""
    now = ground.snapshot()
    for path, facts in ground.original.items():
        if path not in now or now[path][:4] != facts[:4] or now[path][-1] not in ground.meant[path]:
            raise Lost(f"{point}: {path} is {now.get(path)}, which nobody meant")
        if path.endswith(".py") and now[path] != facts:
            ast.parse((ground.site_packages / path).read_bytes())
    for path in now.keys() - ground.original.keys():
        if not path.endswith(".mps-patcher") and "/mps-patcher" not in path:
            raise Lost(f"{point}: {path} is new")


def unpacked(patch: str, folder: Path) -> Ground:
    """The whole release, with RECORD as the wheel has it."""
    with ZipFile(wheel(RELEASES[patch])) as archive:
        archive.extractall(folder)
    return Ground(site_packages=folder, patch=patch)


def share(patch: str, verb: str, every: int, part: int, parts: int) -> tuple[int, Counter[str]]:
    """One worker's share of the points: how many calls there are, and what befell how many."""
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="mps-patcher-faults-") as folder:
        ground = unpacked(patch, Path(folder).resolve())
        ground.prepare()
        calls = recorded(ground, verb)
        for point in list(points(calls))[part * every :: parts * every]:
            counts[tried(ground, verb, point)] += 1
    return len(calls), counts


def lane(every: int) -> list[str]:
    """All commands, on all processors; returns the table."""
    workers = os.cpu_count() or 1
    rows = ["| command | calls | killed | failed once | failed for good |", "|---|---|---|---|---|"]
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        for patch in RELEASES:
            for verb in VERBS:
                start = time.monotonic()
                shares = [pool.submit(share, patch, verb, every, part, workers) for part in range(workers)]
                done = [one.result() for one in shares]
                counts = sum((counted for _, counted in done), Counter())
                befell = " | ".join(str(counts[what]) for what in ("killed", "failed", "failed for good"))
                rows.append(f"| `{verb} {patch}` on {RELEASES[patch]} | {done[0][0]} | {befell} |")
                print(f"{rows[-1]} {time.monotonic() - start:.0f} s", flush=True)
    return rows


def main() -> None:
    """Runs the lane."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth run; nothing is written down")
    every = parser.parse_args().every
    if not AVAILABLE:
        sys.exit("error: system calls can be held on Linux on x86-64 only")
    rows = lane(every)
    if every == 1:
        reliability.write("faults", rows)


if __name__ == "__main__":
    main()

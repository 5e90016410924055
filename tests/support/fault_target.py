"""An unpacked release on which real commands are run over and over, and what may never be seen of it."""

from __future__ import annotations

import ast
import json
import os
import stat
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from syscalls import Call, Decision, Ending, intercept
from torch_env import wheel

from patcher import cli

RELEASES = {"isin_mps_friendly": "4.45.1", "direct_isin": "4.50.3"}
"""By patch, the release that it is tried on: direct_isin changes two files of 4.50.3, and brings the other along."""
VERBS = ("apply", "revert")
TRUE_STATES = {"unpatched", "patched", "interrupted"}

Facts = tuple[Any, ...]
Snapshot = dict[str, Facts]


class Lost(Exception):
    """Something was lost, left over or told wrongly."""


@dataclass(slots=True)
class FaultTarget:
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

    @property
    def bytecode(self) -> Path:
        """Bytecode of the function's module as another interpreter may have left it."""
        return self.site_packages / "transformers" / "__pycache__" / "pytorch_utils.cpython-38.pyc"

    @property
    def source(self) -> bytes:
        """The function's module as it stands."""
        return (self.site_packages / "transformers" / "pytorch_utils.py").read_bytes()

    def plant(self) -> None:
        """Leaves bytecode of the function's module as it stands, which is run without a look at the source."""
        self.bytecode.parent.mkdir(exist_ok=True)
        self.bytecode.write_bytes(b"unchecked hash of " + self.source)

    def command(self, verb: str) -> list[str]:
        """The arguments of the tool."""
        return [verb, self.patch, "--site-packages", str(self.site_packages), "--json"]

    def cold(self, verb: str, judge: Callable[[int, Call], Decision]) -> Ending:
        """A real process, from the start of its interpreter."""
        return intercept([sys.executable, "-B", "-m", "patcher", *self.command(verb)], judge)

    def warm(self, verb: str, judge: Callable[[int, Call], Decision] = lambda *_: None) -> Ending:
        """A fork of this process, which has read the files before."""
        return intercept(partial(run_tool, self.command(verb)), judge)

    def results(self, verb: str) -> list[dict[str, Any]]:
        """What a command that nothing befalls says of each patch."""
        ending = self.warm(verb)
        if ending.status:
            raise Lost(f"{verb} ended with {ending.status}: {ending.out}{ending.err}")
        document: list[dict[str, Any]] = json.loads(ending.out)["results"]
        return document

    def snapshot(self) -> Snapshot:
        """Everything below but bytecode: mode, owner, time, content and names of files; folders without times."""
        walk = os.walk(self.site_packages)
        found = (Path(folder, name) for folder, folders, files in walk for name in (*folders, *files))
        kept = (path for path in found if path.name != "__pycache__" and path.suffix != ".pyc")
        return {str(path.relative_to(self.site_packages)): self._facts(path) for path in kept}

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
        run_tool_here(self.command("apply"))
        self.patched = self.snapshot()
        run_tool_here(self.command("revert"))
        check_same(self.snapshot(), self.original, "revert")
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


def run_tool(arguments: Sequence[str]) -> int:
    """The tool's own entry, with its exit status."""
    try:
        cli.main(arguments)
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def run_tool_here(arguments: Sequence[str]) -> None:
    """The same without its output, in this process, which keeps what it has read."""
    with open(os.devnull, "w") as null:  # noqa: PTH123
        out, sys.stdout = sys.stdout, null
        try:
            code = run_tool(arguments)
        finally:
            sys.stdout = out
    if code:
        raise Lost(f"{' '.join(arguments)} ended with {code}")


def timeless(snapshot: Snapshot) -> Snapshot:
    """A snapshot without times: each apply has its own."""
    return {path: facts[:4] + facts[5:] for path, facts in snapshot.items()}


def check_same(now: Snapshot, wanted: Snapshot, what: str) -> None:
    """Raises Lost with the first difference."""
    for path in sorted(now.keys() | wanted.keys()):
        if now.get(path) != wanted.get(path):
            raise Lost(f"after {what}, {path} is {now.get(path)} and not {wanted.get(path)}")


def record_calls(target: FaultTarget, verb: str) -> tuple[Call, ...]:
    """What a whole run calls: the same each time, be it a process of its own or a fork."""
    runs = []
    for run in (target.cold, target.cold, target.warm):
        set_up(target, verb)
        ending = run(verb, lambda *_: None)
        if ending.status:
            raise Lost(f"{verb} ended with {ending.status}: {ending.out}{ending.err}")
        runs.append([(call.name, call.path, call.to) for call in ending.calls])
    if not runs[0] == runs[1] == runs[2] or not runs[0]:
        raise Lost(f"{verb} does not make the same calls each time")
    for call in ending.calls:
        if not call.path.startswith(f"{target.site_packages}/"):
            raise Lost(f"{verb} changes {call.path}, which is no part of the target")
    target.learn(ending.calls)
    return ending.calls


def set_up(target: FaultTarget, verb: str) -> None:
    """The target as `verb` shall find it."""
    other = "apply" if verb == "revert" else "revert"
    if target.clean != other:
        target.results(other)
    target.clean = None
    target.plant()


def check_whole(target: FaultTarget, what: str) -> None:
    """Each file that was there holds what was meant, Python can read it, and no old bytecode would run in its place.

    Nothing but ours is new.
    """
    now = target.snapshot()
    for path, facts in target.original.items():
        if path not in now or now[path][:4] != facts[:4] or now[path][-1] not in target.meant[path]:
            raise Lost(f"{what}: {path} is {now.get(path)}, which nobody meant")
        if path.endswith(".py") and now[path] != facts:
            ast.parse((target.site_packages / path).read_bytes())
    for path in now.keys() - target.original.keys():
        if not path.endswith(".mps-patcher") and "/mps-patcher" not in path:
            raise Lost(f"{what}: {path} is new")
    if target.bytecode.exists() and target.bytecode.read_bytes() != b"unchecked hash of " + target.source:
        raise Lost(f"{what}: old bytecode would run")


def check_repaired(target: FaultTarget, what: str, *, apply_first: bool) -> None:
    """The state that is told is a true one, and `revert`, after `apply` or at once, leaves nothing behind."""
    found = {result["patch"]: result["state"] for result in target.results("status")}
    if not set(found.values()) <= TRUE_STATES:
        raise Lost(f"{what}: status says {found}")
    if apply_first:
        states = {result["state"] for result in target.results("apply")}
        if states != {"patched"}:
            raise Lost(f"{what}: apply leaves {states}")
        check_same(timeless(target.snapshot()), timeless(target.patched), f"{what} and apply")
    target.results("revert")
    check_same(target.snapshot(), target.original, f"{what} and revert")
    target.clean = "revert"


def unpack_release(patch: str, folder: Path) -> FaultTarget:
    """The whole release, with RECORD as the wheel has it."""
    with ZipFile(wheel(RELEASES[patch])) as archive:
        archive.extractall(folder)
    return FaultTarget(site_packages=folder, patch=patch)

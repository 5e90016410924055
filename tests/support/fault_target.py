"""An unpacked release on which real commands are run over and over, and what may never be seen of it."""

from __future__ import annotations

import ast
import os
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from documents import read_document
from syscalls import Call, Decision, Ending, intercept
from torch_env import wheel

from patcher.cli import program

RELEASES = {"isin_mps_friendly": "4.45.1", "direct_isin": "4.50.3"}
"""By patch, the release that it is tried on: direct_isin changes two files of 4.50.3, and brings the other along."""
FEW = (
    "transformers/__init__.py",
    "transformers/models/grounding_dino/modeling_grounding_dino.py",
    "transformers/models/moshi/modeling_moshi.py",
    "transformers/pytorch_utils.py",
)
"""All of 4.50.3 that a patch is about."""
VERBS = ("apply", "revert")
TRUE_STATES = {"unpatched", "patched", "interrupted"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is kept of a file or a folder."""

    link: str | None
    """The text of the symbolic link, where it is one; the rest is then that of the file it leads to."""
    mode: str
    uid: int
    gid: int
    links: int
    """The names that the file has; 0 for a folder, of which that says how many folders are in it."""
    attributes: tuple[tuple[str, bytes], ...]
    mtime_ns: int | None = None
    """None for a folder."""
    digest: str | None = None


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
    clean: str | None = None
    """The verb whose work is known to be all that was done here; None where that is not known."""
    known: dict[tuple[int, ...], Facts] = field(default_factory=dict)
    """By what the system says of a file: thousands of them stay the same."""

    @property
    def module(self) -> Path:
        """The function's module."""
        return self.site_packages / "transformers" / "pytorch_utils.py"

    @property
    def bytecode(self) -> Path:
        """Bytecode of the function's module as another interpreter may have left it."""
        return self.module.parent / "__pycache__" / "pytorch_utils.cpython-38.pyc"

    def plant(self) -> None:
        """Leaves bytecode of the function's module as it stands, which is run without a look at the source."""
        self.bytecode.parent.mkdir(exist_ok=True)
        self.bytecode.write_bytes(b"unchecked hash of " + self.module.read_bytes())

    def dress(self) -> None:
        """Makes files less plain, so that more calls are needed: attributes, another group, a link, an ACL handed down.

        What the file system or the user cannot do is left out.
        """
        with suppress(OSError):
            os.setxattr(self.module, "user.origin", b"wheel")
        with suppress(OSError):
            os.setxattr(self.module.parent, "system.posix_acl_default", READABLE_FOR_ANOTHER)
        with suppress(PermissionError):
            os.chown(self.module, -1, 1234)
        linked, cached = self.site_packages / FEW[2], self.site_packages.with_name("cache")
        if linked.exists():  # not in 4.45.1
            linked.rename(cached)
            linked.symlink_to(cached)

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
        document: list[dict[str, Any]] = read_document(ending.out)["results"]
        return document

    def snapshot(self) -> Snapshot:
        """Everything below but bytecode: mode, owner, attributes, time, content and names."""
        walk = os.walk(self.site_packages)
        found = (Path(folder, name) for folder, folders, files in walk for name in (*folders, *files))
        kept = (path for path in found if path.name != "__pycache__" and path.suffix != ".pyc")
        return {str(path.relative_to(self.site_packages)): self._facts(path) for path in kept}

    def _facts(self, path: Path) -> Facts:
        seen = path.lstat()
        key = (seen.st_dev, seen.st_ino, seen.st_ctime_ns, seen.st_mtime_ns, seen.st_size)
        if stat.S_ISREG(seen.st_mode):
            return self.known.get(key) or self.known.setdefault(key, read_facts(path))
        return read_facts(path)

    def prepare(self) -> None:
        """Learns what the release looks like before and after the patch, and lets this process read the files once."""
        self.original = self.snapshot()
        run_tool_here(self.command("apply"))
        self.patched = self.snapshot()
        run_tool_here(self.command("revert"))
        check_same(self.snapshot(), self.original, "revert")
        self.clean = "revert"


READABLE_FOR_ANOTHER = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in ((1, 7, 2**32 - 1), (2, 7, 1234), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1), (32, 5, 2**32 - 1))
)
"""A default ACL as the kernel keeps it: user 1234 may read and write what is made in the folder. See acl(5)."""


def read_facts(path: Path) -> Facts:
    """What is kept of a path now."""
    link = str(path.readlink()) if path.is_symlink() else None
    seen = path.stat()
    attributes = tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)))
    mode = stat.filemode(seen.st_mode)
    if path.is_dir():
        return Facts(link=link, mode=mode, uid=seen.st_uid, gid=seen.st_gid, links=0, attributes=attributes)
    return Facts(
        link=link,
        mode=mode,
        uid=seen.st_uid,
        gid=seen.st_gid,
        links=seen.st_nlink,
        attributes=attributes,
        mtime_ns=seen.st_mtime_ns,
        digest=sha256(path.read_bytes()).hexdigest(),
    )


def run_tool(arguments: Sequence[str]) -> int:
    """The tool's own entry, with its exit status."""
    try:
        program(arguments, prog_name="mps-patcher")
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
    return {path: replace(facts, mtime_ns=None) for path, facts in snapshot.items()}


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
    return ending.calls


def set_up(target: FaultTarget, verb: str) -> None:
    """The target as `verb` shall find it."""
    other = "apply" if verb == "revert" else "revert"
    if target.clean != other:
        target.results(other)
    target.clean = None
    target.plant()


def check_whole(target: FaultTarget, what: str) -> None:
    """Each file that was there is the original or patched, Python can read it, and no old bytecode would run instead.

    Nothing but ours is new.
    """
    now = timeless(target.snapshot())
    original, patched = timeless(target.original), timeless(target.patched)
    for path, facts in original.items():
        if now.get(path) not in (facts, patched[path]):
            raise Lost(f"{what}: {path} is {now.get(path)}, neither {facts} nor {patched[path]}")
        if path.endswith(".py") and now[path] != facts:
            ast.parse((target.site_packages / path).read_bytes())
    for path in now.keys() - original.keys():
        if not path.endswith(".mps-patcher") and "/mps-patcher" not in path:
            raise Lost(f"{what}: {path} is new")
    if target.bytecode.exists() and target.bytecode.read_bytes() != b"unchecked hash of " + target.module.read_bytes():
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


def unpack_release(patch: str, folder: Path, *, whole: bool = True, plain: bool = True) -> FaultTarget:
    """The whole release, or the few files that matter, with RECORD as the wheel has it; `plain` or dressed up."""
    site_packages = folder / "site-packages"
    with ZipFile(wheel(RELEASES[patch])) as archive:
        names = [name for name in archive.namelist() if whole or name in FEW or ".dist-info/" in name]
        archive.extractall(site_packages, names)
    target = FaultTarget(site_packages=site_packages, patch=patch)
    if not plain:
        target.dress()
    return target

"""status, apply and revert on a small target in which source, RECORD and state file are odd, damaged or hostile.

After each command every file outside the target's own is as it was, a refusal has changed nothing, and what was applied
and taken back is there again with every byte and mode.
"""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine import make_target
from properties import CALLER, DIRECT, INFO, ISIN, check_words, tried

from patcher import operations
from patcher.errors import PatcherError
from patcher.model import Result, Target
from patcher.plan import KEPT
from patcher.storage.journal import FOLDER, STATE
from patcher.storage.lock import LockTimeout

OWN = f"{INFO}/{FOLDER}"
PATCHES = (ISIN, DIRECT)
OTHER = "transformers/other.py"
"""A file of the package that is no patch's, unless a state file says that we changed it."""
OUTSIDE = {
    "outside.txt": b"not ours\n",
    "site-packages/numpy/__init__.py": b"x = 1\n",
    "site-packages/transformers/__init__.py": b"",
    f"site-packages/{OTHER}": b"# torch.isin\n",
    f"site-packages/{INFO}/METADATA": b"Metadata-Version: 2.1\nName: transformers\nVersion: 4.45.1\n",
    f"site-packages/{INFO}/INSTALLER": b"pip\n",
}
Snapshot = dict[str, tuple[str, bytes]]


@dataclass(frozen=True, slots=True)
class Given:
    """What the target holds."""

    source: bytes
    """pytorch_utils.py."""
    caller: bytes | None
    """A module that may call torch.isin."""
    record: bytes | None
    state: bytes | None = None
    """state.json."""
    backups: Mapping[str, bytes] = field(default_factory=dict)
    """By their names in our folder."""
    mode: int = 0o644
    force: bool = False


def laid(root: Path, given: Given) -> Target:
    """The target on disk, in a folder of its own with others beside it."""
    site = root / "site-packages"
    files = {**OUTSIDE, f"site-packages/{ISIN.file}": given.source}
    if given.caller is not None:
        files[f"site-packages/{CALLER}"] = given.caller
    if given.record is not None:
        files[f"site-packages/{INFO}/RECORD"] = given.record
    if given.state is not None:
        files[f"site-packages/{OWN}/{STATE}"] = given.state
    files |= {f"site-packages/{OWN}/{name}": data for name, data in given.backups.items()}
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    (site / ISIN.file).chmod(given.mode)
    return make_target(site)


def picture(root: Path) -> Snapshot:
    """Every file and folder below, with its type and mode, and its bytes."""
    found: Snapshot = {}
    for folder, folders, names in os.walk(root):
        for path in (Path(folder, name) for name in [*folders, *names]):
            mode = path.lstat().st_mode
            data = path.read_bytes() if stat.S_ISREG(mode) else b""
            found[str(path.relative_to(root))] = (stat.filemode(mode), data)
    return found


def round_trip(root: Path, given: Given) -> str:
    """status, apply, status, revert and again revert, each checked. Says how apply ended."""
    shutil.rmtree(root, ignore_errors=True)
    target = laid(root, given)
    original = picture(root)
    _run("status", target, root)
    assert picture(root) == original
    applied = _run("apply", target, root, named=True, force=given.force)
    if all(result.error for result in applied):
        kept = _but_books if given.state is not None else _but_bytecode
        assert kept(picture(root)) == kept(original), "refused, and yet changed"
    _run("status", target, root)
    reverted = _run("revert", target, root, force=given.force)
    _run("revert", target, root, force=given.force)
    clean = given.state is None and not given.backups and "mps-patcher" not in _text(given.record)
    if clean and not any(result.error for result in (*applied, *reverted)):
        assert picture(root) == original, "taken back, and yet not the same"
    if clean:
        assert not (target.dist_info / FOLDER).exists() or any(result.error for result in reverted)
    return _end(applied, reverted)


def _end(applied: tuple[Result, ...], reverted: tuple[Result, ...]) -> str:
    codes = [result.error.code for result in (*applied, *reverted) if result.error]
    if not codes:
        return "restored" if any(result.changed for result in applied) else "as it was"
    return codes[0]


def _run(command: str, target: Target, root: Path, **options: Any) -> tuple[Result, ...]:
    before = picture(root)
    results = tried(lambda: getattr(operations, command)((target,), PATCHES, lock=LockTimeout(), **options))
    assert not isinstance(results, PatcherError), "an error stops no other target: it is a result"
    for result in results:
        if result.error:
            check_words(result.error)
    check_inside(before, picture(root))
    found: tuple[Result, ...] = results
    return found


def check_inside(before: Snapshot, after: Snapshot) -> None:
    """Nothing changed but the files of the patches, RECORD, and what is ours."""
    state = before.get(f"site-packages/{OWN}/{STATE}", ("", b""))[1]
    may = {str(ISIN.file), str(CALLER), *([OTHER] if OTHER.encode() in state else [])}
    for name in before.keys() | after.keys():
        if before.get(name) != after.get(name):
            inside = name.removeprefix("site-packages/")
            ours = inside in (*may, f"{INFO}/RECORD", OWN) or inside.startswith(f"{OWN}/")
            assert name != inside, name
            assert ours or inside.partition(KEPT)[0] in may, name


def _but_bytecode(found: Snapshot) -> Snapshot:
    return {name: facts for name, facts in found.items() if "__pycache__" not in name}


def _but_books(found: Snapshot) -> Snapshot:
    """Without state.json, the backups and RECORD: what a run that was cut off left of them is put in order."""
    books = (f"site-packages/{INFO}/RECORD", f"site-packages/{OWN}")
    return {name: facts for name, facts in _but_bytecode(found).items() if not name.startswith(books)}


def _text(data: bytes | None) -> str:
    return (data or b"").decode("utf-8", "replace")


def told(root: Path, given: Given) -> str:
    """The same commands by the command line: no traceback, an exit code that is promised, nothing outside changed."""
    shutil.rmtree(root, ignore_errors=True)
    target = laid(root, given)
    ends = []
    for command in ("status", "apply", "revert"):
        before = picture(root)
        options = ["--site-packages", str(target.site_packages)]
        options += ["--force"] if given.force and command != "status" else []
        arguments = [sys.executable, "-m", "patcher", command, *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        done = subprocess.run(arguments, capture_output=True, env=environment, check=False, timeout=300)
        said = done.stdout + done.stderr
        assert done.returncode in (0, 1, 2, 3, 4), (done.returncode, said)
        assert b"Traceback" not in said, said
        assert b"defect of mps-patcher" not in said, said
        check_inside(before, picture(root))
        ends.append(done.returncode)
    return f"exit code {max(ends)}" if any(ends) else "restored"

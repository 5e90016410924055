"""A picture of a folder tree, to be compared with a later one."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any

Snapshot = dict[str, tuple[Any, ...]]


def snapshot(root: Path) -> Snapshot:
    """Path -> type, mode, owner, link text, time and digest of everything below; folders have no time here."""
    return {str(path.relative_to(root)): _facts(path) for path in [root, *sorted(root.rglob("*"))]}


def timeless(taken: Snapshot) -> Snapshot:
    """The same without times: each apply has its own."""
    return {path: facts[:3] + facts[4:] for path, facts in taken.items()}


def _facts(path: Path) -> tuple[Any, ...]:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return ("link", os.readlink(path))  # noqa: PTH115 - the text, not a path
    facts = (stat.filemode(found.st_mode), found.st_uid, found.st_gid)
    if stat.S_ISREG(found.st_mode):
        return (*facts, found.st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
    return facts

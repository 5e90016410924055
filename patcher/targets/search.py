"""Searching a folder for installs of transformers."""
# ruff: noqa: PTH114 - Path's own raises where a folder may not be entered

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from pathlib import Path

from patcher import progress
from patcher.targets.distribution import holds_install, names_in
from patcher.targets.owners import PACKAGE

PEX_STORE = "installed_wheels"
"""Where pex keeps the wheels that it has unpacked, below PEX_ROOT."""


_SKIPPED = frozenset(("__pycache__", ".git", "node_modules"))
"""Folders with thousands of others, and never an environment, in them."""


def folders_below(top: Path, unread: list[OSError]) -> Iterator[Path]:
    """The folders at or below `top` that hold an install of transformers, sound or not, in a fixed order.

    Links to folders are not followed, so that an install is found where it really is, and once; a site-packages folder
    that is a link out of `top` is named as such. The caches of uv and conda and the store of pex are skipped: other
    environments are made from them. The packages beside a transformers are not searched. What could not be read is
    added to `unread`.
    """
    waiting, count = [top], 0
    while waiting:
        folder = waiting.pop()
        count += 1
        progress.show(f"searching {top}", f"({count:,} folders)")
        try:
            subfolders, others = _entries_in(folder)
        except OSError as error:
            unread.append(error)
            continue
        if _is_cache(folder, subfolders, others):
            continue
        holds = holds_install(folder, [*subfolders, *others])
        if holds:
            yield folder
        yield from (link for entry in others if _leads_out(link := folder / entry, top))
        if holds and folder.name.endswith("-packages"):
            continue
        skipped = {PACKAGE, *_SKIPPED} if holds else _SKIPPED
        waiting += [folder / name for name in sorted(subfolders - skipped, reverse=True)]


def _entries_in(folder: Path) -> tuple[set[str], set[str]]:
    """The names of the folders in a folder, and of all else: links to folders are not followed."""
    subfolders: set[str] = set()
    others: set[str] = set()
    with os.scandir(folder) as entries:
        for entry in entries:
            (subfolders if entry.is_dir(follow_symlinks=False) else others).add(entry.name)
    return subfolders, others


def _is_cache(folder: Path, subfolders: Set[str], files: Set[str]) -> bool:
    """By the tag of the Cache Directory specification, which uv also puts on the environments it makes, by conda's
    description of an unpacked package, or by the name of pex's store, which has no tag."""
    tagged = "CACHEDIR.TAG" in files and "pyvenv.cfg" not in files
    is_conda = "info" in subfolders and os.path.lexists(folder / "info" / "index.json")
    return tagged or is_conda or folder.name == PEX_STORE


def _leads_out(link: Path, top: Path) -> bool:
    """Whether it is a linked site-packages with an install that the search does not meet where it really is."""
    linked = link.name.endswith("-packages") and os.path.islink(link)
    return linked and not is_within(link, top) and holds_install(link, names_in(link))


def is_within(path: Path, folder: Path) -> bool:
    """Whether what a path leads to is that folder or lies in it."""
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))

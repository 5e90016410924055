"""Which files of a package a patch may be about: by their bytes alone, so that thousands take a tenth of a second."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from patcher.change.files import explained, read
from patcher.edits import find
from patcher.errors import PatcherError
from patcher.model import Patch, State


def mentioning(site_packages: Path, package: str, pattern: re.Pattern[bytes]) -> tuple[PurePosixPath, ...]:
    """The Python files of `package` in which `pattern` occurs, relative to `site_packages`, sorted.

    Those behind a linked folder are among them, for Python imports them too; see `changeable`. A linked folder without
    Python files, such as one of data, is not looked into.
    """
    root = site_packages / package
    found = (path for path in (_sources(root) if root.is_dir() else ()) if pattern.search(read(path)))
    return tuple(sorted(PurePosixPath(path.relative_to(site_packages).as_posix()) for path in found))


def changeable(site_packages: Path, paths: Iterable[PurePosixPath], patch: Patch) -> Iterator[PurePosixPath]:
    """Those of `paths` that do not lie behind a linked folder, for what is there may be shared with others.

    Raises PatcherError: `linked-folder` where one that does is of the patch; what `find` raises.
    """
    for path in paths:
        link = next((up for up in reversed((site_packages / path).parents) if _is_link(up, site_packages)), None)
        if link is None:
            yield path
        elif find(read(site_packages / path), path, patch).state is not State.ABSENT:
            message = f"{link} is a link to {os.path.realpath(link)}, and {path} behind it is to be changed."
            hint = "Others may share it: put a copy of that folder in the place of the link, or reinstall transformers."
            raise PatcherError("linked-folder", message, hint)


def _is_link(path: Path, site_packages: Path) -> bool:
    return site_packages in path.parents and path.is_symlink()


def _sources(root: Path) -> Iterator[Path]:
    """The Python files of a folder tree, by the path that needs no link where there is one; each folder once."""
    seen: set[tuple[int, int]] = set()
    waiting, linked = deque((root,)), deque[Path]()
    while waiting or linked:
        folder = (waiting or linked).popleft()
        with explained(folder), os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
            here = os.stat(folder)  # noqa: PTH116 - beside its pair in Folder.identity
        if (here.st_dev, here.st_ino) in seen:
            continue
        seen.add((here.st_dev, here.st_ino))
        for entry in listed:
            if entry.name.endswith(".py") and entry.is_file():
                yield Path(entry.path)
            elif entry.name != "__pycache__" and entry.is_dir():
                if not entry.is_symlink():
                    waiting.append(Path(entry.path))
                elif _holds_python(entry.path):
                    linked.append(Path(entry.path))


def _holds_python(folder: str) -> bool:
    with explained(Path(folder)):
        return any(name.endswith(".py") for name in os.listdir(folder))  # noqa: PTH208 - names are all that is asked

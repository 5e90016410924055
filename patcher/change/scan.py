"""Which files of a package a patch may be about: by their bytes alone, so that thousands take a tenth of a second."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from patcher.change.files import explained, read
from patcher.errors import PatcherError


def mentioning(site_packages: Path, package: str, pattern: re.Pattern[bytes]) -> tuple[PurePosixPath, ...]:
    """The Python files of `package` in which `pattern` occurs, relative to `site_packages`, sorted.

    Raises PatcherError: `linked-folder` where a folder of the package is a link: what is behind it may be shared.
    """
    root = site_packages / package
    found = (path for path in (_sources(root) if root.is_dir() else ()) if pattern.search(read(path)))
    return tuple(sorted(PurePosixPath(path.relative_to(site_packages).as_posix()) for path in found))


def _sources(folder: Path) -> Iterator[Path]:
    with explained(folder), os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        if entry.name.endswith(".py") and entry.is_file():
            yield Path(entry.path)
        elif entry.name != "__pycache__" and entry.is_dir():
            if entry.is_symlink():
                hint = "Name the environment that it points into."
                raise PatcherError("linked-folder", f"{entry.path} is a link to somewhere else.", hint)
            yield from _sources(Path(entry.path))

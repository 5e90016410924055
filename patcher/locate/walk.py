"""Searching a folder tree for installs of transformers, and leaving package caches alone."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from patcher.locate import metadata


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """What a search found, and what it could not look into."""

    folders: tuple[Path, ...]
    unread: tuple[OSError, ...]


def below(top: Path) -> Walk:
    """The folders at or below `top` that hold an install of transformers, sound or not, in a fixed order.

    Links to folders are not followed, so that an install is found where it really is, and once; a site-packages folder
    that is a link out of `top` is named as such. A source tree is not an install. The caches of uv and conda are
    skipped: other environments are made from them.
    """
    folders: list[Path] = []
    unread: list[OSError] = []
    for name, subfolders, files in os.walk(top, onerror=unread.append):
        folder = Path(name)
        if _is_cache(folder, subfolders, files):
            subfolders.clear()
            continue
        subfolders.sort()
        if _holds_install(folder, [*subfolders, *files]):
            folders.append(folder)
        folders.extend(link for entry in subfolders if _leads_out(link := folder / entry, top))
    return Walk(folders=tuple(folders), unread=tuple(unread))


def _leads_out(link: Path, top: Path) -> bool:
    """Whether it is a linked site-packages with an install that the search does not meet where it really is."""
    if not (link.name.endswith("-packages") and link.is_symlink()):
        return False
    real = Path(os.path.realpath(link))
    inside = real.is_relative_to(os.path.realpath(top))
    return not inside and _holds_install(link, metadata.listing(link))


def _is_cache(folder: Path, subfolders: list[str], files: list[str]) -> bool:
    """By the tag of the Cache Directory specification, which uv also puts on the environments it makes, or by conda's
    description of an unpacked package."""
    tagged = "CACHEDIR.TAG" in files and "pyvenv.cfg" not in files
    return tagged or ("info" in subfolders and os.path.lexists(folder / "info" / "index.json"))


def _holds_install(folder: Path, names: list[str]) -> bool:
    found, site = metadata.marks(names), folder.name.endswith("-packages")
    # Elsewhere a folder of that name is some other package's part, and an egg-info that of a source tree
    within = site and (found.legacy or "__init__.py" in metadata.listing(folder / metadata.NAME))
    return bool(found.regular or found.editable or within)

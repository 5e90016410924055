"""What installers wrote in a folder about one project: the names they use, and the few fields that matter here.

The names follow the packaging specifications (recorded installs, direct URLs) and, for what predates those, setuptools.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

NAME = "transformers"
OURS = "mps-patcher"
"""The folder in a dist-info that holds the back-ups and what was meant."""
_LIMIT = 1 << 24
"""Bytes: no file of metadata is as large."""
_LINK = "__editable__."
_KINDS = ("dist-info", "egg-link", "pth", "egg-info", "egg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Marks:
    """The entries of a folder by which installers leave word of one project."""

    regular: tuple[str, ...]
    """`.dist-info` folders."""
    editable: tuple[str, ...]
    """`.egg-link` and `__editable__.*.pth` files, as setuptools writes them."""
    legacy: tuple[str, ...]
    """`.egg-info` and `.egg`, as old installers and source trees have them."""


def marks(names: Iterable[str], project: str = NAME) -> Marks:
    """Sort the names of a folder's entries by what they say of `project`, whatever its spelling."""
    found: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    for name in sorted(names):
        stem, _, kind = name.rpartition(".")
        if kind in found and _owner(stem, linked=kind == "pth") == project:
            found[kind].append(name)
    return Marks(
        regular=tuple(found["dist-info"]),
        editable=tuple(found["egg-link"] + found["pth"]),
        legacy=tuple(found["egg-info"] + found["egg"]),
    )


def _owner(stem: str, *, linked: bool) -> str | None:
    """The project that a mark belongs to. Of the `.pth` files only those of editable installs are marks."""
    if linked and not stem.startswith(_LINK):
        return None
    return canonicalize_name(stem[len(_LINK) if linked else 0 :].partition("-")[0])


def is_leftover(dist_info: Path) -> bool:
    """Whether nothing is in a dist-info, or only what we keep there: an installer removed the rest, so it is none."""
    try:
        return [entry.name for entry in dist_info.iterdir()] in ([], [OURS])
    except OSError:
        return False


def listing(folder: Path) -> list[str]:
    """The names in one folder of a search path; none where it is missing or not a folder, as Python has it."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def headers(*candidates: Path) -> dict[str, str]:
    """The headers of the first file that can be read, by lower-case name; none where none can."""
    for path in candidates:
        try:
            lines = _content(path).decode("utf-8", "replace").splitlines()
        except OSError:
            continue
        head = lines[: lines.index("")] if "" in lines else lines
        # An indented line goes on with a value; its spaces keep it from being taken for a header.
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head)}
    return {}


def version_of(project: str, path: Sequence[Path]) -> str | None:
    """The version of `project` that the first folder of `path` to hold it names in its metadata; else None."""
    for folder in path:
        found = marks(listing(folder), project)
        for mark in (folder / name for name in found.regular + found.legacy):
            version = headers(mark / "METADATA", mark / "PKG-INFO", mark / "EGG-INFO" / "PKG-INFO", mark).get("version")
            if version:
                return version
    return None


def editable(folder: Path) -> Path | None:
    """The file in `folder` that says the project is installed as a link to a source tree; else None."""
    found = marks(listing(folder))
    origins = (folder / name / "direct_url.json" for name in found.regular)
    links = (folder / name for name in found.editable)
    return next((path for path in (*filter(_says_editable, origins), *links)), None)


def _says_editable(origin: Path) -> bool:
    try:
        return json.loads(_content(origin))["dir_info"]["editable"] is True
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False  # not there, or of another kind: a package index, an archive, a VCS


def installer(dist_info: Path) -> str | None:
    """The content of INSTALLER, such as `pip`; None where there is none."""
    try:
        return _content(dist_info / "INSTALLER").decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def _content(path: Path) -> bytes:
    """The bytes of an ordinary file. A pipe or a device under its name, which might never end, is an OSError."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no ordinary file", str(path))
        data = file.read(_LIMIT + 1)
        if len(data) > _LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
        return data


def named_version(folder: Path) -> str | None:
    """The version that the name of the only `.dist-info` in `folder` gives; None without exactly one."""
    found = marks(listing(folder)).regular
    return found[0].partition("-")[2][: -len(".dist-info")] or None if len(found) == 1 else None

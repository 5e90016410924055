"""Whose the files of a package are: which release's, and which distribution's, by version and by RECORD's digests."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from patcher.storage.record import find_rows, is_recorded

PACKAGE = "transformers"
_INIT = f"{PACKAGE}/__init__.py"


def owner_among(folder: Path, infos: Sequence[Path]) -> Path | None:
    """The one of several `.dist-info` folders that the package's files are of; None where that cannot be told.

    RECORD's digest of `__init__.py` decides; where it does not, the version that `__init__.py` says.
    """
    stated = stated_version(folder)
    recorded = [info for info in infos if owns_files(info)]
    named = [info for info in infos if stated and same_version(stated, version_of(info))]
    return next((found[0] for found in (recorded, named) if len(found) == 1), None)


def owns_files(dist_info: Path) -> bool:
    """Whether RECORD lists the package's `__init__.py` as it is."""
    row = find_rows(_data_in(dist_info / "RECORD"), frozenset((_INIT,))).get(_INIT)
    return row is not None and is_recorded(row, _data_in(dist_info.parent / _INIT)) is True


def foreign_owner(folder: Path) -> Path | None:
    """The `.dist-info` of another project that installed the package's files, as adapter-transformers does."""
    own = re.compile(rf"{PACKAGE}-.*", re.IGNORECASE)
    infos = (info for info in sorted(folder.glob("*.dist-info")) if not own.fullmatch(info.name))
    return next((info for info in infos if owns_files(info)), None)


def project_of(dist_info: Path) -> str:
    """The name of the project, as its METADATA or else the folder says."""
    return _header(dist_info / "METADATA", "Name") or dist_info.name.partition("-")[0]


def version_of(dist_info: Path) -> str:
    """The version that METADATA says, else the one in the folder's name, which may be empty."""
    return metadata_version(dist_info / "METADATA") or version_of_name(dist_info.name)


def version_of_name(dist_info: str) -> str:
    """The version in the name of a `.dist-info` folder, which may be empty."""
    return dist_info.removesuffix(".dist-info").partition("-")[2]


def metadata_version(metadata: Path) -> str | None:
    """The Version header, if not empty."""
    return _header(metadata, "Version")


def stated_version(folder: Path) -> str | None:
    """The version that the package's own code says it is of."""
    found = re.search(r"""^__version__ = ["']([^"'\n]+)["']""", text_in(folder / _INIT), re.MULTILINE)
    return found[1] if found else None


def same_version(one: str, other: str) -> bool:
    """Whether two versions are one, however it is spelled; a local label says who built it, not of what."""
    if one == other:
        return True
    from packaging.version import InvalidVersion, Version  # seldom needed, and slow to import

    try:
        return Version(one.partition("+")[0]) == Version(other.partition("+")[0])
    except InvalidVersion:
        return False


def text_in(path: Path) -> str:
    """An ordinary file's text; empty where there is none."""
    return _data_in(path).decode("utf-8", "replace")


def _header(metadata: Path, name: str) -> str | None:
    """A header's first word, if not empty; what is indented goes on with the header before."""
    head = re.split(r"\r?\n\r?\n", text_in(metadata), maxsplit=1)[0]
    found = re.search(rf"^{name}:[ \t]*(\S+)", head, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else None


def _data_in(path: Path) -> bytes:
    """What never ends, such as a pipe, is not read."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""

"""Judging a folder from its files alone: does it hold a transformers that can be patched and restored?"""

from __future__ import annotations

import os
import shlex
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from patcher.errors import CannotTell, PatcherError
from patcher.locate import metadata
from patcher.locate.metadata import NAME, Marks


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """A regular install: the package and its one `.dist-info`, side by side in `site_packages`."""

    site_packages: Path
    dist_info: Path
    version: str
    installer: str | None
    identity: tuple[int, int]
    """Device and inode of `site_packages`."""


def read(folder: Path) -> Distribution:
    """The one regular install of transformers in `folder`.

    Raises:
        CannotTell: `no-transformers`: there is no trace of it.
        PatcherError: there is one, but not one whose files can be patched and restored; each kind has its own code.
    """
    try:
        seen = folder.stat()
        found = metadata.marks(entry.name for entry in folder.iterdir())
        sound = tuple(name for name in found.regular if not metadata.is_leftover(folder / name))
        return _judged(folder, replace(found, regular=sound), (seen.st_dev, seen.st_ino))
    except OSError as error:
        raise _unreadable(folder, error) from error


def _judged(folder: Path, found: Marks, identity: tuple[int, int]) -> Distribution:
    _refuse_editable(folder)
    _refuse_incomplete(folder, found)
    dist_info = folder / found.regular[0]
    _refuse_links(folder, folder / NAME, dist_info)
    return Distribution(
        site_packages=folder,
        dist_info=dist_info,
        version=_sound_version(dist_info),
        installer=metadata.installer(dist_info),
        identity=identity,
    )


def imported(folder: Path | None, path: Sequence[Path]) -> Distribution:
    """The install that an interpreter with the search path `path` imports from `folder` (None: it finds nothing).

    Raises:
        PatcherError: as `read`; or what it imports is a source tree that an editable install links to, or is a copy
            that hides the installed one.
    """
    if folder is None:
        _refuse_traces(path)
        raise absent("on the interpreter's search path")
    if not metadata.marks(metadata.listing(folder)).regular:
        _refuse_linked_tree(path)
        _refuse_shadow(folder, path)
    return read(folder)


def absent(where: str) -> CannotTell:
    """The answer where there is no trace of transformers; `where` completes `There is no transformers ...`."""
    hint = "Install transformers there, or say where it is with --python, --site-packages or --under."
    return CannotTell("no-transformers", f"There is no transformers {where}.", hint)


def _unreadable(folder: Path, error: OSError) -> PatcherError:
    above = (up for up in (folder, *folder.parents) if os.path.isfile(up))  # noqa: PTH113 - Path's may raise
    archive = next(filter(zipfile.is_zipfile, above), None)
    if archive is not None:
        message = f"{archive} is a zip file; what is inside one cannot be patched in place."
        return PatcherError("in-zip", message, "Install transformers unpacked, as pip and uv do.")
    message = f"{folder} cannot be read as a folder: {error.strerror}."
    return PatcherError("unreadable-folder", message, "Name a folder that exists and that you may read.")


def _refuse_editable(folder: Path) -> None:
    evidence = metadata.editable(folder)
    if evidence is not None:
        message = f"transformers is installed as editable, {evidence} says: its files are those of a source tree."
        raise PatcherError("editable-install", message, "Change that source tree itself, or install a release.")


def _refuse_linked_tree(path: Sequence[Path]) -> None:
    for entry in path:
        _refuse_editable(entry)


def _refuse_traces(path: Sequence[Path]) -> None:
    """Say what is wrong with an install that is on `path` but cannot be imported."""
    for entry in path:
        found = metadata.marks(metadata.listing(entry))
        if found.regular or found.editable:
            read(entry)


def _refuse_shadow(folder: Path, path: Sequence[Path]) -> None:
    """Refuse what is imported from `folder` if another folder of `path` holds an installed transformers."""
    for other in path:
        if metadata.marks(metadata.listing(other)).regular and NAME in metadata.listing(other):
            message = f"The copy of transformers in {folder}, not an installed one, hides the one installed in {other}."
            hint = f"Take {folder} off PYTHONPATH (or remove that copy), or name the other with --site-packages."
            raise PatcherError("shadowed", message, hint)


def _refuse_incomplete(folder: Path, found: Marks) -> None:
    """Refuse all but a package with exactly one `.dist-info` beside it."""
    package = folder / NAME
    if len(found.regular) > 1:
        message = f"{folder} holds several: {', '.join(found.regular)}; which of them owns the files is not known."
        raise PatcherError("several-distributions", message, _reinstall())
    if not found.regular:
        _refuse_bare(folder, found)
    if not package.is_dir():
        message = f"{folder / found.regular[0]} is there, but the package {package} is not."
        raise PatcherError("no-files", message, _reinstall())
    _refuse_namespace(package)


def _refuse_bare(folder: Path, found: Marks) -> None:
    """Say what a folder without a `.dist-info` of transformers is."""
    package, checkout = folder / NAME, _work_tree(folder)
    eggs = ("EGG-INFO",) if (folder / "EGG-INFO").exists() else found.legacy
    if not package.is_dir() and not eggs:
        raise absent(f"in {folder}")
    if checkout is not None:
        message = f"{package} belongs to the version-control checkout {checkout} and is not installed."
        raise PatcherError("vcs-checkout", message, "Change that checkout itself, or install a release.")
    if eggs:
        message = f"{folder} holds a transformers installed as an egg ({eggs[0]}), without a .dist-info."
        raise PatcherError("legacy-install", message, _reinstall())
    _refuse_namespace(package)
    message = f"{package} is there, but no {NAME}-*.dist-info is beside it."
    raise PatcherError("no-metadata", message, _reinstall())


def _refuse_namespace(package: Path) -> None:
    if not (package / "__init__.py").is_file():
        message = f"{package} has no __init__.py: to Python it is an empty namespace package."
        raise PatcherError("namespace-package", message, _reinstall())


def _refuse_links(folder: Path, *inside: Path) -> None:
    """Refuse a site-packages folder, or a package in it, that is itself a link. Links further up are as good as not."""
    for path in (folder, *inside):
        if path.is_symlink():
            real = Path(os.path.realpath(path))
            message = f"{path} is a link to {real}, which other environments may share."
            holder = shlex.quote(str(real if path == folder else real.parent))
            hint = f"To patch it for all of them, name the folder that really holds it: --site-packages {holder}."
            raise PatcherError("linked-folder" if path == folder else "linked-package", message, hint)


def _work_tree(folder: Path) -> Path | None:
    """The checkout that `folder` belongs to. A virtual environment inside a project is not part of the project."""
    if folder.name.endswith("-packages"):
        return None
    signs = (".git", ".hg", ".svn")
    return next((up for up in (folder, *folder.parents) if any(os.path.lexists(up / sign) for sign in signs)), None)


def _sound_version(dist_info: Path) -> str:
    """The version in METADATA, once it is known to be that of the folder's name."""
    headers, named = metadata.headers(dist_info / "METADATA"), dist_info.stem.partition("-")[2]
    version = headers.get("version")
    if not version or canonicalize_name(headers.get("name", "")) != NAME:
        message = f"{dist_info / 'METADATA'} cannot be read, or does not name {NAME} and its version."
        raise PatcherError("broken-metadata", message, _reinstall())
    if not _same(version, named):
        message = f"{dist_info / 'METADATA'} says version {version}, and the folder's own name {named}."
        raise PatcherError("version-mismatch", message, _reinstall())
    return version


def _same(one: str, other: str) -> bool:
    try:
        return Version(one) == Version(other)
    except InvalidVersion:
        return one == other


def _reinstall() -> str:
    return "Reinstall transformers there: pip install --force-reinstall --no-deps transformers==VERSION."

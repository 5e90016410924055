"""Judging a folder from its files alone: does it hold a transformers that can be patched and restored?

What installers write follows PEP 376, 427 and 610 and, for editable installs, setuptools. importlib.metadata would take
longer to import than all that is read here.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path

from patcher.errors import REINSTALL, CannotTell, PatcherError
from patcher.targets.owners import (
    PACKAGE,
    foreign_owner,
    metadata_version,
    owner_among,
    owns_files,
    project_of,
    same_version,
    stated_version,
    text_in,
    version_of,
    version_of_name,
)

FROZEN_LIBRARY = "base_library.zip"
"""What PyInstaller puts beside the packages of an application, whichever folder these are in."""


def read_distribution(folder: Path) -> tuple[Path, str]:
    """The `.dist-info` of the one regular install of transformers in `folder`, and its version.

    Raises:
        CannotTell: `no-transformers`: there is no trace of it.
        PatcherError: there is one, but not one whose files can be patched and restored; each kind has its own code.
    """
    try:
        return _judged(folder, [entry.name for entry in folder.iterdir()])
    except OSError as error:
        raise _unreadable(folder, error) from error


def imported_distribution(folder: Path | None, path: Sequence[Path]) -> tuple[Path, str]:
    """The same of what an interpreter with the search path `path` imports from `folder` (None: it finds nothing).

    Raises:
        PatcherError: as `read_distribution`; or what it imports is a source tree that an editable install links to, or
            a copy that hides the installed one; or what is installed cannot be imported.
    """
    if folder is None or not dist_infos(names_in(folder)):
        for entry in path:
            names = names_in(entry)
            _refuse_editable(entry, names)
            if folder is None and dist_infos(names):
                read_distribution(entry)  # says what is wrong with it
            elif folder is not None and dist_infos(names) and PACKAGE in names:
                raise _shadowed(folder, entry)
    if folder is None:
        raise absent("on the interpreter's search path")
    return read_distribution(folder)


def installed_version(project: str, path: Sequence[Path]) -> str | None:
    """The version of `project`, a normalized name, that the first folder of `path` to hold it names; else None."""
    for folder in path:
        names = names_in(folder)
        infos = [*dist_infos(names, project), *_named_for(project, "egg-info", names)]  # the latter as conda has them
        found = (metadata_version(folder / info / file) for info in infos for file in ("METADATA", "PKG-INFO"))
        if version := next(filter(None, found), None):
            return version
    return None


def installer_of(dist_info: Path) -> str | None:
    """The first word of INSTALLER, such as `pip`; no more, for as root it may be a link to what nobody should see."""
    found = re.match(r"\s*([\w.-]+)", text_in(dist_info / "INSTALLER"))
    return found[1] if found else None


def dist_infos(names: Iterable[str], project: str = PACKAGE) -> list[str]:
    """Those of the names in a folder that are `.dist-info` folders of `project`, whatever its spelling."""
    return _named_for(project, "dist-info", names)


def holds_install(folder: Path, names: Iterable[str]) -> bool:
    """Whether a folder with these entries holds an install of transformers, sound or not. A source tree does not."""
    names = [name for name in names if PACKAGE in name.lower() or name == FROZEN_LIBRARY]  # of thousands of folders
    if dist_infos(names) or _links(names):
        return True
    # Elsewhere a folder of that name is some other package's part
    site = folder.name.endswith("-packages") or FROZEN_LIBRARY in names
    return site and "__init__.py" in names_in(folder / PACKAGE)


def holds_metadata(folder: Path) -> bool:
    """Whether a folder holds a `.dist-info` of transformers."""
    return bool(dist_infos(names_in(folder)))


def named_version(folder: Path) -> str | None:
    """The version that the name of the only `.dist-info` in `folder` gives; None without exactly one."""
    found = dist_infos(names_in(folder))
    return version_of_name(found[0]) if len(found) == 1 else None


def names_in(folder: Path) -> list[str]:
    """The names in one folder of a search path; none where it is missing or not a folder, as Python has it."""
    try:
        return [entry.name for entry in folder.iterdir()]
    except OSError:
        return []


def absent(where: str) -> CannotTell:
    """The answer where there is no trace of transformers; `where` completes `There is no transformers ...`."""
    hint = "Install transformers there, or name another place with --python, --site-packages or --under."
    return CannotTell("no-transformers", f"There is no transformers {where}.", hint)


def _judged(folder: Path, names: list[str]) -> tuple[Path, str]:
    package = folder / PACKAGE
    # One without METADATA owns nothing: an installer left it behind, perhaps for our folder in it
    infos = [folder / name for name in dist_infos(names) if os.path.lexists(folder / name / "METADATA")]
    _refuse_editable(folder, names)
    if not infos and not package.is_dir():
        raise absent(f"in {folder}")
    if FROZEN_LIBRARY in names:
        message = f"{folder} is part of a PyInstaller application, which does not run these files."
        hint = "Patch the environment that it is built from, then build again."
        raise PatcherError("frozen-application", message, hint)
    if not infos:
        raise _without_metadata(folder, dist_infos(names))
    if len(infos) > 1:
        raise _several(folder, infos)
    _refuse_links(folder, package, infos[0])
    if not (package / "__init__.py").is_file():
        message = f"{infos[0]} exists, but {package / '__init__.py'} does not."
        raise PatcherError("no-files", message, REINSTALL)
    return infos[0], _sound_version(folder, infos[0] / "METADATA")


def _without_metadata(folder: Path, infos: list[str]) -> PatcherError:
    package = folder / PACKAGE
    if infos:
        message = f"{folder / infos[0]} has no METADATA, so the release of {package} is unknown."
        return PatcherError("no-metadata", message, REINSTALL)
    if owner := foreign_owner(folder):
        name, stated = project_of(owner), stated_version(folder)
        message = f"{package} belongs to {name} {version_of(owner)}, which carries its own copy, {stated or 'changed'}."
        return PatcherError("no-metadata", message, f"Only releases of transformers itself are patched, not {name}.")
    message = f"{package} exists, but there is no {PACKAGE}-*.dist-info beside it, so it was not installed."
    hint = "Install a release there with pip or uv; change a source tree or copy at its origin."
    return PatcherError("no-metadata", message, hint)


def _sound_version(folder: Path, metadata: Path) -> str:
    version, stated = metadata_version(metadata), stated_version(folder)
    if version is None:
        message = f"{metadata} cannot be read, or has no version."
        raise PatcherError("broken-metadata", message, REINSTALL)
    if stated and not same_version(version, stated) and not owns_files(metadata.parent):
        owner = foreign_owner(folder)
        cause = f", from {project_of(owner)} {version_of(owner)}" if owner else ""
        message = (
            f"{metadata.parent} is of {version}, but the files in {folder / PACKAGE} are those of {stated}{cause}."
        )
        raise PatcherError("version-mismatch", message, REINSTALL)
    return version


def _refuse_editable(folder: Path, names: list[str]) -> None:
    origins = (f"{name}/direct_url.json" for name in dist_infos(names))
    evidence = [*(name for name in origins if _says_editable(folder / name)), *_links(names)]
    if evidence:
        message = (
            f"transformers is an editable install, according to {folder / evidence[0]}: its files are in a source tree."
        )
        raise PatcherError("editable-install", message, "Change the source tree itself, or install a release.")


def _says_editable(origin: Path) -> bool:
    text = text_in(origin)
    if not text:
        return False
    import json

    try:
        return json.loads(text)["dir_info"]["editable"] is True
    except (ValueError, KeyError, TypeError, RecursionError):
        return False  # of another kind: a package index, an archive, a VCS


def _refuse_links(folder: Path, *inside: Path) -> None:
    """Refuse a site-packages folder, or a package in it, that is itself a link. Links further up are as good as not."""
    for path in (folder, *inside):
        if path.is_symlink():
            real = Path(os.path.realpath(path))
            message = f"{path} is a link to {real}, which other environments may share."
            holder = shlex.quote(str(real if path == folder else real.parent))
            hint = f"To patch it for all of them, name the real folder: --site-packages {holder}"
            raise PatcherError("linked-folder" if path == folder else "linked-package", message, hint)


def _several(folder: Path, infos: list[Path]) -> PatcherError:
    names, owner = ", ".join(info.name for info in infos), owner_among(folder, infos)
    if owner:
        told = f"the files are those of {version_of(owner)}"
        hint, gone = "Remove the other", [info for info in infos if info != owner]
    else:
        told = "it is unknown which one the files belong to"
        hint, gone = "Remove all of them, then install the release that you want", [folder / PACKAGE, *infos]
    message = f"{folder} contains the metadata of {len(infos)} installs, {names}; {told}."
    command = f"rm -r {shlex.join(map(str, gone))}"
    if not owner and "uv" in map(installer_of, infos):  # whose cache may hold the same files
        command += " && uv cache clean transformers"
    return PatcherError("several-distributions", message, f"{hint}: {command}")


def _shadowed(folder: Path, installed: Path) -> PatcherError:
    message = f"A copy of transformers in {folder}, which is not installed, hides the one installed in {installed}."
    other = f"--site-packages {shlex.quote(str(installed))}"
    hint = f"Take {folder} off PYTHONPATH, or remove that copy. To patch the installed one anyway: {other}"
    return PatcherError("shadowed", message, hint)


def _unreadable(folder: Path, error: OSError) -> PatcherError:
    import zipfile

    above = (up for up in (folder, *folder.parents) if os.path.isfile(up))  # noqa: PTH113 - Path's may raise
    archive = next(filter(zipfile.is_zipfile, above), None)
    if archive:
        message = f"{archive} is a zip file, whose contents cannot be patched."
        return PatcherError("in-zip", message, "Install transformers unpacked, as pip and uv do.")
    message = f"{folder} cannot be read as a folder: {error.strerror}."
    return PatcherError("unreadable-folder", message, "Name a folder that you can read.")


def _links(names: Iterable[str]) -> list[str]:
    """Those of the names in a folder by which setuptools links to a source tree."""
    return _named_for(PACKAGE, "egg-link", names) + _named_for(PACKAGE, "pth", names, prefix="__editable__.")


def _named_for(project: str, kind: str, names: Iterable[str], prefix: str = "") -> list[str]:
    pattern = rf"{re.escape(prefix)}{project.replace('-', '[-_.]+')}(-.*)?\.{kind}"
    return sorted(name for name in names if re.fullmatch(pattern, name, re.IGNORECASE))

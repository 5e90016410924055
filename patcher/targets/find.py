"""From the target options and the environment to the targets, without importing torch or transformers."""
# ruff: noqa: PTH112 - Path's own raises where a folder may not be entered, or a name is too long

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from patcher import progress
from patcher.errors import CannotTell, PatcherError
from patcher.model import NotFound, Target
from patcher.targets.distribution import (
    absent,
    holds_metadata,
    imported_distribution,
    installed_version,
    installer_of,
    named_version,
    names_in,
    read_distribution,
)
from patcher.targets.hints import environment_near, option_meant
from patcher.targets.interpreter import Answer, ask_python, python_in
from patcher.targets.layout import answer_by_layout, prefix_of
from patcher.targets.owners import PACKAGE
from patcher.targets.reinstall import reinstall_explained
from patcher.targets.search import folders_below, is_within
from patcher.workers import each


class TargetOptions(NamedTuple):
    """The target options of the command line; all empty means that the environment decides."""

    python: tuple[Path, ...] = ()
    site_packages: tuple[Path, ...] = ()
    under: tuple[Path, ...] = ()


def current_folder() -> Path:
    """The current folder.

    Raises PatcherError: `no-current-folder` where it is gone or cannot be told.
    """
    try:
        return Path.cwd()
    except OSError as error:
        message = f"The current folder cannot be found: {error.strerror}."
        hint = "Change to a folder that exists, then run the command again."
        raise PatcherError("no-current-folder", message, hint) from error


def find_targets(options: TargetOptions, environ: Mapping[str, str], cwd: Path) -> tuple[Target | NotFound, ...]:
    """Every target that the options name or, without any, the one that the environment means.

    The same install found twice is one target, in the first one's place; a finding with an interpreter wins.
    A place that holds none, or one that must be refused, is a `NotFound` with the error; nothing is raised for it.
    Never empty. Paths are absolute if `cwd` is, and as named: no link is resolved.
    """
    return _merged([*_named(options, environ, cwd)] or [_default(environ, cwd)])


def default_interpreter(environ: Mapping[str, str], cwd: Path) -> tuple[Path, str] | None:
    """The interpreter that the environment means, which need not exist, and the reason as a clause.

    The first of these that exists: MPS_PATCHER_PYTHON, the tool's own environment if it holds transformers,
    VIRTUAL_ENV, CONDA_PREFIX, the nearest .venv, python3 on PATH. It decides, whatever it holds: what the user has
    activated is never passed over for an environment that happens to have transformers. None only where there is no
    Python at all.
    """
    return next(_candidates(environ, cwd), None)


def _candidates(environ: Mapping[str, str], cwd: Path) -> Iterator[tuple[Path, str]]:
    if named := environ.get("MPS_PATCHER_PYTHON"):
        yield _interpreter(Path(named), environ, cwd), f"MPS_PATCHER_PYTHON is set to {named}"
    if _is_beside_tool(environ, cwd):
        yield Path(sys.executable), f"it is installed beside this tool, in {sys.prefix}"
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(variable)
        if prefix:
            yield python_in(cwd / prefix), f"{variable} is set to {prefix}"
    for found in (folder / ".venv" for folder in (cwd, *cwd.parents)):
        if os.path.isdir(found):
            yield python_in(found), f"{found} is the nearest .venv"
    python = _which("python3", environ, cwd)
    if python:
        yield python, f"{python} is the python3 on PATH"


def _is_beside_tool(environ: Mapping[str, str], cwd: Path) -> bool:
    """Whether the tool's own environment holds a transformers, sound or not.

    PYTHONPATH does not count: every interpreter sees what it shows, so it makes none of them the one meant. The
    interpreter is asked only where something of that name is in sight: to start it takes longer than all else here.
    """
    if not any(PACKAGE in name for entry in sys.path for name in names_in(Path(entry))):
        return False
    environ = {key: value for key, value in environ.items() if key != "PYTHONPATH"}
    found = _from_python(Path(sys.executable), "", environ, cwd)
    none = ("no-transformers", "python-not-found", "python-broken")
    return isinstance(found, Target) or found.error.code not in none


def _which(name: str, environ: Mapping[str, str], cwd: Path) -> Path | None:
    """The program that the user's shell would run as `name`, unresolved."""
    import shutil  # loads the libraries of archives, too

    found = shutil.which(name, path=environ.get("PATH", ""))
    return cwd / found if found else None


def _default(environ: Mapping[str, str], cwd: Path) -> Target | NotFound:
    meant = default_interpreter(environ, cwd)
    if meant is None:
        error = absent("because no Python environment is active or on PATH")
        return NotFound(python=None, site_packages=None, error=error)
    found = _from_python(*meant, environ, cwd)
    variable, is_set, _ = meant[1].partition(" is set to ")
    if is_set and isinstance(found, NotFound) and found.error.code == "python-not-found":
        hint = f"Name one with --python, or unset {variable}."
        return found._replace(error=PatcherError(found.error.code, found.error.message, hint))
    absent_there = isinstance(found, NotFound) and found.error.code == "no-transformers"
    return _suggesting(found, environment_near(cwd) if absent_there else None)


def _suggesting(found: Target | NotFound, option: str | None) -> Target | NotFound:
    """The finding; one of nothing with that option for a hint, if there is any."""
    if option is None or not isinstance(found, NotFound):
        return found
    error = found.error
    return found._replace(error=type(error)(error.code, error.message, f"Did you mean {option}?"))


def _named(options: TargetOptions, environ: Mapping[str, str], cwd: Path) -> Iterator[Target | NotFound]:
    for python in options.python:
        found = _from_python(_interpreter(python, environ, cwd), f"--python names {python}", environ, cwd)
        missing = isinstance(found, NotFound) and found.error.code == "python-not-found"
        yield _suggesting(found, option_meant(python, cwd) if missing else None)
    for folder in options.site_packages:
        found = _from_folder(cwd / folder, f"--site-packages names {folder}")
        missing = isinstance(found, NotFound) and found.error.code == "no-transformers"
        yield _suggesting(found, option_meant(folder, cwd) if missing else None)
    for top in options.under:
        yield from _from_tree(cwd / top, f"it lies below {top}", environ, cwd)


def _interpreter(named: Path, environ: Mapping[str, str], cwd: Path) -> Path:
    """The interpreter's path: an environment's own, or for a bare name or version that is nothing here that on PATH."""
    here = cwd / named
    if os.path.isdir(here):
        return python_in(here)
    bare = len(named.parts) == 1 and not os.path.lexists(here)
    name = f"python{named.name}" if named.name[:1].isdigit() else named.name
    return (_which(name, environ, cwd) if bare else None) or here


def _from_python(python: Path, reason: str, environ: Mapping[str, str], cwd: Path) -> Target | NotFound:
    answer = None
    progress.show("waiting for", str(python))
    try:
        answer = ask_python(python, PACKAGE, environ, cwd)
        return _target(imported_distribution(answer.folder, answer.path), reason, python, answer)
    except PatcherError as error:
        folder = answer and (answer.folder or next(filter(holds_metadata, answer.path), None))
        return _not_found(error, reason, folder, python, answer)


def _from_folder(
    folder: Path, reason: str, python: Path | None = None, answer: Answer | None = None
) -> Target | NotFound:
    try:
        return _target(read_distribution(folder), reason, python, answer)
    except PatcherError as error:
        return _not_found(error, reason, folder, python, answer)


def _from_tree(top: Path, reason: str, environ: Mapping[str, str], cwd: Path) -> Iterator[Target | NotFound]:
    """Every install below `top`, and a word on what could not be read of it."""
    unread: list[OSError] = []
    folders = tuple(folders_below(top, unread))
    with closing(each(lambda one: _from_site_packages(one, reason, environ, cwd), folders)) as findings:
        for done, found in enumerate(findings, 1):
            progress.show("found", f"{len(folders)} installs, {done} read")
            yield found
    if unread:
        yield _not_found(_unread(top, unread), "", top)
    elif not folders:
        yield _not_found(absent(f"installed below {top}"), "", top)


def _from_site_packages(folder: Path, reason: str, environ: Mapping[str, str], cwd: Path) -> Target | NotFound:
    """The install in `folder`, with the interpreter of its environment if that runs here and would import it.

    It is found by the layout that all environments use; a Python beside other folders need not import from there.
    """
    prefix = prefix_of(folder)
    if answer := answer_by_layout(folder, environ, cwd):
        return _from_folder(folder, reason, python_in(answer.prefix), answer)
    found = _from_python(python_in(prefix), reason, environ, cwd) if prefix else None
    same = isinstance(found, Target) and os.path.realpath(found.site_packages) == os.path.realpath(folder)
    return found if found and same else _from_folder(folder, reason)


def _unread(top: Path, errors: list[OSError]) -> PatcherError:
    first, count = errors[0], len(errors)
    if isinstance(first, FileNotFoundError) and first.filename == str(top):
        return PatcherError("unreadable-folder", f"{top} does not exist.", "Name a folder that exists.")
    message = f"{first.filename} cannot be read as a folder: {first.strerror}."
    if first.filename == str(top):
        return PatcherError("unreadable-folder", message, "Name a folder that you can read.")
    unread = "1 folder" if count == 1 else f"{count} folders"
    hint = f"{unread} below {top} could not be searched. Name folders that you can read."
    return CannotTell("unreadable-folder", message, hint)


def _target(
    installed: tuple[Path, str], reason: str, python: Path | None = None, answer: Answer | None = None
) -> Target:
    dist_info, version = installed
    path = answer.path if answer else (dist_info.parent,)
    return Target(
        site_packages=dist_info.parent,
        dist_info=dist_info,
        version=version,
        python=python,
        torch=installed_version("torch", path),
        installer=installer_of(dist_info),
        pycache_prefix=answer.pycache_prefix if answer else None,
        reason=reason,
        search_path=path,
        shared=_shared(dist_info, answer) if answer else None,
    )


def _shared(inside: Path, answer: Answer) -> str | None:
    """Why other environments may use what is there too; None for what lies in the interpreter's own."""
    return None if is_within(inside, answer.prefix) else f"it lies outside {answer.prefix}"


def _not_found(
    error: PatcherError, reason: str, folder: Path | None, python: Path | None = None, answer: Answer | None = None
) -> NotFound:
    because = f" ({reason})" if reason else ""
    reasoned = type(error)(error.code, f"{error.message.rstrip('.')}{because}.", error.hint)
    if folder is None:
        return NotFound(python=python, site_packages=None, error=reasoned)
    own = python if answer and not _shared(folder, answer) else None
    explained = reinstall_explained(reasoned, folder, own, answer.path if answer else ())
    return NotFound(python=python, site_packages=folder, error=explained, version=named_version(folder))


def _merged(found: list[Target | NotFound]) -> tuple[Target | NotFound, ...]:
    kept: dict[tuple[str, str], Target | NotFound] = {}
    for one in found:
        code = one.error.code if isinstance(one, NotFound) else ""
        # Never the real path of an interpreter: those of many environments are links to one
        key = (code, os.path.realpath(one.site_packages) if one.site_packages else str(one.python))
        if key not in kept or (kept[key].python is None and one.python is not None):
            kept[key] = one
    return tuple(kept.values())

"""From the target options and the environment to the targets, without importing torch or transformers."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from patcher.errors import CannotTell, PatcherError
from patcher.locate import choice, distribution, interpreter, metadata, trust, walk
from patcher.locate.distribution import Distribution
from patcher.locate.interpreter import Answer, User
from patcher.locate.metadata import NAME
from patcher.model import NotFound, Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The target options of the command line; all empty means that the environment decides."""

    python: tuple[Path, ...] = ()
    site_packages: tuple[Path, ...] = ()
    under: tuple[Path, ...] = ()


def here() -> Path:
    """The current folder.

    Raises PatcherError: `no-current-folder` where it is gone or cannot be told.
    """
    try:
        return Path.cwd()
    except OSError as error:
        message = f"The current folder is gone, or cannot be told: {error.strerror}."
        hint = "Change to a folder that is there, then run the command again."
        raise PatcherError("no-current-folder", message, hint) from error


def find(options: Options, environ: Mapping[str, str], cwd: Path) -> tuple[Target | NotFound, ...]:
    """Every target that the options name or, without any, the one that the environment means.

    The same install found twice is one target, in the first one's place; a finding with an interpreter wins.
    A place that holds none, or one that must be refused, is a `NotFound` with the error; nothing is raised for it.
    Never empty. Paths are absolute if `cwd` is, and as named: no link is resolved.
    """
    user = User(environ=environ, cwd=cwd)
    return _distinct([*_named(options, user)] or [_meant(user)])


def _named(options: Options, user: User) -> Iterator[Target | NotFound]:
    for python in options.python:
        yield _from_python(_command(python, user), user, f"--python names {python}")
    for folder in options.site_packages:
        yield _from_folder(user.cwd / folder, f"--site-packages names {folder}")
    for top in options.under:
        yield from _below(user.cwd / top, user, f"it lies below {top}")


def _command(python: Path, user: User) -> Path:
    """The interpreter's path; a bare name that is no file here is looked up on PATH, as a shell would."""
    here = user.cwd / python
    bare = len(python.parts) == 1 and not os.path.lexists(here)
    return (user.which(python.name) if bare else None) or here


def _from_python(python: Path, user: User, reason: str) -> Target | NotFound:
    folder = None
    try:
        answer = interpreter.ask(python, NAME, user)
        folder = answer.folder
        return _target(distribution.imported(folder, answer.path), reason, python, answer)
    except PatcherError as error:
        return _not_found(error, reason, folder, python)


def _from_folder(folder: Path, reason: str) -> Target | NotFound:
    try:
        return _target(distribution.read(folder), reason)
    except CannotTell as error:
        nested = next((path.parent for layout in _LAYOUTS for path in sorted(folder.glob(f"{layout}/{NAME}"))), None)
        hint = f"Did you mean --site-packages {shlex.quote(str(nested))}?" if nested else error.hint
        return _not_found(CannotTell(error.code, error.message, hint), reason, folder)
    except PatcherError as error:
        return _not_found(error, reason, folder)


_LAYOUTS = tuple(f"{depth}lib*/python*/*-packages" for depth in ("", "*/", "*/*/"))
"""Where site-packages lie below a prefix, or below the root of an unpacked image."""


def _below(top: Path, user: User, reason: str) -> Iterator[Target | NotFound]:
    """Every install below `top`, and a word on what could not be read of it."""
    found = walk.below(top)
    for folder in found.folders:
        yield _from_walk(folder, user, reason)
    if found.unread:
        yield _not_found(_unread(top, found.unread), reason, top)
    elif not found.folders:
        yield _not_found(distribution.absent(f"installed below {top}"), reason, top)


def _unread(top: Path, errors: tuple[OSError, ...]) -> PatcherError:
    first = errors[0]
    message = f"{first.filename} cannot be read as a folder: {first.strerror}."
    if first.filename == str(top):
        return PatcherError("unreadable-folder", message, "Name a folder that exists and that you may read.")
    hint = f"{len(errors)} of the folders below {top} could not be searched: name those that you may read."
    return CannotTell("unreadable-folder", message, hint)


def _from_walk(folder: Path, user: User, reason: str) -> Target | NotFound:
    try:
        installed = distribution.read(folder)
    except PatcherError as error:
        return _not_found(error, reason, folder)
    python = _python_of(folder)
    stranger = trust.stranger(python, folder) if python and os.geteuid() == 0 else None
    if stranger:
        python = None
        reason = f"{reason}; its interpreter was not started by root, because {stranger} is not root's alone"
    answer = _same_view(python, folder, user) if python else None
    return _target(installed, reason, python if answer else None, answer)


def _python_of(folder: Path) -> Path | None:
    """The interpreter of the environment that has `folder` as its site-packages, by the layout that all of them use."""
    version, library = folder.parent.name, folder.parent.parent
    if folder.name == "site-packages" and version.startswith("python") and library.name.startswith("lib"):
        return interpreter.within(library.parent)
    return None


def _same_view(python: Path, folder: Path, user: User) -> Answer | None:
    """The answer of `python`, if it runs here and would import the install in `folder`."""
    try:
        answer = interpreter.ask(python, NAME, user)
    except PatcherError:
        return None
    return answer if answer.folder and os.path.realpath(answer.folder) == os.path.realpath(folder) else None


def _meant(user: User) -> Target | NotFound:
    meant = choice.meant(user)
    if meant is None:
        error = distribution.absent("to look for: no Python environment is active or on PATH")
        return NotFound(python=None, site_packages=None, error=error)
    stranger = _stranger(meant.python) if meant.met and os.geteuid() == 0 else None
    if stranger:
        message = f"{meant.python} was not started by root, because {stranger} is not root's alone."
        hint = f"Run the command as its owner or, if you trust it, say --python {shlex.quote(str(meant.python))}."
        return _not_found(PatcherError("foreign-interpreter", message, hint), meant.reason, None, meant.python)
    return _from_python(meant.python, user, meant.reason)


def _stranger(python: Path) -> Path | None:
    """Who but root had a hand in an environment whose interpreter is there; nobody where it is not there at all."""
    folders = sorted(python.parent.parent.glob("lib*/python*/site-packages")) or [python.parent]
    found = (trust.stranger(python, folder) for folder in folders)
    return next(filter(None, found), None) if os.path.lexists(python) else None


def _target(installed: Distribution, reason: str, python: Path | None = None, answer: Answer | None = None) -> Target:
    return Target(
        site_packages=installed.site_packages,
        identity=installed.identity,
        dist_info=installed.dist_info,
        version=installed.version,
        python=python,
        torch=metadata.version_of("torch", answer.path if answer else (installed.site_packages,)),
        installer=installed.installer,
        pycache_prefix=answer.pycache_prefix if answer else None,
        reason=reason,
    )


def _not_found(error: PatcherError, reason: str, folder: Path | None, python: Path | None = None) -> NotFound:
    told = type(error)(error.code, f"{error.message.rstrip('.')} ({reason}).", error.hint)
    version = metadata.named_version(folder) if folder else None
    return NotFound(python=python, site_packages=folder, error=told, version=version)


def _distinct(found: list[Target | NotFound]) -> tuple[Target | NotFound, ...]:
    kept: dict[tuple[str, ...], Target | NotFound] = {}
    for one in found:
        key = _identity(one)
        if key not in kept or (kept[key].python is None and one.python is not None):
            kept[key] = one
    return tuple(kept.values())


def _identity(one: Target | NotFound) -> tuple[str, ...]:
    """What makes two findings the same: the folder they really are in and, for refusals, the cause."""
    code = one.error.code if isinstance(one, NotFound) else ""
    # Never an interpreter's real path: those of many environments are links to one.
    return (code, os.path.realpath(one.site_packages) if one.site_packages else str(one.python))

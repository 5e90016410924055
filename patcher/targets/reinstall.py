"""The command that brings the files of a release back, for one install: told where a hint says to reinstall.

`python -m pip` of another environment would change that one, a virtual environment need not have pip, what is installed
with `--target` has no interpreter of its own, and uv links a file that was edited from its cache again.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from patcher.errors import REINSTALL, PatcherError
from patcher.model import Target
from patcher.storage.journal import FOLDER
from patcher.targets.distribution import dist_infos, installer_of, names_in
from patcher.targets.owners import foreign_owner, project_of, version_of

_OTHER_TOOLS = ("conda", "debian", "rpm")
"""Installers whose packages pip and uv must not replace."""


def with_command(error: PatcherError, target: Target) -> PatcherError:
    """The error; where its hint says to reinstall, it says how."""
    python = None if target.shared else target.python
    return reinstall_explained(error, target.site_packages, python, target.search_path)


def reinstall_explained(
    error: PatcherError, folder: Path, python: Path | None, search_path: Sequence[Path]
) -> PatcherError:
    """The same for the install in `folder`, of which `python`, if there is one, is the environment's interpreter."""
    if not error.hint.endswith(REINSTALL):
        return error
    hint = error.hint.removesuffix(REINSTALL) + _instruction(folder, python, search_path)
    return type(error)(error.code, error.message, hint)


def _instruction(folder: Path, python: Path | None, search_path: Sequence[Path]) -> str:
    infos = [folder / name for name in dist_infos(names_in(folder))]
    sound = [info for info in infos if os.path.lexists(info / "METADATA")] or infos
    version = version_of(sound[0]) if len(sound) == 1 else ""
    if not version:
        return REINSTALL
    installer, other = installer_of(sound[0]), foreign_owner(folder)
    if installer in _OTHER_TOOLS:
        return f"Reinstall transformers {version} with {installer}."
    if "dev" in version or "+" in version:
        return f"Install transformers {version} again from its source."
    own, without = sound[0] / FOLDER, f" without {project_of(other)}" if other else ""
    steps = [f"rm -r {_quoted(own)}"] if os.path.lexists(own) else []  # what is there may be what is wrong
    if installer == "uv":
        steps += _uv(folder, python, version, other)
    elif python:
        steps += _pip(python, search_path, version, other)
    else:
        steps += _pip_target(folder, version, other)
    return f"Reinstall transformers {version}{without}: {' && '.join(steps)}"


def _uv(folder: Path, python: Path | None, version: str, other: Path | None) -> list[str]:
    """By uv, whose cache may hold the same files."""
    place = f"--python {_quoted(python)}" if python else f"--target {_quoted(folder)}"
    return [
        *([f"uv pip uninstall {place} {shlex.quote(project_of(other))}"] if other else []),
        "uv cache clean transformers",
        f"uv pip install {place} --reinstall --no-deps transformers=={version}",
    ]


def _pip(python: Path, search_path: Sequence[Path], version: str, other: Path | None) -> list[str]:
    """By the environment's own pip, or by another one that is told of the environment."""
    has_own = any(os.path.isfile(entry / "pip" / "__main__.py") for entry in search_path)  # noqa: PTH113 - may raise
    pip = f"{_quoted(python)} -m pip" if has_own else f"python3 -m pip --python {_quoted(python)}"
    return [
        *([f"{pip} uninstall -y {shlex.quote(project_of(other))}"] if other else []),
        f"{pip} install --force-reinstall --no-deps transformers=={version}",
    ]


def _pip_target(folder: Path, version: str, other: Path | None) -> list[str]:
    """By pip for a folder without an interpreter of its own, where it cannot uninstall."""
    return [
        *([f"rm -r {_quoted(other)}"] if other else []),
        f"python3 -m pip install --target {_quoted(folder)} --upgrade --no-deps transformers=={version}",
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))

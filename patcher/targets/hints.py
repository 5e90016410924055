"""What was probably meant by a place that holds no transformers, as an option to paste."""
# ruff: noqa: PTH110, PTH112 - Path's own raise where a folder may not be entered, or a name is too long

from __future__ import annotations

import os
import shlex
from pathlib import Path

from patcher.targets.interpreter import python_in
from patcher.targets.owners import PACKAGE

_USUAL = (".venv", "venv", "env")
_LAYOUTS = tuple(f"{depth}lib*/python*/*-packages" for depth in ("", "*/", "*/*/"))
"""Where site-packages lie below a prefix, or below the root of an unpacked image."""


def environment_near(cwd: Path) -> str | None:
    """The option for the nearest environment of a usual name, active or not, that holds a transformers."""
    folders = (folder / name for folder in (cwd, *cwd.parents) for name in _USUAL)
    near = next((folder for folder in folders if _is_environment(folder)), None)
    return _option("--python", near) if near else None


def option_meant(named: Path, cwd: Path) -> str | None:
    """The option for the transformers at or below a folder that was named as something that it is not."""
    place = cwd / named
    if not os.path.isdir(place):
        return None
    if os.path.exists(place / PACKAGE / "__init__.py"):
        return _option("--site-packages", named)
    if place.name == PACKAGE and os.path.exists(place / "__init__.py"):
        return _option("--site-packages", named.parent)
    folders = (named, *(named / name for name in _USUAL), named.parent)
    if environment := next((folder for folder in folders if _is_environment(cwd / folder)), None):
        return _option("--python", environment)
    below = next((path.parent for layout in _LAYOUTS for path in sorted(place.glob(f"{layout}/{PACKAGE}"))), None)
    return _option("--site-packages", below) if below else None


def _is_environment(folder: Path) -> bool:
    holds = os.path.isdir(folder) and any(folder.glob(f"{_LAYOUTS[0]}/{PACKAGE}"))
    return holds and os.path.exists(python_in(folder))


def _option(name: str, place: Path) -> str:
    return f"{name} {shlex.quote(str(place))}"

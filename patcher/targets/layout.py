"""What the interpreter of a virtual environment would answer, as its files tell: to start a thousand takes long."""

# ruff: noqa: PTH114, PTH119 - Path's own raise where a folder may not be entered, or a name is too long

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from patcher.targets.interpreter import Answer, python_in
from patcher.targets.owners import text_in

_FROM_ELSEWHERE = {"PYTHONPATH", "PYTHONHOME"}


def prefix_of(folder: Path) -> Path | None:
    """The environment of a `lib/pythonX.Y/site-packages` folder; None for a folder of another layout."""
    version, library = folder.parent.name, folder.parent.parent
    is_regular = folder.name == "site-packages" and version.startswith("python") and library.name.startswith("lib")
    return library.parent if is_regular else None


def answer_by_layout(folder: Path, environ: Mapping[str, str], cwd: Path) -> Answer | None:
    """The answer of the interpreter of a virtual environment whose own site-packages `folder` is.

    None where only the interpreter can tell: that of another kind of environment, one that is no link to the Python of
    that version, or one that also imports from elsewhere.
    """
    prefix = prefix_of(folder)
    if prefix is None or _FROM_ELSEWHERE & environ.keys():
        return None
    python, config = python_in(prefix), text_in(prefix / "pyvenv.cfg")
    is_apart = re.search(r"^include-system-site-packages\s*=\s*true\b", config, re.MULTILINE | re.IGNORECASE) is None
    if not (config and is_apart and os.path.islink(python) and os.access(python, os.X_OK)):
        return None
    if os.path.basename(os.path.realpath(python)) != folder.parent.name:
        return None
    cached = environ.get("PYTHONPYCACHEPREFIX")
    return Answer(path=(folder,), folder=folder, prefix=prefix, pycache_prefix=cwd / cached if cached else None)

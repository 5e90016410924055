"""Which interpreter the environment means when no target option names one."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from patcher.errors import PatcherError
from patcher.locate import distribution, interpreter
from patcher.locate.interpreter import User
from patcher.locate.metadata import NAME


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """An interpreter, which need not exist, and in a clause why it is the one meant."""

    python: Path
    reason: str
    met: bool = False
    """Whether it was met on the way up from the current folder, where anybody may have put it: nobody named it."""


def meant(user: User) -> Choice | None:
    """The first of these that exists: the tool's own environment if it holds transformers, VIRTUAL_ENV, CONDA_PREFIX,
    the nearest .venv, python3 on PATH.

    It decides, whatever it holds: what the user has activated is never passed over for an environment that happens
    to have transformers. None only where there is no Python at all.
    """
    return next(_choices(user), None)


def _choices(user: User) -> Iterator[Choice]:
    if _is_beside(user):
        yield Choice(python=Path(sys.executable), reason=f"it is installed beside this tool, in {sys.prefix}")
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = user.environ.get(variable)
        if prefix:
            yield Choice(python=_python_in(user.cwd / prefix), reason=f"{variable} is set to {prefix}")
    for folder in (user.cwd, *user.cwd.parents):
        if os.path.isdir(folder / ".venv"):  # noqa: PTH112 - Path's raises where the folder may not be entered
            reason = f"{folder / '.venv'} is the nearest .venv"
            yield Choice(python=_python_in(folder / ".venv"), reason=reason, met=True)
    python = user.which("python3")
    if python:
        yield Choice(python=python, reason=f"{python} is the python3 on PATH")


def _python_in(prefix: Path) -> Path:
    return interpreter.within(prefix) or prefix / "bin" / "python"


def _is_beside(user: User) -> bool:
    """Whether the tool's own environment holds a transformers, sound or not.

    PYTHONPATH does not count: every interpreter sees what it shows, so it makes none of them the one meant.
    """
    environ = {key: value for key, value in user.environ.items() if key != "PYTHONPATH"}
    try:
        answer = interpreter.ask(Path(sys.executable), NAME, replace(user, environ=environ))
        distribution.imported(answer.folder, answer.path)
    except PatcherError as error:
        return error.code not in ("no-transformers", "python-not-found", "python-broken")
    return True

"""Asking a Python interpreter, as a subprocess, what it would import."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from patcher.errors import PatcherError

PROBE = Path(__file__).with_name("probe.py")
LIMIT = 60.0
"""Seconds an interpreter may take to start and answer; generous, for a cold network file system."""


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who asks: interpreters answer for the user's own environment and folder, as the user's programs see them."""

    environ: Mapping[str, str]
    cwd: Path

    def which(self, name: str) -> Path | None:
        """The program that the user's shell would run as `name`, unresolved."""
        found = shutil.which(name, path=self.environ.get("PATH", ""))
        return self.cwd / found if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one interpreter said of one package."""

    path: tuple[Path, ...]
    """Its sys.path."""
    folder: Path | None
    """The folder on that path (or outside it, for an import hook) that holds what it would import."""
    pycache_prefix: Path | None


def within(prefix: Path) -> Path | None:
    """The interpreter of the environment at `prefix`, unresolved; None where there is none."""
    found = shutil.which("python", path=prefix / "bin") or shutil.which("python3", path=prefix / "bin")
    return Path(found) if found else None


def ask(python: Path, name: str, user: User) -> Answer:
    """Ask `python` where it would import `name` from.

    The interpreter runs with the user's environment and folder, because a relative PYTHONPATH and the user site are
    part of what the user's programs see. It writes no bytecode. Nothing of `name` is executed.

    Raises:
        PatcherError: there is no such file, it cannot be run, is too slow, or does not answer as a Python would;
            `no-temporary-folder`: there is nowhere to put its answer.
    """
    with _scratch() as scratch:
        answer, errors = Path(scratch, "answer.json"), Path(scratch, "errors")
        with errors.open("w+b") as stream:
            code = _run([python, "-B", PROBE, answer, name], _clean(user.environ), user.cwd, stream)
        try:
            return _read(answer.read_bytes(), user.cwd)
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise _no_answer(python, code, errors.read_bytes()) from None


def _scratch() -> tempfile.TemporaryDirectory[str]:
    try:
        return tempfile.TemporaryDirectory(prefix="mps-patcher-")
    except OSError as error:
        message = f"No temporary folder can be made: {error.strerror}."
        raise PatcherError("no-temporary-folder", message, "Set TMPDIR to a folder that you may write in.") from error


def _clean(environ: Mapping[str, str]) -> dict[str, str]:
    # macOS's launcher leaves this behind, and a framework build that finds it takes itself for another interpreter.
    return {key: value for key, value in environ.items() if key != "__PYVENV_LAUNCHER__"}


def _run(command: list[str | Path], environ: dict[str, str], cwd: Path, errors: IO[bytes]) -> int:
    """Run to the end and return the exit status; leave no process behind, whatever ends the wait."""
    null = subprocess.DEVNULL
    try:
        where = None if cwd == Path.cwd() else cwd  # one is in it, even if one could not enter it again
        process = subprocess.Popen(
            command, stdin=null, stdout=null, stderr=errors, env=environ, cwd=where, start_new_session=True
        )
    except OSError as error:
        raise _not_started(Path(command[0]), error) from error
    try:
        return process.wait(LIMIT)
    except BaseException as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if isinstance(error, subprocess.TimeoutExpired):
            raise _broken(command[0], f"did not answer within {LIMIT:g} seconds") from None
        raise


def _not_started(python: Path, error: OSError) -> PatcherError:
    inside = within(python)
    if inside:
        hint = f"Name the interpreter in it: --python {shlex.quote(str(inside))}."
        return PatcherError("python-not-found", f"{python} is a folder, not an interpreter.", hint)
    if error.errno != errno.ENOENT:
        return _broken(python, f"cannot be run: {error.strerror}")
    what = f"links to {os.path.realpath(python)}, which does not exist" if python.is_symlink() else "does not exist"
    return PatcherError("python-not-found", f"{python} {what}.", "Name an interpreter, such as .venv/bin/python.")


def _read(document: bytes, cwd: Path) -> Answer:
    answer = json.loads(document)
    found, prefix = answer["found"], answer["pycache_prefix"]
    return Answer(
        path=tuple(Path(entry) for entry in answer["path"]),
        folder=None if found is None else Path(found).parent,
        pycache_prefix=None if prefix is None else cwd / prefix,
    )


def _no_answer(python: Path, code: int, errors: bytes) -> PatcherError:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    return _broken(python, f"does not answer as a Python would: {lines[-1] if lines else f'it exited with {code}'}")


def _broken(python: str | Path, what: str) -> PatcherError:
    return PatcherError("python-broken", f"{python} {what}.", "Name a working Python, 3.8 or later, with --python.")

"""Starting Python interpreters: what one would import, and how one is run so that nothing of it stays behind.

There is no shell anywhere: a command is a list of words. What only starting a process needs is imported where one is
started, for `status --site-packages` starts none.
"""
# ruff: noqa: PTH110, PTH114, PTH119, PTH207 - Path's own raise where a folder may not be entered, or a name is too long

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from patcher.errors import PatcherError
from patcher.owner import as_user_of

if TYPE_CHECKING:
    from subprocess import Popen

PROBE = Path(__file__).with_name("probe.py")
TORCH_PROBE = Path(__file__).with_name("torch_probe.py")
TORCH_TIMEOUT = 120.0
"""Seconds that an interpreter may take to import torch and answer."""
PROBE_TIMEOUT = 60.0
"""Seconds an interpreter may take to start and answer; generous, for a cold network file system."""
MEANWHILE = 0.2
"""Seconds between two looks at what an interpreter that is waited for has done."""
NEEDED = frozenset((
    # The system: what is found where, whose it is, and in which words it answers
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE", "LOCPATH", "LOCALE_ARCHIVE",
    # The loader, on Linux and on Nix; those of macOS are a kind
    "LD_LIBRARY_PATH", "LD_PRELOAD", "NIX_LD", "NIX_LD_LIBRARY_PATH",
    # Python: which one, which modules, which bytecode; not what only serves a developer
    "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE",
    "PYTHONSAFEPATH", "PYTHONCASEOK", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE", "PYTHONOPTIMIZE", "PYTHONUTF8",
    # torch, and what it computes with
    "TORCH_DEVICE_BACKEND_AUTOLOAD", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES", "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
))  # fmt: skip
"""The variables that decide which code runs, and how. To code of many people, tokens and keys are nothing."""
_INTERPRETER = r"(?i)(python|pypy|graalpy)w?\d*(\.\d+)*[dmtu]*(-(dbg|intel64|arm64|c))?"
"""What interpreters are called: python3.13t, Python (in a framework of macOS), pypy3, python3.11-dbg."""
_NAME_ONE = "Name an interpreter, such as .venv/bin/python, or the folder of an environment."
NEEDED_KINDS = ("LC_", "DYLD_", "PYTORCH_", "OMP_", "MKL_", "KMP_")
"""How the names of others that decide it begin."""


class Answer(NamedTuple):
    """What one interpreter said of one package."""

    path: tuple[Path, ...]
    """Its sys.path."""
    folder: Path | None
    """The folder on that path (or outside it, for an import hook) that holds what it would import."""
    prefix: Path
    """Its sys.prefix: the folder of its environment."""
    pycache_prefix: Path | None


class TorchAnswer(NamedTuple):
    """What one interpreter, and its torch, said of themselves."""

    python: str
    """Its version."""
    machine: str
    """What it was built for: arm64, x86_64."""
    torch: str | None
    built: bool | None
    """Whether that torch has MPS; None where it was not asked."""
    available: bool | None
    error: str | None
    """Why torch cannot be imported or asked."""


Reply = TypeVar("Reply", Answer, TorchAnswer)


def python_in(prefix: Path) -> Path:
    """The interpreter of the environment at `prefix`, unresolved; where there is none, its usual path."""
    usual, other = prefix / "bin" / "python", prefix / "bin" / "python3"
    return other if os.path.exists(other) and not os.path.exists(usual) else usual


def ask_python(python: Path, name: str, environ: Mapping[str, str], cwd: Path) -> Answer:
    """Ask `python` where it would import `name` from.

    The interpreter runs with the user's environment and folder, because a relative PYTHONPATH and the user site are
    part of what the user's programs see. It writes no bytecode. Nothing of `name` is executed.

    Raises:
        PatcherError: there is no such file, it cannot be run, is too slow, or does not answer as a Python would;
            no program is started whose name, or that of what it links to, is not a Python's;
            `no-temporary-folder`: there is nowhere to put its answer.
    """
    return _ask(python, PROBE, name, environ, cwd, PROBE_TIMEOUT, _read_answer)


def ask_torch(python: Path, environ: Mapping[str, str], cwd: Path, *, installed: bool) -> TorchAnswer:
    """Ask `python` what it is and, where torch is `installed`, what that says of MPS: it is imported there.

    Raises PatcherError as `ask_python` does.
    """
    name = "torch" if installed else ""
    return _ask(python, TORCH_PROBE, name, environ, cwd, TORCH_TIMEOUT, lambda found, _: TorchAnswer(**found))


def _ask(
    python: Path,
    probe: Path,
    name: str,
    environ: Mapping[str, str],
    cwd: Path,
    timeout: float,
    read: Callable[[dict[str, Any], Path], Reply],
) -> Reply:
    import json

    if os.path.exists(python) and not _is_named_python(python):
        message = f"{python} is not named like a Python interpreter, so it was not started."
        raise PatcherError("python-broken", message, _NAME_ONE)
    owner = as_user_of(*python_parts(python))
    environ = _needed(environ) if owner else dict(environ)
    # macOS's launcher leaves this behind, and a framework build that finds it takes itself for another interpreter
    environ.pop("__PYVENV_LAUNCHER__", None)
    environ["MPS_PATCHER_HOOK"] = "off"  # what is asked about must not change meanwhile
    with _temporary_file() as answer, _temporary_file() as errors:
        command = [str(python), "-B", "-c", probe.read_text("utf-8"), str(answer.fileno()), name]
        ending = run_python(
            command, environ=environ, cwd=cwd, timeout=timeout, errors=errors, pass_fds=(answer.fileno(),)
        )
        answer.seek(0)
        errors.seek(0)
        try:
            return read(json.loads(answer.read()), cwd)
        except (ValueError, KeyError, TypeError, RecursionError):
            why = _cause(errors.read().decode("utf-8", "replace")) or ending or "no answer"
            why += f" (run as its owner, user {owner['user']}, not as root)" if owner else ""
            raise _no_answer(python, why) from None


def run_python(
    command: Sequence[str],
    *,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    timeout: float,
    errors: IO[bytes] | int,
    owner: Path | None = None,
    pass_fds: Sequence[int] = (),
    meanwhile: Callable[[], None] | None = None,
) -> str | None:
    """Run to the end or for `timeout` seconds; of its process group nothing is left then, whatever ended the wait.

    It reads nothing, what it prints is dropped, its standard error goes to `errors`. As root, it runs as the first
    user other than root who owns `owner` (the site-packages that it imports from) or a part of its environment.
    While it runs, `meanwhile` is called every MEANWHILE seconds.

    Returns how it ended, as a clause; None if well.
    """
    import subprocess

    null, parts = subprocess.DEVNULL, [*([owner] if owner else []), *python_parts(Path(command[0]))]
    where = None if cwd is None or cwd == Path.cwd() else cwd  # one is in it, even if one could not enter it again
    process = None
    with _pipe() as (ended, running):
        try:
            with _signals_held():
                process = subprocess.Popen(
                    command, stdin=null, stdout=null, stderr=errors, env=environ, cwd=where, start_new_session=True,
                    pass_fds=(*pass_fds, running.fileno()), **as_user_of(*parts),
                )  # fmt: skip
            running.close()
            status = _wait(process, ended, timeout, meanwhile)
        except OSError as error:
            return f"the interpreter cannot be started: {error.strerror}"
        except subprocess.TimeoutExpired:
            return f"not finished after {timeout:g} s"
        finally:
            if process:
                with suppress(ProcessLookupError, PermissionError):  # all are gone; macOS says the latter of the dead
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status < 0:
        return f"the interpreter was killed by {signal.Signals(-status).name}"
    return f"the interpreter ended with status {status}" if status else None


def _wait(process: Popen[bytes], ended: IO[bytes], timeout: float, meanwhile: Callable[[], None] | None) -> int:
    """The status it ended with; `ended` is a pipe that is at its end then. Raises subprocess.TimeoutExpired.

    Popen.wait looks at growing intervals, and so wakes up to twice as late.
    """
    import subprocess
    from selectors import EVENT_READ, DefaultSelector

    limit = time.monotonic() + timeout
    with DefaultSelector() as selector:
        selector.register(ended, EVENT_READ)
        while (left := limit - time.monotonic()) > 0:
            if selector.select(min(left, MEANWHILE)):
                return process.wait(left)
            if (status := process.poll()) is not None:  # what it started holds the pipe open
                return status
            if meanwhile:
                meanwhile()
    raise subprocess.TimeoutExpired(process.args, timeout)


@contextmanager
def _pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Its two ends: what is read, and what is written."""
    reading, writing = os.pipe()
    with open(reading, "rb") as read, open(writing, "wb") as written:  # noqa: PTH123 - descriptors
        yield read, written


@contextmanager
def _signals_held() -> Iterator[None]:
    """Within: Ctrl-C, or a signal that asks to end, waits for the end, so that no process is started and not known."""
    held: list[int] = []
    before = {one: signal.signal(one, lambda number, _: held.append(number)) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in held:
            signal.raise_signal(number)


def selftest_environment(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """Of the user's what decides which code runs, and how; nothing is fetched, and MPS has no stand-in.

    Transformers makes its folders in `cache` as it is imported, and none in the user's home.
    """
    kept = _needed(environ)
    kept.pop("PYTORCH_ENABLE_MPS_FALLBACK", None)
    offline = {"MPS_PATCHER_HOOK": "off", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return kept | offline | {"HF_HOME": str(cache), "USE_TF": "0", "USE_FLAX": "0"}


def _needed(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name in NEEDED or name.startswith(NEEDED_KINDS)}


def python_parts(python: Path) -> Iterator[Path]:
    """What an interpreter runs before it is asked anything, and the folders on the way, whose owners can swap it."""
    from glob import iglob

    prefix = python.parent.parent
    yield from (prefix / found for found in iglob("lib*/python*/site-packages", root_dir=prefix))
    yield from (prefix / "pyvenv.cfg", python, *python.parents)


def _temporary_file() -> IO[bytes]:
    import tempfile

    try:
        return tempfile.TemporaryFile()
    except OSError as error:
        message = f"Cannot create a temporary file: {error.strerror}."
        raise PatcherError("no-temporary-folder", message, "Set TMPDIR to a folder that you can write to.") from error


def _read_answer(answer: dict[str, Any], cwd: Path) -> Answer:
    found, cached = answer["found"], answer["pycache_prefix"]
    return Answer(
        path=tuple(Path(entry) for entry in answer["path"]),
        folder=None if found is None else Path(found).parent,
        prefix=Path(answer["prefix"]),
        pycache_prefix=None if cached is None else cwd / cached,
    )


def _is_named_python(python: Path) -> bool:
    """Whether it is safe to start: the name is that of an interpreter, a shim of one, or a link to one."""
    return any(re.fullmatch(_INTERPRETER, os.path.basename(path)) for path in (python, os.path.realpath(python)))


def _cause(errors: str) -> str:
    """The line that says what is wrong: the last one of Python's own, the first one of all others', such as pyenv's."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()] or [""]
    return lines[-1 if any(line.startswith('File "') for line in lines) else 0]


def _no_answer(python: Path, why: str) -> PatcherError:
    if os.path.exists(python):
        hint = "Name a working Python, 3.8 or later, with --python."
        return PatcherError("python-broken", f"{python} does not work as a Python interpreter: {why}.", hint)
    what = f"links to {os.path.realpath(python)}, which does not exist" if os.path.islink(python) else "does not exist"
    return PatcherError("python-not-found", f"{python} {what}.", _NAME_ONE)

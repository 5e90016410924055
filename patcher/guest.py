"""Running code in the target's interpreter: for a limited time, in an environment of its own, and nothing stays behind.

There is no shell anywhere: a command is a list of words.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

NEEDED = frozenset((
    # The system: what is found where, whose it is, and in which words it answers
    "PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TMP", "TEMP", "TZ", "LANG", "LANGUAGE", "LOCPATH", "LOCALE_ARCHIVE",
    # The loader, on Linux and on Nix; those of macOS are a kind
    "LD_LIBRARY_PATH", "LD_PRELOAD", "NIX_LD", "NIX_LD_LIBRARY_PATH",
    # Python: which one, which modules, which bytecode; not what only serves a developer
    "VIRTUAL_ENV", "CONDA_PREFIX", "PYTHONHOME", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONUSERBASE", "PYTHONNOUSERSITE",
    "PYTHONSAFEPATH", "PYTHONCASEOK", "PYTHONPYCACHEPREFIX", "PYTHONOPTIMIZE", "PYTHONUTF8",
    # torch, and what it computes with
    "TORCH_DEVICE_BACKEND_AUTOLOAD", "ATEN_CPU_CAPABILITY", "CUDA_VISIBLE_DEVICES", "OPENBLAS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
))  # fmt: skip
"""The variables that reach the guest. It runs code of many people, to whom tokens and keys are nothing."""
KINDS = ("LC_", "DYLD_", "PYTORCH_", "OMP_", "MKL_", "KMP_")
"""How the names of others that reach it begin."""


def run(command: Sequence[str], errors: int, timeout: float, cache: Path) -> str | None:
    """Run to the end or to `timeout`; the whole process group is gone then. How it ended, in words; None if well."""
    null, environ = subprocess.DEVNULL, environment(os.environ, cache)
    try:
        process = subprocess.Popen(command, stdin=null, stdout=null, stderr=errors, env=environ, start_new_session=True)
    except OSError as error:
        return f"the interpreter cannot be started: {error.strerror}"
    try:
        status = process.wait(timeout)
    except subprocess.TimeoutExpired:
        return f"it was not done after {timeout:g} s"
    finally:
        _end(process)
    if status < 0:
        return f"the interpreter was killed by {signal.Signals(-status).name}"
    return f"the interpreter ended with status {status}" if status else None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leaves nothing of the process group: not the interpreter, nor what it started and left behind."""
    with suppress(ProcessLookupError, PermissionError):  # all are gone; macOS says the latter where some are only dead
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def environment(environ: Mapping[str, str], cache: Path) -> dict[str, str]:
    """Of the user's what decides which code runs, and how; nothing is fetched, and MPS has no stand-in.

    Transformers makes its folders in `cache` as it is imported, and none in the user's home.
    """
    kept = {name: value for name, value in environ.items() if name in NEEDED or name.startswith(KINDS)}
    kept.pop("PYTORCH_ENABLE_MPS_FALLBACK", None)
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return kept | offline | {"HF_HOME": str(cache), "USE_TF": "0", "USE_FLAX": "0"}

"""Runs `mps-patcher apply` once for a transformers that was not seen yet. Standard library, Python 3.8 or newer."""

from __future__ import annotations

import os
import sys
import time

from . import is_seen, stamp_of

LIMIT = 30
"""Seconds that `apply` may take; a start of Python waits for it no longer."""
PATIENCE = 1.0
"""Seconds to wait for another process that applies."""


def patch(folder: str) -> None:
    """Has the transformers in site-packages, the folder around `folder`, patched, and remembers that it was seen.

    It is tried once for each transformers, whatever comes of it, and only where that can be remembered: else each start
    of Python would try again. Until then no other process takes it for seen. Raises OSError where something refuses.
    """
    site_packages = os.path.dirname(folder)
    name = installed(site_packages)
    if name is None or is_anothers(site_packages) or not os.access(folder, os.W_OK):
        return
    lock = os.open(folder, os.O_RDONLY)
    try:
        if acquire(lock) and not is_current(folder):
            remember(folder, name, "to be patched")
            say(apply(folder, site_packages))
            remember(folder, name, stamp_of(os.path.join(site_packages, name, "RECORD")))
    finally:
        os.close(lock)


def installed(site_packages: str) -> str | None:
    """The name of the only `.dist-info` of transformers that has a RECORD, which installers write last."""
    infos = [one for one in os.listdir(site_packages) if one.startswith("transformers-") and one.endswith(".dist-info")]
    whole = [name for name in infos if os.path.exists(os.path.join(site_packages, name, "RECORD"))]
    return whole[0] if len(whole) == 1 else None


def is_anothers(folder: str) -> bool:
    """Whether this is root, and the folder another user's."""
    return os.geteuid() == 0 and os.stat(folder).st_uid != 0


def is_current(folder: str) -> bool:
    """Whether another process has done it meanwhile."""
    try:
        return is_seen(folder)
    except OSError:
        return False


def acquire(lock: int) -> bool:
    """Whether the lock is ours, at the latest after PATIENCE."""
    import fcntl

    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        else:
            return True


def apply(folder: str, site_packages: str) -> str:
    """Runs the tool; a sentence on how that ended. None of the interpreters that it starts comes here again."""
    import subprocess

    dropped = ("PYTHON", "MPS_PATCHER", "__PYVENV_LAUNCHER__")  # meant for this Python, and for what the user asks
    environ = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environ["MPS_PATCHER_HOOK"] = "off"
    command = [tool(folder), "-P", "-m", "patcher", "apply", "--site-packages", site_packages, "--lock-timeout", "1"]
    try:
        done = subprocess.run(
            command, env=environ, cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            timeout=LIMIT, start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"cannot run mps-patcher apply: {error}"
    why = done.stderr.decode("utf-8", "replace").strip().replace("\n", " ")
    return f"transformers was replaced; mps-patcher apply: {why or 'done'}"


def tool(folder: str) -> str:
    """The interpreter that holds mps-patcher: what `mps-patcher setup` wrote down, or that of this environment.

    That is not `sys.executable`, which is another program where Python is embedded.
    """
    try:
        with open(os.path.join(folder, "tool"), encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return os.path.join(sys.prefix, "bin", "python3")


def remember(folder: str, name: str, stamp: str) -> None:
    """Writes down what was seen. The file is replaced, never written to: it may be a hard link into uv's cache."""
    seen = os.path.join(folder, "seen")
    try:
        with open(seen + ".new", "w", encoding="utf-8", errors="surrogateescape") as stream:
            stream.write(f"{name}\n{stamp}")
        os.replace(seen + ".new", seen)
    except OSError:
        if os.path.exists(seen + ".new"):
            os.remove(seen + ".new")
        raise


def say(text: str) -> None:
    """Tells of it, if it is to be told."""
    if os.environ.get("MPS_PATCHER_HOOK") == "verbose":
        print(f"mps-patcher: {text}", file=sys.stderr)

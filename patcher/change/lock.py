"""One mps-patcher at a time on a target. The lock is one of the system's on a folder: no file is left by it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from patcher.change.files import explained
from patcher.change.folder import Folder
from patcher.errors import PatcherError

_POLL = 0.05
_LONG = 10.0
"""Seconds. The first in line may be a process that was stopped."""
_LOCKS = Path("/proc/locks")
"""Linux lists here who holds which lock."""
_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
"""How file systems say that they have no such locks. EBADF is NFS, where only a file open for writing has one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long to wait for another mps-patcher that works on the same target, and who is told of the wait."""

    seconds: float = 30.0
    told: Callable[[str], None] | None = None
    """Called once for each target that has to be waited for, as the wait begins, with a sentence that says so."""


PATIENT = Patience()


@contextmanager
def lock(folder: Folder, *, alone: bool, patience: Patience) -> Iterator[None]:
    """Holds the folder's lock: shared, or `alone`. It leaves no file, and ends with the process that holds it.

    Raises PatcherError: `locked` after waiting in vain; `target-changed` where the path now names another folder
    than the one that is locked; `no-lock` where a lock is needed and the file system has none.
    """
    with explained(folder.path):
        _take(folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, patience)
        there, here = folder.path.stat(), os.fstat(folder.fd)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            raise PatcherError("target-changed", f"{folder.path} was just replaced.", "Run the command again.")
    try:
        yield
    finally:
        with suppress(OSError):  # one without locks says so again; others give it up when the folder is closed
            fcntl.flock(folder.fd, fcntl.LOCK_UN)


def _take(folder: Folder, kind: int, patience: Patience) -> None:
    began, silent = time.monotonic(), False
    with _line(folder) as line:
        while not (_first(line, began, patience) and _taken(folder, kind)):
            waited = time.monotonic() - began
            if waited >= patience.seconds:
                cause = f"{folder.path} is in use by {_holder(folder)}."
                raise PatcherError("locked", cause, "Wait until it has ended, then run the command again.")
            if patience.told and not silent:
                at_most = f"for at most {patience.seconds:g} s"
                patience.told(f"Waiting for {_holder(folder)} to finish with {folder.path}, {at_most}.")
                silent = True
            time.sleep(_POLL / (1 + waited))  # who has waited long looks often


@contextmanager
def _line(folder: Folder) -> Iterator[int | None]:
    """The folder around `folder`, open: who has its lock is the first in line. None where it cannot be opened.

    Without a line those who only look, of whom several may be there at once, could keep one out who wants to change
    something for ever.
    """
    try:
        line = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder.fd)
    except OSError:
        line = None
    try:
        yield line
    finally:
        if line is not None:
            os.close(line)


def _first(line: int | None, began: float, patience: Patience) -> bool:
    """Whether it is our turn. Who does not wait stands in no line, nor does who has waited long for one to move."""
    if line is None or patience.seconds == 0:
        return True
    try:
        fcntl.flock(line, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return time.monotonic() - began > _LONG
    except OSError:
        pass
    return True


def _taken(folder: Folder, kind: int) -> bool:
    """Whether the lock is ours now; also where there are no locks, if it is only for a look."""
    try:
        fcntl.flock(folder.fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        if kind != fcntl.LOCK_SH:  # a look is safe without
            cause = f"{folder.path}: this file system has no locks ({errno.errorcode[error.errno]})."
            raise PatcherError("no-lock", cause, "Move the environment to a local disk.") from error
    return True


def _holder(folder: Folder) -> str:
    """Who has the lock, with the number of a process that has it where the system tells."""
    here = os.fstat(folder.fd)
    at = f"{os.major(here.st_dev):02x}:{os.minor(here.st_dev):02x}:{here.st_ino}"
    try:
        rows = [line.split() for line in _LOCKS.read_text("ascii").splitlines()]
    except OSError:
        rows = []
    # 7: FLOCK  ADVISORY  WRITE 4711 08:01:131073 0 EOF; one that is waited for has an arrow before FLOCK
    held = (row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == at)
    process = next((pid for pid in held if Path("/proc", pid).exists()), None)
    return f"another mps-patcher (process {process})" if process else "another mps-patcher"

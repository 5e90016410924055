"""One mps-patcher at a time on a target. The lock is one of the system's on a folder: no file is left by it."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from patcher.change.files import explained
from patcher.change.folder import Folder
from patcher.errors import PatcherError

_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
"""How file systems say that they have no such locks. EBADF is NFS, where only a file open for writing has one."""


@contextmanager
def lock(folder: Folder, *, alone: bool, seconds: float) -> Iterator[None]:
    """Holds the folder's lock: shared, or `alone`. It leaves no file, and ends with the process that holds it.

    Raises PatcherError: `locked` after waiting `seconds`; `target-changed` where the path now names another folder
    than the one that is locked; `no-lock` where a lock is needed and the file system has none.
    """
    with explained(folder.path):
        _take(folder, fcntl.LOCK_EX if alone else fcntl.LOCK_SH, time.monotonic() + seconds)
        there, here = folder.path.stat(), os.fstat(folder.fd)
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            raise PatcherError("target-changed", f"{folder.path} was just replaced.", "Run the command again.")
    try:
        yield
    finally:
        with suppress(
            OSError
        ):  # a file system without locks says so again; others give it up when the folder is closed
            fcntl.flock(folder.fd, fcntl.LOCK_UN)


def _take(folder: Folder, kind: int, until: float) -> None:
    while True:
        try:
            fcntl.flock(folder.fd, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if time.monotonic() >= until:
                cause = f"{folder.path} is in use by another mps-patcher."
                raise PatcherError("locked", cause, "Wait until it has ended, then run the command again.") from error
        except OSError as error:
            if error.errno not in _LOCKLESS:
                raise
            if kind == fcntl.LOCK_SH:
                return  # a look is safe without
            cause = f"{folder.path}: this file system has no locks ({errno.errorcode[error.errno]})."
            raise PatcherError("no-lock", cause, "Move the environment to a local disk.") from error
        time.sleep(0.05)

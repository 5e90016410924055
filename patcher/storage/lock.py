"""One mps-patcher at a time on a target. The lock is the system's, on a folder: it leaves no file."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from patcher.errors import PatcherError
from patcher.storage.files import explained, target_changed

_POLL = 0.05
_LOCKLESS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EBADF)
"""How file systems say that they have no such locks. EBADF is NFS, where only a file open for writing has one."""


class LockTimeout(NamedTuple):
    """How long to wait for another mps-patcher on the same target."""

    seconds: float = 30.0
    notify: Callable[[str], None] | None = None
    """Called once as a wait begins, with a sentence that says so."""


@contextmanager
def locked(folder: Path, *, exclusive: bool, timeout: LockTimeout) -> Iterator[None]:
    """Holds the folder's lock: shared, or `exclusive`. It ends with the process that holds it.

    Raises PatcherError: `locked` after waiting in vain; `target-changed` where the path now names another folder than
    the one that is locked; `no-lock` where an exclusive lock is needed and the file system has none.
    """
    with explained(folder):
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        with explained(folder):
            wait_for_lock(fd, folder, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH, timeout)
            if not os.path.samestat(folder.stat(), os.fstat(fd)):
                raise target_changed(folder)
        yield
    finally:
        os.close(fd)


def wait_for_lock(fd: int, path: Path, kind: int, timeout: LockTimeout) -> None:
    """Takes the lock of an open file or folder, as `flock` has its kinds. Raises as `locked` does."""
    end, notify = time.monotonic() + timeout.seconds, timeout.notify
    while not _try_lock(fd, path, kind):
        if time.monotonic() >= end:
            cause = f"{path} is being used by another mps-patcher."
            raise PatcherError("locked", cause, "Wait for it to finish, then run the command again.")
        if notify:
            notify(f"Waiting for another mps-patcher to finish with {path}, at most {timeout.seconds:g} s.")
            notify = None
        time.sleep(_POLL)


def _try_lock(fd: int, path: Path, kind: int) -> bool:
    """Whether the lock is ours now; also where there are no locks, if it is only for reading."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _LOCKLESS:
            raise
        if kind == fcntl.LOCK_EX:
            cause = f"{path}: this file system does not support locks ({errno.errorcode[error.errno]})."
            raise PatcherError("no-lock", cause, "Move the environment to a local disk.") from error
    return True

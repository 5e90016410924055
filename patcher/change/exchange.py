"""Two names of one folder exchanged in one step, which Python's standard library cannot do.

Linux has renameat2(2) with RENAME_EXCHANGE since 3.15, macOS renameatx_np(2) with RENAME_SWAP since 10.12; not every
file system has it.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from functools import cache

_FUNCTION = "renameatx_np" if sys.platform == "darwin" else "renameat2"
_EXCHANGE = 2
"""RENAME_EXCHANGE of linux/fs.h, and RENAME_SWAP of sys/stdio.h."""
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV, errno.EPERM)
"""How systems, file systems and sandboxes say that they cannot; EPERM where they mean it, a renaming fails too."""


def names(folder: int, one: str, other: str) -> bool:
    """Exchanges two names in the folder with this descriptor; False where that cannot be done here.

    Raises OSError, as for a name that is not there.
    """
    number = _system()(folder, os.fsencode(one), folder, os.fsencode(other))
    if number == 0:
        return True
    if number in _UNSUPPORTED:
        return False
    raise OSError(number, os.strerror(number))


@cache
def _system() -> Callable[[int, bytes, int, bytes], int]:
    """The system's function; it returns an errno. `status` has no use for ctypes, so it is imported here."""
    import ctypes

    function = getattr(ctypes.CDLL(None, use_errno=True), _FUNCTION, None)

    def call(folder: int, one: bytes, to: int, other: bytes) -> int:
        if function is None:
            return errno.ENOSYS
        done = function(folder, one, to, other, ctypes.c_uint(_EXCHANGE))
        return ctypes.get_errno() if done else 0

    return call

"""A file's access ACL and `user.` attributes: what Linux keeps of a file beside its mode (xattr(7), acl(5)).

A file that is made in a folder with a default ACL inherits that; so what the original did not have is taken away, and
nobody may read or write a copy of ours who may not read or write the original. Elsewhere than on Linux nothing is done.
"""

from __future__ import annotations

import errno
import os

_ACL = "system.posix_acl_access"
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)

Attributes = tuple[tuple[str, bytes], ...]


def read(fd: int) -> Attributes:
    """Those of the open file, sorted by name; none where the file system keeps none."""
    if not hasattr(os, "listxattr"):
        return ()
    return tuple((name, os.getxattr(fd, name)) for name in _names(fd))


def write(fd: int, wanted: Attributes) -> None:
    """Gives the open file exactly these. Raises OSError where one of them cannot be had."""
    if not hasattr(os, "setxattr"):
        return
    for name in _names(fd):
        if name not in dict(wanted):
            os.removexattr(fd, name)
    for name, value in wanted:
        os.setxattr(fd, name, value)


def _names(fd: int) -> list[str]:
    try:
        return sorted(name for name in os.listxattr(fd) if name == _ACL or name.startswith("user."))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return []
        raise

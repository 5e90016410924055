"""What a file is: its digest, its image, and what a system's refusal means."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from patcher.errors import PatcherError

LIMIT = 1 << 26
"""Bytes: hundreds of times as much as the largest module, or RECORD, of any transformers."""
_OWNER = "Run the command as the owner of the environment; look for an immutable flag if you are."
_SPACE = "Free some space and run the command again."
_OTHER = "Let the other installer finish, then run the command again."

_CAUSES = {
    errno.EACCES: ("not-permitted", "this user may not do that", _OWNER),
    errno.EPERM: ("not-permitted", "this user may not do that", _OWNER),
    errno.EROFS: ("read-only", "the file system is read-only", "Mount it writable, or patch the image before that."),
    errno.ENOSPC: ("disk-full", "no space is left", _SPACE),
    errno.EDQUOT: ("disk-full", "the disk quota is used up", _SPACE),
    errno.EIO: ("io-error", "the disk failed to read or write", "Check the disk, then run the command again."),
    errno.ELOOP: ("linked-folder", "it is a link to somewhere else", "Name the environment that it points into."),
    errno.EFBIG: ("too-large", "it is larger than any file of transformers", "Reinstall transformers."),
    errno.ENOTDIR: ("linked-folder", "it is a link, or no folder", "Name the environment that it points into."),
    errno.ENOENT: ("target-changed", "it vanished", _OTHER),
    errno.ESTALE: ("target-changed", "it vanished", _OTHER),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A file as it stands: its bytes and all that `Folder.put` needs to make it stand so again."""

    data: bytes
    mode: int
    """Permission bits, of the link's destination where the name is a symbolic link. No set-uid or set-gid bit of a file
    that has another name: it was given to that one, not to what we write here."""
    uid: int
    gid: int
    mtime_ns: int | None = None
    """None where any time will do."""
    link: str | None = None
    """The text of the symbolic link, where the name is one; `data` is then what it leads to."""
    attributes: tuple[tuple[str, bytes], ...] = ()
    """Its access ACL and its `user.` attributes, as Linux keeps them (xattr(7)): name -> value, sorted."""


def digest(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def read(path: Path) -> bytes:
    """The bytes of a file, links followed; a failure is a PatcherError."""
    with explained(path), path.open("rb", buffering=0) as file:
        return content(file.fileno())


def content(fd: int) -> bytes:
    """The rest of an open file. Raises OSError (EFBIG) where that is more than any file of a target can be."""
    parts, size = [], 0
    while part := os.read(fd, 1 << 20):
        parts.append(part)
        size += len(part)
        if size > LIMIT:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return b"".join(parts)


def same(one: Image | None, other: Image | None) -> bool:
    """Whether two looks at a file show the same one. A time counts only where both are known and neither is a link."""
    if one is None or other is None:
        return one is other
    if (one.data, one.link) != (other.data, other.link):
        return False
    if one.link is not None:  # the destination belongs to somebody else
        return True
    timeless = None in (one.mtime_ns, other.mtime_ns) or one.mtime_ns == other.mtime_ns
    return timeless and _kept(one) == _kept(other)


def _kept(image: Image) -> tuple[object, ...]:
    return image.mode, image.uid, image.gid, image.attributes


def changed(path: Path) -> PatcherError:
    """The refusal to overwrite what somebody else wrote in the midst of our work."""
    return PatcherError("target-changed", f"{path} changed while we worked on it.", _OTHER)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an operating system's error about `path` into a PatcherError with cause and cure."""
    try:
        yield
    except OSError as error:
        fallback = ("os-error", str(error.strerror or error), "Run the command again.")
        code, cause, cure = _CAUSES.get(error.errno or 0, fallback)
        raise PatcherError(code, f"{path}: {cause} ({errno.errorcode.get(error.errno or 0, '?')}).", cure) from error

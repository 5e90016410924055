"""Reading a file whole, and replacing it in one step with all that belongs to it."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from patcher.errors import REINSTALL, PatcherError

SUFFIX = ".mps-patcher"
"""How our temporary names end: `.NAME.mps-patcher` stands beside NAME. One fixed name is enough under the lock."""

_ACL = "system.posix_acl_access"
_OWNER = "Run the command as the owner of the environment; look for an immutable flag if you are."
_OR_RUN = (
    "Run the command as the owner of the environment, or your program with `mps-patcher run`, which changes no file."
)
_SPACE = "Free some space and run the command again."
_OTHER = "Let the other program finish, then run the command again."
_CAUSES = {
    errno.EACCES: ("not-permitted", "permission denied", _OR_RUN),
    errno.EPERM: ("not-permitted", "operation not permitted", _OWNER),
    errno.EROFS: ("read-only", "read-only file system", "Mount it writable, or patch the image when you build it."),
    errno.ENOSPC: ("disk-full", "no space left on the disk", _SPACE),
    errno.EDQUOT: ("disk-full", "disk quota exceeded", _SPACE),
    errno.EIO: ("io-error", "input/output error", "Check the disk, then run the command again."),
    errno.ELOOP: ("linked-folder", "it is a link to another place", "Name the environment that it points to."),
    errno.ENOTDIR: ("linked-folder", "it is a link, or not a folder", "Name the environment that it points to."),
    errno.ENOENT: ("target-changed", "it was removed", _OTHER),
    errno.ESTALE: ("target-changed", "it was removed", _OTHER),
}


class FileImage(NamedTuple):
    """A file as it stands."""

    data: bytes
    mode: int
    """Permission bits; where the name is a symbolic link, those of what it leads to. So are owner and time."""
    uid: int
    gid: int
    mtime_ns: int
    link: str | None = None
    """The text of the symbolic link, where the name is one; `data` is then what it leads to."""

    @property
    def owner(self) -> tuple[int, int, int]:
        """Who may do what with it."""
        return self.mode, self.uid, self.gid


def digest(data: bytes) -> str:
    """The sha256 of `data` in hex."""
    return hashlib.sha256(data).hexdigest()


def read_image(path: Path) -> FileImage | None:
    """The file as it stands, or None where there is none. Raises PatcherError: `not-a-file` for anything else."""
    with explained(path):
        try:
            link = os.readlink(path) if path.is_symlink() else None  # noqa: PTH115 - the text, not a path
            fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (os.O_NOFOLLOW if link is None else 0))
        except FileNotFoundError:
            if path.is_symlink():
                raise _not_a_file(path) from None
            return None
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _not_a_file(path)
            with os.fdopen(fd, "rb", buffering=0, closefd=False) as file:
                return image_of(fd, file.readall(), link)
        finally:
            os.close(fd)


def image_of(fd: int, data: bytes, link: str | None) -> FileImage:
    """The image of an open file that holds `data`."""
    found = os.fstat(fd)
    mode, mtime_ns = stat.S_IMODE(found.st_mode), found.st_mtime_ns
    return FileImage(data=data, mode=mode, uid=found.st_uid, gid=found.st_gid, mtime_ns=mtime_ns, link=link)


def same_image(one: FileImage | None, other: FileImage | None) -> bool:
    """Whether both have the same bytes, mode and owner, or are the same link. Times do not count."""
    if one is None or other is None:
        return one is other
    if (one.data, one.link) != (other.data, other.link):
        return False
    return one.link is not None or one.owner == other.owner


def temp_name(path: Path) -> Path:
    """Our temporary name for `path`, in the same folder."""
    return path.with_name(f".{path.name}{SUFFIX}")


def stage(path: Path, data: bytes, *, like: Path, was: FileImage | None = None) -> None:
    """Writes `data` under the temporary name of `path`, down to the disk, with mode, owner and attributes of `like`.

    Where the file `was` there before, it gets that mode and time again; else its time is now. That is no later than
    SOURCE_DATE_EPOCH. Raises PatcherError: `owner-not-kept`, or the system's refusal.
    """
    temporary = temp_name(path)
    remove_file(temporary)
    with explained(path):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            _copy_metadata(like, temporary)
            if was:
                os.chmod(temporary, was.mode)  # noqa: PTH101 - as all of these calls
            when = _no_later(was.mtime_ns if was else time.time_ns())
            os.utime(temporary, ns=(when, when))
            _sync(fd)
        finally:
            os.close(fd)


def stage_link(path: Path, link: str) -> None:
    """Makes a symbolic link with the text `link` under the temporary name of `path`."""
    temporary = temp_name(path)
    remove_file(temporary)
    with explained(path):
        temporary.symlink_to(link)


def replace_file(path: Path, *, expected: FileImage | None) -> None:
    """Puts what was staged in the place of `path` in one step, if that is still as `expected`.

    That is durable once the folder is synced.

    Raises PatcherError: `target-changed` where somebody else wrote or removed `path` meanwhile.
    """
    if not same_image(read_image(path), expected):
        raise target_changed(path)
    with explained(path):
        temp_name(path).replace(path)


def remove_file(path: Path) -> None:
    """Removes a file or a link; nothing happens where there is none."""
    with explained(path), suppress(FileNotFoundError):
        if os.path.lexists(path):  # a read-only file system refuses to remove even what is not there
            path.unlink()


def make_folder(path: Path) -> None:
    """Makes the folder, with mode and owner of the one around it, if it is not there."""
    with explained(path):
        if not os.path.lexists(path):
            path.mkdir(0o700)
        if path.is_symlink():
            raise PatcherError("linked-folder", f"{path} is a link, which mps-patcher did not create.", REINSTALL)
        if not os.listdir(path):  # noqa: PTH208 - new, or left by a run that was cut off right after that
            _copy_metadata(path.parent, path)
            sync_folder(path.parent)


def remove_folder_if_empty(path: Path) -> None:
    """Removes the folder; what others put there stays, and the folder with it."""
    with explained(path), suppress(FileNotFoundError):
        if os.listdir(path):  # noqa: PTH208 - names are all that is asked; a read-only file system refuses the rest
            return
        path.rmdir()
        sync_folder(path.parent)


def sync_folders(paths: Iterable[Path]) -> None:
    """Makes the names of these files durable, or their absence, with one sync for each folder."""
    for folder in dict.fromkeys(path.parent for path in paths):
        sync_folder(folder)


def sync_folder(path: Path) -> None:
    """Makes the names in the folder durable, and its time no later than SOURCE_DATE_EPOCH."""
    with explained(path):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            now = os.fstat(fd).st_mtime_ns
            if _no_later(now) != now:
                with suppress(PermissionError):  # another's folder; what is in it is ours to date
                    os.utime(fd, ns=(_no_later(now),) * 2)
            _sync(fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
                raise
        finally:
            os.close(fd)


def source_date_epoch() -> int | None:
    """The latest time that anything we write may have, in nanoseconds since 1970; None where none is set.

    https://reproducible-builds.org/specs/source-date-epoch/. Raises PatcherError: `bad-epoch`.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) * 10**9 >= 2**63:
        message = f"SOURCE_DATE_EPOCH is {text!r}, which is not a number of seconds."
        raise PatcherError("bad-epoch", message, "Set it to the seconds since 1970, or unset it.")
    return int(text) * 10**9


def target_changed(path: Path) -> PatcherError:
    """The refusal to overwrite what somebody else wrote meanwhile."""
    return PatcherError("target-changed", f"{path} was changed by another program meanwhile.", _OTHER)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns an operating system's error about `path` into a PatcherError with cause and cure."""
    try:
        yield
    except OSError as error:
        fallback = ("os-error", str(error.strerror or error), "Run the command again.")
        code, cause, cure = _CAUSES.get(error.errno or 0, fallback)
        path = Path(error.filename) if isinstance(error.filename, str) else path
        raise PatcherError(code, f"{path}: {cause} ({errno.errorcode.get(error.errno or 0, '?')}).", cure) from error


def _not_a_file(path: Path) -> PatcherError:
    return PatcherError("not-a-file", f"{path} is not a regular file.", REINSTALL)


def _copy_metadata(source: Path, destination: Path) -> None:
    """Owner, mode, attributes and times; an ACL that the folder handed down goes where `source` has none."""
    import shutil  # slow to import, and only what writes needs it

    wanted, now = source.stat(), destination.stat()
    if (wanted.st_uid, wanted.st_gid) != (now.st_uid, now.st_gid):
        try:
            # -1 leaves alone: an ordinary user may still choose among their own groups.
            os.chown(destination, -1 if wanted.st_uid == now.st_uid else wanted.st_uid, wanted.st_gid)
        except PermissionError as error:
            owner = f"{wanted.st_uid}:{wanted.st_gid}"
            cause = f"{source} belongs to {owner}, and this user cannot create files for that owner."
            cure = "Run the command as the owner of the environment."
            if wanted.st_uid == now.st_uid:  # as `chown -R USER` leaves what root installed
                cause = f"{source} belongs to group {wanted.st_gid}, of which its owner is not a member."
                cure = "Give the files of the environment a group of their owner: chgrp -R."
            raise PatcherError("owner-not-kept", cause, cure) from error
    if _ACL in _attributes(destination) and _ACL not in _attributes(source):
        os.removexattr(destination, _ACL)
    shutil.copystat(source, destination)


def _attributes(path: Path) -> list[str]:
    try:
        return os.listxattr(path)
    except (AttributeError, OSError):  # not on Linux, or a file system that keeps none
        return []


def _no_later(mtime_ns: int) -> int:
    epoch = source_date_epoch()
    return mtime_ns if epoch is None else min(mtime_ns, epoch)


def _sync(fd: int) -> None:
    """fsync; on macOS fsync stops at the drive's cache, and F_FULLFSYNC goes on to the medium (fcntl(2) there)."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # not every file system has it
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)

"""A folder held open: look, and durable atomic replace.

Everything goes through the folder's descriptor, so a path that is swapped for a link between a look and a write leads
nowhere else. This is the only module of the engine that changes anything on disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from patcher.change import attributes, exchange
from patcher.change.files import Image, changed, content, explained, same
from patcher.errors import PatcherError

SUFFIX = ".mps-patcher"
"""How our temporary names end: `.NAME.mps-patcher` stands beside NAME, under the lock, so one fixed name is enough."""

KEPT = ".kept-"
"""What stands between the name of a file and the digest of a copy that is left beside it for the user."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe under the name must not hang us


class Folder:
    """An open folder. Names are single components; every method raises PatcherError where the system refuses."""

    def __init__(self, path: Path, *, within: Folder | None = None, epoch: int | None = None) -> None:
        """Opens `path`. With `within`, its last component is opened there, and refused where that is a link.

        What is written without a time of its own gets the time `epoch`, if there is one, and the folder itself no later
        one: in nanoseconds since 1970.

        Raises PatcherError: `linked-folder`, `target-changed` where it is not there, or another system's refusal.
        """
        self.path = path
        self.epoch: int | None = within.epoch if within else epoch
        with explained(path):
            if within is None:
                self.fd = os.open(path, _FOLDER)
            else:
                self.fd = os.open(path.name, _FOLDER | os.O_NOFOLLOW, dir_fd=within.fd)

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.fd)

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode: what it is, wherever it is moved."""
        found = os.fstat(self.fd)
        return found.st_dev, found.st_ino

    def inside(self, name: str) -> Folder:
        """The folder `name` in this one, never through a link."""
        return Folder(self.path / name, within=self)

    def names(self) -> tuple[str, ...]:
        """What the folder holds, sorted."""
        with explained(self.path):
            return tuple(sorted(os.listdir(self.fd)))  # noqa: PTH208 - a path knows no descriptor

    def has(self, name: str) -> bool:
        """Whether the name is taken, be it by a dangling link."""
        with explained(self.path / name):
            try:
                os.stat(name, dir_fd=self.fd, follow_symlinks=False)
            except FileNotFoundError:
                return False
            return True

    def look(self, name: str) -> Image | None:
        """The file as it stands, or None where there is none. A name that is no file is refused (`not-a-file`)."""
        with explained(self.path / name):
            try:
                entry = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
                link = os.readlink(name, dir_fd=self.fd) if stat.S_ISLNK(entry.st_mode) else None
                found = os.stat(name, dir_fd=self.fd) if link is not None else entry
                if not stat.S_ISREG(found.st_mode):
                    raise self._no_file(name)  # before it is opened: there are devices that take that for an order
                return self._read(name, link, entry)
            except FileNotFoundError:
                return None

    def _read(self, name: str, link: str | None, entry: os.stat_result) -> Image:
        fd = os.open(name, _FILE | (os.O_NOFOLLOW if link is None else 0), dir_fd=self.fd)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise self._no_file(name)
            if link is not None and os.geteuid() == 0 and entry.st_uid not in (0, found.st_uid):
                raise self._foreign(name)
            return Image(
                data=content(fd),
                mode=stat.S_IMODE(found.st_mode) & (0o7777 if link is None and found.st_nlink == 1 else 0o777),
                uid=found.st_uid,
                gid=found.st_gid,
                mtime_ns=found.st_mtime_ns,
                link=link,
                attributes=attributes.read(fd),
            )
        finally:
            os.close(fd)

    def _no_file(self, name: str) -> PatcherError:
        return PatcherError("not-a-file", f"{self.path / name} is no ordinary file.", "Reinstall transformers.")

    def _foreign(self, name: str) -> PatcherError:
        """What root may read is not for everybody who can make a link to it."""
        cause = f"{self.path / name} is one user's link to another's file, which root does not follow."
        return PatcherError("foreign-link", cause, "Run the command as the owner of the environment.")

    def beyond(self, link: str) -> bytes | None:
        """What a symbolic link with this text would lead to from here; None where that is no readable file."""
        try:
            if not stat.S_ISREG(os.stat(link, dir_fd=self.fd).st_mode):
                return None
            fd = os.open(link, _FILE, dir_fd=self.fd)
        except OSError:
            return None
        try:
            return content(fd) if stat.S_ISREG(os.fstat(fd).st_mode) else None
        finally:
            os.close(fd)

    def stage(self, name: str, image: Image) -> None:
        """Writes `image` under the temporary name of `name`, down to the disk. `name` itself is not touched."""
        temporary = spare(name)
        self.remove(temporary)
        with explained(self.path / name):
            if image.link is not None:
                os.symlink(image.link, temporary, dir_fd=self.fd)
                return self._give(temporary)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(temporary, flags, 0o600, dir_fd=self.fd)
            try:
                self._fill(fd, name, image)
            finally:
                os.close(fd)

    def _give(self, link: str) -> None:
        """A link is its folder's owner's, whoever made it: what `look` makes of it depends on whose it is."""
        like, its = os.fstat(self.fd), os.stat(link, dir_fd=self.fd, follow_symlinks=False)
        if os.geteuid() == 0 and like.st_uid != its.st_uid:
            os.chown(link, like.st_uid, like.st_gid, dir_fd=self.fd, follow_symlinks=False)

    def _fill(self, fd: int, name: str, image: Image) -> None:
        rest = memoryview(image.data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        self._own(fd, name, image)
        attributes.write(fd, image.attributes)  # before the mode, which opens what an inherited ACL grants
        os.fchmod(fd, image.mode)  # after the owner: changing that clears bits of the mode
        when = self.epoch if image.mtime_ns is None else image.mtime_ns
        if when is not None:
            os.utime(fd, ns=(when, when))
        _sync(fd)

    def _own(self, fd: int, name: str, image: Image) -> None:
        """Gives the open file its owner; refuses only where that would truly change who owns it."""
        now = os.fstat(fd)
        if (now.st_uid, now.st_gid) == (image.uid, image.gid):
            return
        try:
            # -1 leaves alone: an ordinary user may still choose among their own groups.
            os.fchown(fd, -1 if now.st_uid == image.uid else image.uid, image.gid)
        except PermissionError as error:
            cause = f"{self.path / name} would change its owner (now {image.uid}:{image.gid})."
            raise PatcherError("owner-not-kept", cause, "Run the command as the owner of the environment.") from error

    def commit(self, name: str) -> None:
        """Puts what was staged in the place of `name`, in one step, and syncs the folder. For files of ours alone."""
        with explained(self.path / name):
            os.rename(spare(name), name, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        self.sync()

    def swap(self, name: str, before: Image) -> None:
        """The same where `name` still stands as `before`: else what others put there, or its absence, is left.

        Raises PatcherError: `target-changed`. On file systems that cannot exchange two names, the last look comes right
        before a renaming.
        """
        with explained(self.path / name):
            mine = self._which(spare(name))
            if not exchange.names(self.fd, spare(name), name):
                if not same(self.look(name), before):
                    raise changed(self.path / name)
                return self.commit(name)
            try:
                if not same(self.look(spare(name)), before):
                    raise changed(self.path / name)
            except BaseException:  # also what cannot be read is somebody's
                self._take_back(name, mine)
                raise
            self.remove(spare(name))
        return self.sync()

    def _take_back(self, name: str, mine: tuple[int, ...]) -> None:
        """Exchanges the two names again, until what comes out is what was put in: the rest is what others put there."""
        put_in, came_out = self._which(spare(name)), mine
        exchange.names(self.fd, spare(name), name)
        while self._which(spare(name)) != came_out:
            put_in, came_out = self._which(spare(name)), put_in
            exchange.names(self.fd, spare(name), name)
        self.sync()

    def _which(self, name: str) -> tuple[int, ...]:
        """What tells one file from another, wherever it is moved in this folder."""
        found = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        return found.st_dev, found.st_ino, found.st_mtime_ns

    def put(self, name: str, image: Image) -> None:
        """Makes our file `name` stand as `image`, durably: at every instant it is the old one or the new one."""
        if not same(self.look(name), image):
            self.stage(name, image)
            self.commit(name)

    def remove(self, name: str) -> None:
        """Removes the file or link `name`; nothing happens where there is none."""
        with explained(self.path / name), suppress(FileNotFoundError):
            if self.has(name):  # a read-only file system refuses to remove even what is not there
                os.unlink(name, dir_fd=self.fd)

    def make(self, name: str) -> Folder:
        """The folder `name` in this one, made with this one's owner and mode if it is not there.

        One that is there keeps its own, unless it is empty: that is one whose making was cut off.
        """
        with explained(self.path / name):
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.fd)
            made = self.inside(name)
            if not made.names():
                made.become(os.fstat(self.fd))
        self.sync()
        return made

    def become(self, like: os.stat_result) -> None:
        """Gives this folder the owner, as far as that may be, and the mode of another."""
        its = os.fstat(self.fd)
        if (its.st_uid, its.st_gid) != (like.st_uid, like.st_gid):
            with suppress(PermissionError):  # an ordinary user's folder is the user's own
                os.fchown(self.fd, like.st_uid, like.st_gid)
        os.fchmod(self.fd, stat.S_IMODE(like.st_mode))

    def drop(self, name: str) -> None:
        """Removes the folder `name` if it is empty; what others put there stays."""
        with explained(self.path / name), suppress(FileNotFoundError):
            try:
                if self.has(name):
                    os.rmdir(name, dir_fd=self.fd)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
        self.sync()

    def temporaries(self, name: str) -> tuple[str, ...]:
        """Our temporary names that are taken beside `name`: its own, and those of copies of it."""
        ours = (spare(name), f".{name}{KEPT}")
        return tuple(
            one for one in self.names() if one == ours[0] or (one.startswith(ours[1]) and one.endswith(SUFFIX))
        )

    def sync(self) -> None:
        """Makes the names in this folder durable: called after each change of them."""
        with explained(self.path):
            if self.epoch is not None and os.fstat(self.fd).st_mtime_ns > self.epoch:
                with suppress(PermissionError):  # another's folder; what is in it is ours to date
                    os.utime(self.fd, ns=(self.epoch, self.epoch))
            try:
                _sync(self.fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # some file systems cannot sync a folder
                    raise


def spare(name: str) -> str:
    """The temporary name of `name`, in the same folder."""
    return f".{name}{SUFFIX}"


def _sync(fd: int) -> None:
    """fsync; on macOS fsync stops at the drive's cache, and F_FULLFSYNC goes on to the medium (fcntl(2) there)."""
    full: int | None = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        with suppress(OSError):  # not every file system has it
            fcntl.fcntl(fd, full)
            return
    os.fsync(fd)

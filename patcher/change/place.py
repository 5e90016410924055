"""A target as open folders, under its lock: what is read and written of it goes through here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from patcher.change import bytecode, clock, ledger, scan
from patcher.change.files import Image, changed
from patcher.change.folder import Folder
from patcher.change.lock import Patience, lock
from patcher.errors import PatcherError
from patcher.model import Target


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A target as open folders. While it is open, the target is locked."""

    target: Target
    dist_info: Folder
    caches: tuple[Path, ...]
    """Folders that hold bytecode apart from its source."""
    stack: ExitStack
    folders: dict[PurePosixPath, Folder]
    """What is open below site-packages, which is `.`."""
    mentions: dict[bytes, tuple[PurePosixPath, ...]] = field(default_factory=dict)
    """What `mentioning` found, by its pattern."""

    @property
    def ours(self) -> str:
        """The folder of our ledger as RECORD writes it, with its slash."""
        return f"{self.dist_info.path.name}/{ledger.FOLDER}/"

    def folder(self, path: PurePosixPath) -> Folder | None:
        """A folder below site-packages, never through a link; None where it is not there."""
        if path not in self.folders:
            above = self.folder(path.parent)
            if above is None or not above.has(path.name):
                return None
            self.folders[path] = self.stack.enter_context(above.inside(path.name))
        return self.folders[path]

    def home(self, path: PurePosixPath) -> Folder:
        """The folder of a file that was there."""
        folder = self.folder(path.parent)
        if folder is None:
            hint = "Let the other installer finish, then run the command again."
            raise PatcherError("target-changed", f"{path.parent} vanished.", hint)
        return folder

    def look(self, path: PurePosixPath) -> Image | None:
        """A file below site-packages as it stands; None where there is none."""
        folder = self.folder(path.parent)
        return folder.look(path.name) if folder else None

    def moved(self) -> Path | None:
        """A folder that is open and not there any more under its path: what is read of it, nobody else would find."""
        for folder in (self.dist_info, *self.folders.values()):
            try:
                there = os.stat(folder.path)  # noqa: PTH116 - beside its pair in Folder.identity
            except OSError:
                return folder.path
            if (there.st_dev, there.st_ino) != folder.identity:
                return folder.path
        return None

    def no_later(self, mtime_ns: int) -> int:
        """A time that we write down or give to a file: no later than SOURCE_DATE_EPOCH, where that is set."""
        epoch = self.dist_info.epoch
        return mtime_ns if epoch is None else min(mtime_ns, epoch)

    def dated(self, image: Image) -> Image:
        """The image with a time that is no later than that."""
        return image if image.mtime_ns is None else replace(image, mtime_ns=self.no_later(image.mtime_ns))

    def full(self, path: PurePosixPath) -> Path:
        """The path of a file below site-packages, for people."""
        return self.target.site_packages / path

    def mentioning(self, package: str, pattern: bytes) -> tuple[PurePosixPath, ...]:
        """The Python files of `package` that hold `pattern`: looked for once, while the lock is held."""
        if pattern not in self.mentions:
            self.mentions[pattern] = scan.mentioning(self.target.site_packages, package, re.compile(pattern))
        return self.mentions[pattern]


@contextmanager
def opened(target: Target, *, alone: bool, patience: Patience) -> Iterator[Place]:
    """The target, locked `alone` or shared.

    Raises PatcherError: `target-changed` where the path now names another folder than the one that was judged;
    `linked-folder` where the dist-info is a link: what is behind it may belong to other
    environments; `bad-epoch` where one is to write and SOURCE_DATE_EPOCH is no time; and what `lock` raises.
    """
    with ExitStack() as stack:
        epoch = clock.source_date_epoch(os.environ) if alone else None
        site = stack.enter_context(Folder(target.site_packages, epoch=epoch))
        if target.identity not in (None, site.identity):
            raise changed(target.site_packages)
        dist_info = stack.enter_context(site.inside(target.dist_info.name))
        stack.enter_context(lock(dist_info, alone=alone, patience=patience))
        caches = bytecode.prefixes(target.pycache_prefix, os.environ)
        folders = {PurePosixPath(): site}
        yield Place(target=target, dist_info=dist_info, caches=caches, stack=stack, folders=folders)

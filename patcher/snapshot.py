"""What a target holds. Each file is read once; everything else is derived from what was read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patcher.edit import Finding, identify
from patcher.errors import REINSTALL, PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State, Target
from patcher.scan import Seen, scan_like, scan_package
from patcher.storage.files import SUFFIX, FileImage, digest, explained, read_image, temp_name
from patcher.storage.journal import (
    FOLDER,
    STATE,
    Journal,
    JournalEntry,
    backup_name,
    decode_journal,
    state_damaged,
    state_newer,
)
from patcher.storage.record import find_rows, is_recorded, record_row


class FileStatus(NamedTuple):
    """One file of the target, and what the journal knows of it."""

    path: PurePosixPath
    """Relative to site-packages."""
    image: FileImage
    entry: JournalEntry | None = None
    backup: FileImage | None = None
    """The original, if it is there and its content is what the journal says."""

    @property
    def is_edited(self) -> bool:
        """Whether it is neither the original nor what we made of it."""
        return self.entry is not None and digest(self.image.data) not in (self.entry.original, self.entry.patched)

    @property
    def is_original(self) -> bool:
        """Whether it is the original, as the journal has it."""
        return self.entry is not None and digest(self.image.data) == self.entry.original

    def finding(self, patch: Patch) -> Finding:
        """What it says of a patch; that may take parsing it."""
        return identify(self.image.data, self.path, patch)


class Snapshot(NamedTuple):
    """A target as it was read, under its lock."""

    target: Target
    catalogue: tuple[Patch, ...]
    files: Mapping[PurePosixPath, FileStatus]
    """Every file that a patch may be about, or that the journal names."""
    record: FileStatus | None
    journal: Journal | None
    own_files: Mapping[str, FileImage]
    """Our folder in the dist-info: the state file and the backups, by name."""
    linked_folders: tuple[Path, ...]
    """Folders of the package that are links; what is behind them was not read."""
    leftovers: tuple[Path, ...]
    """Temporary files that a run left which was cut off."""
    is_consistent: bool
    """Whether no run was cut off: RECORD, which is written last, lists the journal as it is, and nothing is left."""

    @property
    def requested(self) -> tuple[str, ...]:
        """The names of the patches that were asked for."""
        return self.journal.requested if self.journal else ()

    @property
    def own_folder(self) -> Path:
        """Our folder in the dist-info, which need not exist."""
        return self.target.dist_info / FOLDER

    @property
    def own_prefix(self) -> str:
        """The same as RECORD writes it, with its slash."""
        return f"{self.target.dist_info.name}/{FOLDER}/"

    @property
    def record_path(self) -> PurePosixPath:
        """RECORD's path, relative to site-packages."""
        return PurePosixPath(self.target.dist_info.name, "RECORD")

    def path_of(self, path: PurePosixPath) -> Path:
        """The full path of a file."""
        return self.target.site_packages / path

    def files_of(self, patch: Patch) -> tuple[FileStatus, ...]:
        """The files that the patch is about."""
        return tuple(self._files_of(patch))

    def _files_of(self, patch: Patch) -> Iterator[FileStatus]:
        own = {other.file for other in self.catalogue if isinstance(other, FunctionPatch)}
        is_calls = isinstance(patch, CallsPatch)
        for path, status in sorted(self.files.items()):
            if (path in own) if is_calls else (path != patch.file):
                continue
            if not is_calls or status.entry or status.finding(patch).state is not State.ABSENT:
                yield status

    def state_of(self, patch: Patch) -> State:
        """The state of a patch, from what the files hold: the journal only says which content was meant."""
        return max(
            (self._state(status, status.finding(patch).state) for status in self.files_of(patch)),
            key=_WORST.index,
            default=State.ABSENT,
        )

    def _state(self, status: FileStatus, found: State) -> State:
        if not self.is_consistent and (status.entry or found is State.PATCHED):
            return State.INTERRUPTED
        if status.is_edited:
            return State.MODIFIED
        if status.entry and not status.is_original:  # as an apply left it
            return State.PATCHED if found in (State.PATCHED, State.ABSENT) else State.OUTDATED
        return found

    def is_edited_since_install(self, status: FileStatus) -> bool:
        """Whether the original of a file has another content than RECORD says; False where RECORD says none."""
        if self.record is None or (status.entry and not status.is_original):
            return False
        record = self.record.backup or self.record.image
        row = find_rows(record.data, frozenset((str(status.path),))).get(str(status.path))
        return row is not None and is_recorded(row, status.image.data) is False

    def has_callers(self, patch: Patch) -> bool:
        """Whether files were made to call the patch's function, so that without it they cannot be imported."""
        return any(
            (status.entry and not status.is_original) or status.finding(other).state in (State.PATCHED, State.OUTDATED)
            for other in self.catalogue
            if patch.name in other.requires
            for status in self.files_of(other)
        )

    def defined_elsewhere(self, patch: Patch) -> PurePosixPath | None:
        """Another file of the package that defines the patch's function."""
        name = patch.function.encode()
        pattern = re.compile(rb"^(?:async def|def|class) %s\b" % name, re.MULTILINE)
        others = ((path, status.image.data) for path, status in self.files.items() if path != patch.file)
        found = (path for path, data in others if name in data and pattern.search(data))
        return next(found, None)


_WORST = (State.ABSENT, State.PATCHED, State.UNPATCHED, State.OUTDATED, State.MODIFIED, State.INTERRUPTED)
"""A patch of several files is in the last of these states that one of its files is in."""


def take_snapshot(target: Target, catalogue: Sequence[Patch], seen: Seen | None = None) -> Snapshot:
    """Reads the target; of one of many, which share `seen`, what all with its RECORD have is read once.

    Raises PatcherError: `file-missing` where a file is gone that the journal or RECORD lists; `linked-folder`,
    `state-damaged`, `state-newer`, or the system's refusal.
    """
    own_files, leftovers = _read_own_folder(target.dist_info / FOLDER)
    package = catalogue[0].file.parts[0]
    journal = _read_journal(own_files, target.dist_info / FOLDER / STATE, catalogue)
    patched = {patch.file for patch in catalogue}
    record_path = PurePosixPath(target.dist_info.name, "RECORD")
    record = read_image(target.dist_info / "RECORD")
    if record is None and journal:  # taken away since, and not to be restored
        journal = journal._replace(files={path: entry for path, entry in journal.files.items() if path != record_path})
    scan = (
        scan_package(target.site_packages, package, catalogue)
        if seen is None or record is None
        else scan_like(target.site_packages, package, catalogue, record.data, seen)
    )
    images = scan.images
    entries = journal.files if journal else {}
    for path in entries.keys() - {record_path} - images.keys():  # where an edit left no mention
        if image := read_image(target.site_packages / path):
            images[path] = image
    _require_all(target, images, patched, entries.keys() - {record_path}, record)
    temporary = temp_name(target.dist_info / "RECORD")
    leftovers = (*leftovers, *scan.leftovers, *((temporary,) if os.path.lexists(temporary) else ()))
    return Snapshot(
        target=target,
        catalogue=tuple(catalogue),
        files={path: _status(path, image, entries.get(path), own_files) for path, image in images.items()},
        record=_status(record_path, record, entries.get(record_path), own_files) if record else None,
        journal=journal,
        own_files=own_files,
        linked_folders=scan.linked_folders,
        leftovers=leftovers,
        is_consistent=not leftovers and _is_listed(f"{target.dist_info.name}/{FOLDER}/{STATE}", own_files, record),
    )


def _read_journal(own_files: Mapping[str, FileImage], at: Path, catalogue: Sequence[Patch]) -> Journal | None:
    if STATE not in own_files:
        if own_files:
            raise state_damaged(f"{at.parent} contains backups but no {STATE}.")
        return None
    journal = decode_journal(own_files[STATE].data, at, catalogue[0].file.parts[0])
    if not set(journal.requested) <= {patch.name for patch in catalogue}:
        raise state_newer(at)
    return journal


def _is_listed(state: str, own_files: Mapping[str, FileImage], record: FileImage | None) -> bool:
    """Whether RECORD, where there is one, has the state file as it is, if that is there."""
    if record is None or STATE not in own_files:
        return True
    return find_rows(record.data, frozenset((state,))).get(state) == record_row(state, own_files[STATE].data)


def _status(
    path: PurePosixPath, image: FileImage, entry: JournalEntry | None, own_files: Mapping[str, FileImage]
) -> FileStatus:
    backup = own_files.get(backup_name(path)) if entry else None
    is_sound = backup is not None and entry is not None and digest(backup.data) == entry.original
    return FileStatus(path=path, image=image, entry=entry, backup=backup if is_sound else None)


def _require_all(
    target: Target,
    images: Mapping[PurePosixPath, FileImage],
    patched: Set[PurePosixPath],
    journaled: Set[PurePosixPath],
    record: FileImage | None,
) -> None:
    gone = {str(path): path for path in (patched | journaled) - images.keys()}
    listed = find_rows(record.data, frozenset(gone)) if gone and record else {}
    for text, path in sorted(gone.items()):
        if text in listed or path in journaled:
            message = f"{target.site_packages / path} is missing."
            raise PatcherError("file-missing", message, REINSTALL)


def _read_own_folder(folder: Path) -> tuple[dict[str, FileImage], tuple[Path, ...]]:
    """Our files in our folder, and temporary ones. Raises PatcherError: `linked-folder` where it is a link."""
    if not os.path.lexists(folder):
        return {}, ()
    if folder.is_symlink():
        message = f"{folder} is a link, which mps-patcher did not create."
        raise PatcherError("linked-folder", message, REINSTALL)
    with explained(folder):
        paths = sorted(folder.iterdir())
    images = {path.name: read_image(path) for path in paths if path.name == STATE or path.suffix == ".orig"}
    leftovers = tuple(path for path in paths if path.name.endswith(SUFFIX))
    return {name: image for name, image in images.items() if image}, leftovers or (() if images else (folder,))

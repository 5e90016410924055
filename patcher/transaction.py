"""One commit for a target: every file becomes as planned, is read again to prove it, or all of them stay as they were.

The order is what makes a cut harmless. The journal and the backups are on disk before the first file changes, each
file changes in one step, RECORD follows, then backups go that are of no more use, and what the journal is to forget
is forgotten last. Wherever a run is cut off, each file is the original or as desired, so the next command computes the
same plan and goes on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

from patcher.errors import PatcherError
from patcher.plan import Plan, original_record
from patcher.recompute import DesiredFile
from patcher.snapshot import FileStatus, Snapshot
from patcher.storage.bytecode import cache_prefixes, remove_pycs
from patcher.storage.files import (
    SUFFIX,
    FileImage,
    digest,
    explained,
    make_folder,
    read_image,
    remove_file,
    remove_folder_if_empty,
    replace_file,
    same_image,
    source_date_epoch,
    stage,
    stage_link,
    sync_folder,
    sync_folders,
    temp_name,
)
from patcher.storage.journal import STATE, Journal, backup_name, encode_journal


def commit(plan: Plan) -> None:
    """Makes the target stand as planned, and proves it by reading it again.

    Raises PatcherError after putting everything back as the plan's snapshot shows it.
    """
    source_date_epoch()  # refused before anything is written
    copies = tuple(path for path in plan.copy_paths.values() if not os.path.lexists(path))
    try:
        _write(plan)
        check_written(plan)
    except BaseException as error:
        roll_back(plan, error, copies)
        raise


def check_writable(plan: Plan) -> None:
    """Raises PatcherError where the system would not let this user write what `commit` writes. Writes nothing."""
    snapshot, effective = plan.snapshot, os.access in os.supports_effective_ids
    folders = {snapshot.path_of(path).parent for path in plan.files}
    if plan.journal or snapshot.journal:
        folders.add(snapshot.target.dist_info)
    for folder in sorted(folders):
        with explained(folder):
            if os.statvfs(folder).f_flag & os.ST_RDONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS))
            if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
                raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def write_journal(snapshot: Snapshot, journal: Journal) -> None:
    """Writes the state file, then the backups that are not there yet."""
    make_folder(snapshot.own_folder)
    like = snapshot.target.dist_info / "RECORD" if snapshot.record else snapshot.path_of(next(iter(journal.files)))
    _put(snapshot.own_folder / STATE, encode_journal(journal), like=like)
    for path, image in _originals(snapshot, journal):
        _put(snapshot.own_folder / backup_name(path), image.data, like=snapshot.path_of(path), was=image)
    sync_folder(snapshot.own_folder)


def check_written(plan: Plan) -> None:
    """Reads again what was written. Raises PatcherError: `not-proven` where anything is not as planned."""
    snapshot = plan.snapshot
    for path, desired in _changes(plan).items():
        status, now = _status_of(snapshot, path), read_image(snapshot.path_of(path))
        like = status.backup if desired.is_backup and status.backup else status.image
        link = now.link if now and desired.is_backup else None
        if not same_image(now, like._replace(data=desired.data, link=link)):
            raise _unproven(snapshot.path_of(path))
    state = read_image(snapshot.own_folder / STATE)
    if (state.data if state else None) != (encode_journal(plan.journal) if plan.journal else None):
        raise _unproven(snapshot.own_folder / STATE)
    for path, image in _originals(snapshot, plan.journal) if plan.journal else ():
        backup = read_image(snapshot.own_folder / backup_name(path))
        if backup is None or backup.data != image.data:
            raise _unproven(snapshot.own_folder / backup_name(path))


def roll_back(plan: Plan, error: BaseException, copies: Collection[Path]) -> None:
    """Puts back what `commit` changed: first our folder, then the files, last what was not there before.

    What somebody else wrote meanwhile is left alone. A failure on the way ends it, for no backup may go while its file
    is patched; the next command repairs the rest.
    """
    try:
        _restore(plan)
        for path in copies:
            remove_file(path)
    except PatcherError as second:
        code = error.code if isinstance(error, PatcherError) else "put-back-failed"
        cause = "Interrupted." if isinstance(error, KeyboardInterrupt) else error
        message = f"{cause} Undoing the changes failed too: {second.message}"
        raise PatcherError(code, message, "Fix the cause, then run apply or revert: either repairs this.") from error


def _write(plan: Plan) -> None:
    snapshot, journal = plan.snapshot, plan.journal
    for path, copy in plan.copy_paths.items():
        _put(copy, plan.copies[path], like=snapshot.path_of(path))
    sync_folders(plan.copy_paths.values())
    first = _first_journal(plan)
    if first:
        write_journal(snapshot, first)
    changes = _changes(plan)
    for path, desired in changes.items():  # what needs space is written before the first file changes
        _stage(snapshot, path, desired)
    _remove_bytecode(plan, plan.files)  # before, so that no cut leaves old code that runs
    _replace(snapshot, plan.files)
    _replace(snapshot, changes.keys() - plan.files.keys())
    _remove_bytecode(plan, plan.files)  # and after: another process may have imported the old source meanwhile
    _clean_up(plan, keep={STATE, *map(backup_name, journal.files)} if journal else set())
    if journal and journal != first:  # last, for no backup may be there of which the journal does not know
        _put(snapshot.own_folder / STATE, encode_journal(journal), like=snapshot.own_folder / STATE)
        sync_folder(snapshot.own_folder)


def _changes(plan: Plan) -> dict[PurePosixPath, DesiredFile]:
    """Every file that changes, RECORD last."""
    return {**plan.files, **({plan.snapshot.record_path: plan.record} if plan.record else {})}


def _first_journal(plan: Plan) -> Journal | None:
    """The journal while files change: it knows the originals of all files that it is to know, and of those it knew."""
    old, new = plan.snapshot.journal, plan.journal
    if old is None or new == old:
        return new
    return Journal(requested=new.requested if new else (), files={**old.files, **(new.files if new else {})})


def _originals(snapshot: Snapshot, journal: Journal) -> Iterator[tuple[PurePosixPath, FileImage]]:
    """The files of the journal that are their originals now, so that their backups can be written."""
    for path, entry in journal.files.items():
        image = _status_of(snapshot, path).image
        if path == snapshot.record_path:  # of which another tool may have changed rows since
            data, backup = original_record(snapshot).data, _status_of(snapshot, path).backup
            image = backup if backup and backup.data == data else image._replace(data=data)
        if digest(image.data) == entry.original:
            yield path, image


def _stage(snapshot: Snapshot, path: PurePosixPath, desired: DesiredFile) -> None:
    full = snapshot.path_of(path)
    if not desired.is_backup:
        stage(full, desired.data, like=full)
    elif desired.link is not None and _leads_to(full.parent / desired.link, desired.data):
        stage_link(full, desired.link)
    else:  # a copy: after a loss of power, a move between folders may be there in one of them alone
        stage(full, desired.data, like=snapshot.own_folder / backup_name(path), was=_status_of(snapshot, path).backup)


def _replace(snapshot: Snapshot, paths: Collection[PurePosixPath]) -> None:
    """Puts what was staged in the place of these files, durably."""
    for path in paths:
        replace_file(snapshot.path_of(path), expected=_status_of(snapshot, path).image)
    sync_folders(map(snapshot.path_of, paths))


def _leads_to(path: Path, data: bytes) -> bool:
    try:
        found = read_image(path)
    except PatcherError:
        return False
    return found is not None and found.data == data


def _remove_bytecode(plan: Plan, paths: Collection[PurePosixPath]) -> None:
    for path in paths:
        remove_pycs(plan.snapshot.path_of(path), cache_prefixes(plan.snapshot.target.pycache_prefix))


def _put(path: Path, data: bytes, *, like: Path, was: FileImage | None = None) -> bool:
    """Makes a file of ours hold `data` in one step, durable once its folder is synced. Whether it had to be written."""
    now = read_image(path)
    if now and now.data == data and not (was and (now.owner, now.mtime_ns) != (was.owner, was.mtime_ns)):
        return False
    stage(path, data, like=like, was=was)
    replace_file(path, expected=now)
    return True


def _clean_up(plan: Plan, keep: Collection[str]) -> None:
    """Removes temporary files, and of our folder all but `keep`: the state file last."""
    snapshot = plan.snapshot
    for path in {*snapshot.leftovers, *(temp_name(snapshot.path_of(path)) for path in _changes(plan))}:
        if path != snapshot.own_folder:
            remove_file(path)
    if not snapshot.own_folder.is_dir():
        return
    with explained(snapshot.own_folder):
        names = os.listdir(snapshot.own_folder)  # noqa: PTH208 - names are all that is asked
    own = {name for name in names if name == STATE or name.endswith((".orig", SUFFIX))}
    gone = sorted(own - set(keep), key=lambda name: (name == STATE, name))
    for name in gone:
        remove_file(snapshot.own_folder / name)
    sync_folders(snapshot.own_folder / name for name in gone)
    if not keep:
        remove_folder_if_empty(snapshot.own_folder)


def _restore(plan: Plan) -> None:
    snapshot = plan.snapshot
    if os.path.lexists(snapshot.target.dist_info / "METADATA"):
        _restore_target(plan)
    else:  # an installer took transformers away meanwhile: what is there now is not ours
        _clean_up(plan, keep=())
    remove_folder_if_empty(snapshot.target.dist_info)  # that installer could not, with ours in it


def _restore_target(plan: Plan) -> None:
    snapshot = plan.snapshot
    full = {backup_name(path): snapshot.path_of(path) for path in (snapshot.journal.files if snapshot.journal else ())}
    written = []
    for name, image in snapshot.own_files.items():
        make_folder(snapshot.own_folder)
        like, path = full.get(name, snapshot.target.dist_info / "METADATA"), snapshot.own_folder / name
        if _put(path, image.data, like=like, was=image):
            written.append(path)
    sync_folders(written)
    restored = [path for path, desired in _changes(plan).items() if _put_back(snapshot, path, desired)]
    sync_folders(map(snapshot.path_of, restored))
    _remove_bytecode(plan, restored)
    _clean_up(plan, keep=snapshot.own_files.keys())


def _put_back(snapshot: Snapshot, path: PurePosixPath, desired: DesiredFile) -> bool:
    """Makes a file that is as `desired` what it was before; whether it was not that any more.

    What another installer put there since is left alone.
    """
    full, before = snapshot.path_of(path), _status_of(snapshot, path).image
    try:
        now = read_image(full)
        if now is None or now.data != desired.data or same_image(now, before):
            return False
        if before.link is not None:
            stage_link(full, before.link)
        else:
            stage(full, before.data, like=full, was=before)
        replace_file(full, expected=now)
    except PatcherError as error:
        if error.code not in ("target-changed", "not-a-file"):
            raise
        return False
    return True


def _status_of(snapshot: Snapshot, path: PurePosixPath) -> FileStatus:
    if path == snapshot.record_path and snapshot.record:
        return snapshot.record
    return snapshot.files[path]


def _unproven(path: Path) -> PatcherError:
    return PatcherError(
        "not-proven",
        f"{path} is not what was written to it.",
        "Find out what else writes there, then run the command again.",
    )

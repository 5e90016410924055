"""From how a target stands to how it is wanted: all of it, or nothing of it, and proven by reading it again.

The order of the steps is the protocol. The intent and the back-ups are on disk before the first file changes, each file
changes in one step, and what the ledger is to forget it forgets last; so a cut at any instant leaves every file whole,
and the content alone says what is left to do. The intent comes before the back-ups: one that no intent names could be
the only copy of something.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath

from patcher.change import bytecode, ledger, record
from patcher.change.files import Image, changed, same
from patcher.change.folder import SUFFIX, Folder, spare
from patcher.change.place import Place
from patcher.change.scene import RECORD, Scene, judge, read
from patcher.errors import PatcherError
from patcher.model import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How the target shall stand."""

    sources: tuple[tuple[PurePosixPath, Image], ...]
    """The files of the patch, in the order they change."""
    record: Image | None
    """None where there is no RECORD."""
    ours: tuple[tuple[str, Image], ...] = ()
    """The files of the ledger's folder, in the order they are written: the state file, then the back-ups."""
    forgets: bool = False
    """Whether the ledger shall forget files that it tells of now: then it is written when they have changed."""


def carry(place: Place, scene: Scene, wanted: Wanted) -> Scene:
    """Makes the target stand as `wanted`, and reads it again to prove it; returns what it read.

    Raises PatcherError after putting everything back as `scene` shows it.
    """
    try:
        _write(place, scene, wanted)
        return _proven(place, scene, wanted)
    except BaseException as error:
        _put_back(place, scene, wanted, error)
        raise


def _write(place: Place, scene: Scene, wanted: Wanted) -> None:
    if wanted.ours and not wanted.forgets:
        _lay(place, wanted.ours)
    listed = None if same(scene.record, wanted.record) else wanted.record
    before = {part.path: part.source for part in scene.parts}
    changing = [(path, image) for path, image in wanted.sources if not same(before.get(path), image)]
    # What needs space is written before the first file changes.
    if listed:
        place.dist_info.stage(RECORD, listed)
    for path, image in changing:
        place.home(path).stage(path.name, image)
    _unchanged(place, scene)
    with _fresh_bytecode(place, wanted):
        for path, _ in changing:
            place.home(path).swap(path.name, before[path])
        if listed and scene.record:
            place.dist_info.swap(RECORD, scene.record)
    if wanted.ours and wanted.forgets:
        _lay(place, wanted.ours)
    _sweep(place, scene, {name for name, _ in wanted.ours})


@contextmanager
def _fresh_bytecode(place: Place, wanted: Wanted) -> Iterator[None]:
    """Bytecode goes before the change, so that no cut leaves old code that runs, and again after it, since another
    process may have imported the old source in between."""
    _clear(place, [path for path, _ in wanted.sources])
    yield
    _clear(place, [path for path, _ in wanted.sources])


def _clear(place: Place, paths: list[PurePosixPath]) -> None:
    for path in paths:
        bytecode.remove(place.home(path), path.name, place.caches)


def _unchanged(place: Place, scene: Scene) -> None:
    """An installer knows nothing of our lock: what it wrote since we looked must not be overwritten."""
    files = ((place.full(part.path), place.look(part.path), part.source) for part in scene.parts)
    for path, now, before in (*files, (place.dist_info.path / RECORD, place.dist_info.look(RECORD), scene.record)):
        if not same(now, before):
            raise changed(path)


def _lay(place: Place, images: tuple[tuple[str, Image], ...]) -> None:
    with place.dist_info.make(ledger.FOLDER) as folder:
        for name, image in images:
            folder.put(name, image)


def _sweep(place: Place, scene: Scene, keep: set[str]) -> None:
    """Removes our temporary files, and of the ledger's folder all that is ours but `keep`: the state file last."""
    for part in scene.parts:
        home = place.home(part.path)
        for name in home.temporaries(part.path.name):
            home.remove(name)
    place.dist_info.remove(spare(RECORD))
    if not place.dist_info.has(ledger.FOLDER):
        return
    with place.dist_info.inside(ledger.FOLDER) as folder:
        gone = [name for name in folder.names() if name not in keep and (ledger.is_ours(name) or name.endswith(SUFFIX))]
        for name in sorted(gone, key=lambda name: name == ledger.STATE):
            folder.remove(name)
        folder.sync()
    if not keep:
        place.dist_info.drop(ledger.FOLDER)


def _proven(place: Place, scene: Scene, wanted: Wanted) -> Scene:
    """Reads everything again. Raises PatcherError `not-proven` where anything is not as wanted."""
    now = read(place, scene.patch)
    for path, image in wanted.sources:
        if not same(place.look(path), image):
            raise _unproven(place, str(path))
    if not same(now.record, wanted.record):
        raise _unproven(place, RECORD)
    ours = now.ours
    if ours.keys() != dict(wanted.ours).keys() or not all(same(ours[name], image) for name, image in wanted.ours):
        raise _unproven(place, ledger.FOLDER)
    if judge(now, place) is State.INTERRUPTED:
        raise _unproven(place, "what was left")
    if moved := place.moved():
        raise changed(moved)
    return now


def _unproven(place: Place, what: str) -> PatcherError:
    message = f"Read again, {what} of {place.dist_info.path.name} is not as we wrote it."
    return PatcherError("not-proven", message, "See what else writes there, then run the command again.")


def _put_back(place: Place, scene: Scene, wanted: Wanted, error: BaseException) -> None:
    """Undoes a transaction that failed: first what the ledger held, then the files, last what was not there before.

    Where an installer was at work meanwhile, the target is what that made of it: what is left of ours goes. Any other
    failure ends this, for without the ledger's back-ups no file may become a patched one again, and as long as a file
    is patched its back-up stays.
    """
    try:
        _restore(place, scene, wanted)
    except PatcherError as second:
        code = error.code if isinstance(error, PatcherError) else "put-back-failed"
        cause = "Interrupted." if isinstance(error, KeyboardInterrupt) else error
        message = f"{cause} Putting everything back failed too: {second.message}"
        raise PatcherError(code, message, "Remove the cause, then run apply or revert: both repair this.") from error


def _restore(place: Place, scene: Scene, wanted: Wanted) -> None:
    theirs = _theirs(place, scene, wanted)
    if scene.ours and not theirs:
        _lay(place, tuple(scene.ours.items()))
    parts = {part.path: part for part in scene.parts}
    for path, image in wanted.sources:
        if _mine(place.home(path), path.name, image, parts[path].source) and not (theirs and parts[path].entry):
            with suppress(PatcherError):  # the source matters more
                _clear(place, [path])
            with _yielding():
                _return(place.home(path), path.name, image, parts[path].source)
    if scene.record and wanted.record and _mine(place.dist_info, RECORD, wanted.record, scene.record):
        with _yielding():
            _return(place.dist_info, RECORD, wanted.record, scene.record)
    theirs = theirs or _theirs(place, scene, wanted)  # it may have come only now
    _sweep(place, scene, set() if theirs else set(scene.ours))
    if theirs:
        _leave(place, scene)


@contextmanager
def _yielding() -> Iterator[None]:
    """What somebody else wrote or removed at the last instant is theirs, and no failure."""
    try:
        yield
    except PatcherError as error:
        if error.code != "target-changed":
            raise


def _theirs(place: Place, scene: Scene, wanted: Wanted) -> bool:
    """Whether an installer took RECORD away, or wrote one that knows nothing of us in the place of the one we found."""
    try:
        now = place.dist_info.look(RECORD)
    except PatcherError:
        return False
    if scene.record is None or same(now, scene.record) or same(now, wanted.record):
        return False
    return now is None or record.find(now.data, place.ours + ledger.STATE) is None


def _leave(place: Place, scene: Scene) -> None:
    """Removes the folders that an installer could not, as long as something of ours was in them."""
    site = place.folders[PurePosixPath()]
    for parent in dict.fromkeys(parent for part in scene.parts for parent in part.path.parents[:-1]):
        folder = place.folder(parent.parent)
        if folder:
            folder.drop(parent.name)
    site.drop(place.dist_info.path.name)


def _return(folder: Folder, name: str, mine: Image, before: Image) -> None:
    folder.stage(name, before)
    folder.swap(name, mine)


def _mine(folder: Folder, name: str, wanted: Image, before: Image) -> bool:
    """Whether we wrote what is there now. What another installer put there since, be it no file, is left alone."""
    try:
        return same(folder.look(name), wanted) and not same(before, wanted)
    except PatcherError as error:
        if error.code != "not-a-file":
            raise
        return False

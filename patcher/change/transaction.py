"""From how a target stands to how it is wanted: all of it, or nothing of it, and proven by reading it again.

The order of the steps is the protocol. The intent and the back-up are on disk before the file changes, each file
changes in one step, and the ledger goes last; so a cut at any instant leaves every file whole, and the content alone
says what is left to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from patcher.change import bytecode, ledger
from patcher.change.files import Image, same
from patcher.change.folder import SUFFIX, spare
from patcher.change.scene import RECORD, Place, Scene, judge, read
from patcher.errors import PatcherError
from patcher.model import State


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How the target shall stand."""

    source: Image
    record: Image | None
    """None where there is no RECORD."""
    ours: tuple[tuple[str, Image], ...] = ()
    """The files of the ledger's folder, in the order they are written: the back-up, then the state file."""


def carry(place: Place, scene: Scene, wanted: Wanted) -> Scene:
    """Makes the target stand as `wanted`, and reads it again to prove it; returns what it read.

    Raises PatcherError after putting everything back as `scene` shows it.
    """
    try:
        _write(place, scene, wanted)
        return _proven(place, wanted)
    except BaseException as error:
        _put_back(place, scene, wanted, error)
        raise


def _write(place: Place, scene: Scene, wanted: Wanted) -> None:
    if wanted.ours:
        _lay(place, wanted.ours)
    record = None if same(scene.record, wanted.record) else wanted.record
    source = None if same(scene.source, wanted.source) else wanted.source
    # What needs space is written before the first file changes.
    if record:
        place.dist_info.stage(RECORD, record)
    if source:
        place.home.stage(place.name, source)
    _unchanged(place, scene)
    with _fresh_bytecode(place):
        if source:
            place.home.commit(place.name)
        if record:
            place.dist_info.commit(RECORD)
    _sweep(place, {name for name, _ in wanted.ours})


@contextmanager
def _fresh_bytecode(place: Place) -> Iterator[None]:
    """Bytecode goes before the change, so that no cut leaves old code that runs, and again after it, since another
    process may have imported the old source in between."""
    bytecode.remove(place.home, place.name, place.caches)
    yield
    bytecode.remove(place.home, place.name, place.caches)


def _unchanged(place: Place, scene: Scene) -> None:
    """An installer knows nothing of our lock: what it wrote since we looked must not be overwritten."""
    now = place.home.look(place.name), place.dist_info.look(RECORD)
    if not (same(now[0], scene.source) and same(now[1], scene.record)):
        hint = "Let the other installer finish, then run the command again."
        raise PatcherError("target-changed", f"{place.home.path / place.name} changed while we worked on it.", hint)


def _lay(place: Place, images: tuple[tuple[str, Image], ...]) -> None:
    with place.dist_info.make(ledger.FOLDER) as folder:
        for name, image in images:
            folder.put(name, image)


def _sweep(place: Place, keep: set[str]) -> None:
    """Removes our temporary files, and of the ledger's folder all that is ours but `keep`."""
    place.home.remove(spare(place.name))
    place.dist_info.remove(spare(RECORD))
    if not place.dist_info.has(ledger.FOLDER):
        return
    with place.dist_info.inside(ledger.FOLDER) as folder:
        gone = [name for name in folder.names() if name not in keep and (ledger.is_ours(name) or name.endswith(SUFFIX))]
        for name in gone:
            folder.remove(name)
        folder.sync()
    if not keep:
        place.dist_info.drop(ledger.FOLDER)


def _proven(place: Place, wanted: Wanted) -> Scene:
    """Reads everything again. Raises PatcherError `not-proven` where anything is not as wanted."""
    scene = read(place)
    if scene is None or not same(scene.source, wanted.source):
        raise _unproven(place, place.name)
    if not same(scene.record, wanted.record):
        raise _unproven(place, RECORD)
    ours = scene.ours
    if ours.keys() != dict(wanted.ours).keys() or not all(same(ours[name], image) for name, image in wanted.ours):
        raise _unproven(place, ledger.FOLDER)
    if judge(scene, place) is State.INTERRUPTED:
        raise _unproven(place, "what was left")
    return scene


def _unproven(place: Place, what: str) -> PatcherError:
    message = f"Read again, {what} of {place.dist_info.path.name} is not as we wrote it."
    return PatcherError("not-proven", message, "See what else writes there, then run the command again.")


def _put_back(place: Place, scene: Scene, wanted: Wanted, error: BaseException) -> None:
    """Undoes a transaction that failed: first what the ledger held, then the files, last what was not there before."""
    try:
        if scene.ours:
            _lay(place, tuple(scene.ours.items()))
        if _mine(place.home.look(place.name), wanted.source, scene.source):
            with suppress(PatcherError):  # the source matters more
                bytecode.remove(place.home, place.name, place.caches)
            place.home.put(place.name, scene.source)
        if scene.record and _mine(place.dist_info.look(RECORD), wanted.record, scene.record):
            place.dist_info.put(RECORD, scene.record)
        _sweep(place, set(scene.ours))
    except PatcherError as second:
        code = error.code if isinstance(error, PatcherError) else "put-back-failed"
        message = f"{error} Putting everything back failed too: {second.message}"
        raise PatcherError(code, message, "Remove the cause, then run apply or revert: both repair this.") from error


def _mine(now: Image | None, wanted: Image | None, before: Image) -> bool:
    """Whether we wrote what is there now. What another installer wrote since is left alone."""
    return same(now, wanted) and not same(before, wanted)

"""One patch in one target as it stands: the file, RECORD, the ledger, what a cut run left; and the state they give."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from patcher.change import bytecode, ledger, record
from patcher.change.files import Image, digest
from patcher.change.folder import SUFFIX, Folder, spare
from patcher.change.ledger import Entry, Ledger
from patcher.change.lock import lock
from patcher.errors import PatcherError
from patcher.model import Patch, State, Target
from patcher.rewrite import Recognition, recognise

RECORD = "RECORD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A patch's file and the distribution's metadata, as open folders. While it is open, the target is locked."""

    target: Target
    patch: Patch
    home: Folder
    """The folder of the patched file."""
    dist_info: Folder
    caches: tuple[Path, ...]
    """Folders that hold bytecode apart from its source."""

    @property
    def name(self) -> str:
        """The patched file's name in `home`."""
        return self.patch.file.name

    @property
    def ours(self) -> str:
        """The folder of our ledger as RECORD writes it, with its slash."""
        return f"{self.dist_info.path.name}/{ledger.FOLDER}/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was read under the lock."""

    source: Image
    recognition: Recognition
    record: Image | None
    state_file: Image | None
    known: Ledger | None
    """What an earlier run meant, where its state file is there."""
    backups: tuple[tuple[str, Image], ...]
    """Every back-up that lies in the ledger's folder, by name."""
    held: tuple[str, ...] | None
    """All names in the ledger's folder; None where there is no such folder."""
    debris: bool
    """Whether a cut run left temporary files, or back-ups that no ledger names."""

    @property
    def entry(self) -> Entry | None:
        """What the ledger says of the file."""
        return self.known.files[0] if self.known else None

    @property
    def sha(self) -> str:
        """The digest of the file."""
        return digest(self.source.data)

    @property
    def ours(self) -> dict[str, Image]:
        """Every file of ours in the ledger's folder: the back-ups, then the state file."""
        return {**dict(self.backups), **({ledger.STATE: self.state_file} if self.state_file else {})}

    @property
    def backup(self) -> Image | None:
        """The back-up that the ledger names, if it is there and its content is what its name says."""
        image = dict(self.backups).get(self.entry.backup) if self.entry else None
        return image if image and self.entry and digest(image.data) == self.entry.before else None


@contextmanager
def opened(target: Target, patch: Patch, *, alone: bool, seconds: float) -> Iterator[Place | None]:
    """The place of `patch` in `target`, locked `alone` or shared; None where the release has no such folder.

    Raises PatcherError: `linked-folder` where a folder of the package, or the dist-info, is a link: what is behind it
    may belong to other environments; and what `lock` raises.
    """
    with ExitStack() as stack:
        site = stack.enter_context(Folder(target.site_packages))
        beside = stack.enter_context(Folder(target.dist_info.parent))
        dist_info = stack.enter_context(beside.inside(target.dist_info.name))
        stack.enter_context(lock(dist_info, alone=alone, seconds=seconds))
        home = site
        for name in patch.file.parent.parts:
            if not home.has(name):
                yield None
                return
            home = stack.enter_context(home.inside(name))
        caches = bytecode.prefixes(target.pycache_prefix, os.environ)
        yield Place(target=target, patch=patch, home=home, dist_info=dist_info, caches=caches)


def read(place: Place) -> Scene | None:
    """Everything about the patch, read now; None where the release has no such file.

    Raises PatcherError: `file-missing` where RECORD or our ledger knows the file and it is not there; what `recognise`
    and `ledger.decode` raise.
    """
    source, listed = place.home.look(place.name), place.dist_info.look(RECORD)
    held, kept = _held(place)
    state_file = kept.pop(ledger.STATE, None)
    known = ledger.decode(state_file.data, place.dist_info.path / ledger.FOLDER / ledger.STATE) if state_file else None
    if source is None:
        if known or (listed and record.find(listed.data, str(place.patch.file)) is not None):
            raise PatcherError("file-missing", f"{place.home.path / place.name} is missing.", "Reinstall transformers.")
        return None
    _check(known, place)
    backups = tuple(kept.items())
    return Scene(
        source=source,
        recognition=recognise(source.data, place.patch),
        record=listed,
        state_file=state_file,
        known=known,
        backups=backups,
        held=held,
        debris=_debris(place, source, known, held, backups),
    )


def judge(scene: Scene, place: Place) -> State:
    """The state, from what the files hold: the ledger only says which content was meant."""
    body, entry = scene.recognition.state, scene.entry
    if entry is None:
        return State.INTERRUPTED if scene.debris else body
    if scene.sha == entry.before:
        return State.INTERRUPTED
    if scene.sha == entry.after and body is State.PATCHED:
        return State.PATCHED if settled(scene, place) else State.INTERRUPTED
    return body if body is State.UNPATCHED else State.MODIFIED


def settled(scene: Scene, place: Place) -> bool:
    """Whether all that should follow the file does: RECORD is right, and a cut run left nothing."""
    if scene.debris or not (scene.record and scene.entry and scene.state_file):
        return not scene.debris
    listed, path, state = scene.record.data, str(place.patch.file), place.ours + ledger.STATE
    return (
        record.find(listed, path) in (None, record.row(path, scene.source.data))
        and record.find(listed, state) == record.row(state, scene.state_file.data)
        and record.find(listed, place.ours + scene.entry.backup) is not None
    )


def _held(place: Place) -> tuple[tuple[str, ...] | None, dict[str, Image]]:
    """All names in the ledger's folder, and the images of those that we wrote there."""
    if not place.dist_info.has(ledger.FOLDER):
        return None, {}
    with place.dist_info.inside(ledger.FOLDER) as folder:
        names = folder.names()
        looks = {name: folder.look(name) for name in names if ledger.is_ours(name)}
    return names, {name: image for name, image in looks.items() if image is not None}


def _check(known: Ledger | None, place: Place) -> None:
    if known and (len(known.files) > 1 or known.files[0].path != str(place.patch.file)):
        files = ", ".join(entry.path for entry in known.files)
        message = f"{place.dist_info.path / ledger.FOLDER} tells of other files than {place.patch.file}: {files}."
        raise PatcherError("state-newer", message, "Use the mps-patcher that applied them.")


def _debris(
    place: Place,
    source: Image,
    known: Ledger | None,
    held: tuple[str, ...] | None,
    backups: tuple[tuple[str, Image], ...],
) -> bool:
    """Whether a cut run left something. A back-up that could be the only copy of something is never debris."""
    stray = {name for name, _ in backups} - {entry.backup for entry in (known.files if known else ())}
    if known is None and stray - {ledger.backup_name(digest(source.data))}:
        raise ledger.damaged(f"{place.dist_info.path / ledger.FOLDER} holds a back-up but no {ledger.STATE}.")
    temporary = place.home.has(spare(place.name)) or place.dist_info.has(spare(RECORD))
    inside = any(name.endswith(SUFFIX) for name in held or ())
    return bool(temporary or inside or stray or (known is None and held == ()))

"""One patch in one target as it stands: its files, RECORD, the ledger, what a cut run left; and the state they give."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from patcher.change import ledger, record, scan
from patcher.change.files import Image, digest
from patcher.change.folder import SUFFIX, spare
from patcher.change.ledger import Entry, Ledger
from patcher.change.place import Place
from patcher.edits import Finding, find, mention
from patcher.errors import PatcherError
from patcher.model import CallsPatch, Patch, State

RECORD = "RECORD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file of a patch."""

    path: PurePosixPath
    """Relative to site-packages."""
    source: Image
    sha: str
    """The digest of the file."""
    finding: Finding
    entry: Entry | None
    """What the ledger says of the file."""
    backup: Image | None
    """The back-up that the ledger names, if it is there and its content is what its name says."""
    listed: bool
    """Whether RECORD lists the file with this content."""

    @property
    def pending(self) -> bool:
        """Whether the file is to be changed, by an intent that is written down, and is not yet."""
        return self.entry is not None and self.sha == self.entry.before

    @property
    def done(self) -> bool:
        """Whether the file is as we left it, be it in another version of ours."""
        return self.entry is not None and self.sha in (self.entry.after, self.entry.former)

    @property
    def ours(self) -> bool:
        """Whether the file holds what the patch makes of it, even if it was edited elsewhere since."""
        return State.PATCHED in (self.state, self.finding.state)

    @property
    def replaced(self) -> bool:
        """Whether an installer put a file of its own there since, which the ledger knows nothing of."""
        pristine = self.finding.state is State.UNPATCHED or (self.finding.state is State.ABSENT and self.listed)
        return pristine and not self.done

    @property
    def state(self) -> State:
        """What the file says, and whether it is as it was left."""
        if self.pending:
            return State.INTERRUPTED
        if self.done:
            return State.PATCHED if self.finding.complete else State.OUTDATED
        if self.entry and not self.replaced:
            return State.MODIFIED
        return self.finding.state


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What was read of one patch under the lock."""

    patch: Patch
    parts: tuple[Part, ...]
    """The files that the patch is about; none where the release has none."""
    elsewhere: PurePosixPath | None
    """Another file that defines the patch's function, where its own does not."""
    record: Image | None
    state_file: Image | None
    known: Ledger | None
    """What earlier runs meant for the whole target, where the state file is there."""
    backups: tuple[tuple[str, Image], ...]
    """Every back-up that lies in the ledger's folder, by name."""
    debris: bool
    """Whether a cut run left temporary files, or back-ups that no ledger names."""

    @property
    def ours(self) -> dict[str, Image]:
        """Every file of ours in the ledger's folder: the state file, then the back-ups."""
        return {**({ledger.STATE: self.state_file} if self.state_file else {}), **dict(self.backups)}

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What the ledger says of this patch's files."""
        return tuple(part.entry for part in self.parts if part.entry)

    @property
    def others(self) -> tuple[Entry, ...]:
        """What the ledger says of other patches' files."""
        return tuple(
            entry for entry in (self.known.files if self.known else ()) if self.patch.name not in entry.patches
        )


def read(place: Place, patch: Patch) -> Scene:
    """Everything about the patch, read now.

    Raises PatcherError: `linked-folder` where a folder of a file is a link; `file-missing` where RECORD or our ledger
    knows a file and it is not there; what `find` and `ledger.decode` raise.
    """
    listed = place.dist_info.look(RECORD)
    held, kept = _held(place)
    state_file = kept.pop(ledger.STATE, None)
    known = ledger.decode(state_file.data, place.dist_info.path / ledger.FOLDER / ledger.STATE) if state_file else None
    _check(known, patch, place)
    parts = tuple(
        part for path in _paths(place, patch, known) if (part := _part(place, patch, path, known, listed, kept))
    )
    return Scene(
        patch=patch,
        parts=tuple(part for part in parts if _matters(part, patch)),
        elsewhere=_elsewhere(place, patch, parts),
        record=listed,
        state_file=state_file,
        known=known,
        backups=tuple(kept.items()),
        debris=_debris(place, parts, known, held, kept),
    )


def judge(scene: Scene, place: Place) -> State:
    """The state, from what the files hold: the ledger only says which content was meant."""
    states = {part.state for part in scene.parts}
    if State.INTERRUPTED in states or (scene.debris and not scene.entries):
        return State.INTERRUPTED
    for state in (State.MODIFIED, State.OUTDATED, State.UNPATCHED, State.ABSENT):
        if state in states:
            return state
    if not states:
        return State.ABSENT
    return State.PATCHED if settled(scene, place) else State.INTERRUPTED


def settled(scene: Scene, place: Place) -> bool:
    """Whether all that should follow the files does: RECORD is right, and a cut run left nothing."""
    if scene.debris or not (scene.record and scene.entries and scene.state_file):
        return not scene.debris
    listed, state = scene.record.data, place.ours + ledger.STATE
    return record.find(listed, state) == record.row(state, scene.state_file.data) and all(
        record.find(listed, str(part.path)) in (None, record.row(str(part.path), part.source.data))
        and (part.entry is None or record.find(listed, place.ours + part.entry.backup) is not None)
        for part in scene.parts
    )


def _paths(place: Place, patch: Patch, known: Ledger | None) -> tuple[PurePosixPath, ...]:
    pattern = mention(patch)
    if pattern is None:
        return (patch.file,)
    found = scan.changeable(place.target.site_packages, place.mentioning(patch.file.parts[0], pattern), patch)
    mentioning = set(found) - {patch.file}
    meant = {PurePosixPath(entry.path) for entry in (known.files if known else ()) if patch.name in entry.patches}
    return tuple(sorted(mentioning | meant))


def _part(
    place: Place, patch: Patch, path: PurePosixPath, known: Ledger | None, listed: Image | None, kept: dict[str, Image]
) -> Part | None:
    source = place.look(path)
    entry = next((entry for entry in (known.files if known else ()) if entry.path == str(path)), None)
    if source is None:
        if entry or (listed and record.find(listed.data, str(path)) is not None):
            raise PatcherError("file-missing", f"{place.full(path)} is missing.", "Reinstall transformers.")
        return None
    image = kept.get(entry.backup) if entry else None
    sound = image if image and entry and _sound(image, entry, source) else None
    return Part(
        path=path,
        source=source,
        sha=digest(source.data),
        finding=_finding(source.data, path, patch, entry),
        entry=entry,
        backup=sound,
        listed=listed is not None and record.find(listed.data, str(path)) == record.row(str(path), source.data),
    )


def _sound(backup: Image, entry: Entry, source: Image) -> bool:
    """Whether the back-up is what its name says, and no private file of another user that this would publish."""
    private = backup.uid != source.uid and not backup.mode & 0o004
    return digest(backup.data) == entry.before and backup.link is None and not private


def _finding(source: bytes, path: PurePosixPath, patch: Patch, entry: Entry | None) -> Finding:
    """What the file says; one of ours that Python cannot read any more was edited, and can be put back by force."""
    try:
        return find(source, path, patch)
    except PatcherError as error:
        if entry is None:
            raise
        return Finding(state=State.MODIFIED, complete=False, detail=error.message.rstrip("."))


def _matters(part: Part, patch: Patch) -> bool:
    return not isinstance(patch, CallsPatch) or part.entry is not None or part.finding.state is not State.ABSENT


def _elsewhere(place: Place, patch: Patch, parts: tuple[Part, ...]) -> PurePosixPath | None:
    if isinstance(patch, CallsPatch) or (parts and parts[0].finding.state is not State.ABSENT):
        return None
    name = patch.function.encode()
    behind = b"|".join(rb"(?<=^%s %s)" % (word, name) for word in (b"def", b"class", b"async def"))
    pattern = rb"(?m)%s\b(?:%s)" % (name, behind)  # begun with the name itself, it is found ten times as fast
    return next(iter(place.mentioning(patch.file.parts[0], pattern)), None)


def _held(place: Place) -> tuple[tuple[str, ...] | None, dict[str, Image]]:
    """All names in the ledger's folder, and the images of those that we wrote there."""
    if not place.dist_info.has(ledger.FOLDER):
        return None, {}
    with place.dist_info.inside(ledger.FOLDER) as folder:
        names = folder.names()
        looks = {name: folder.look(name) for name in names if ledger.is_ours(name)}
    return names, {name: image for name, image in looks.items() if image is not None}


def _check(known: Ledger | None, patch: Patch, place: Place) -> None:
    """An entry of the patch's own file is the patch's, and it has no other file; one of calls has those around it."""
    for entry in known.files if known else ():
        path, its = PurePosixPath(entry.path), patch.name in entry.patches
        around = path.parts[0] == patch.file.parts[0] and path != patch.file
        if (around or not its) if isinstance(patch, CallsPatch) else ((path == patch.file) == its):
            continue
        message = f"{place.dist_info.path / ledger.FOLDER} tells of {', '.join(entry.patches)} in {entry.path}."
        raise PatcherError("state-newer", message, "Use the mps-patcher that applied that.")


def _debris(
    place: Place, parts: tuple[Part, ...], known: Ledger | None, held: tuple[str, ...] | None, kept: dict[str, Image]
) -> bool:
    """Whether a cut run left something. A back-up that could be the only copy of something is never debris."""
    stray = set(kept) - {entry.backup for entry in (known.files if known else ())}
    if known is None and stray - {ledger.backup_name(part.sha) for part in parts}:
        raise ledger.damaged(f"{place.dist_info.path / ledger.FOLDER} holds a back-up but no {ledger.STATE}.")
    temporary = any(place.home(part.path).temporaries(part.path.name) for part in parts)
    inside = any(name.endswith(SUFFIX) for name in held or ())
    return bool(temporary or place.dist_info.has(spare(RECORD)) or inside or stray or (known is None and held == ()))

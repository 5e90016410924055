"""What a command would do to one patch in one target: how it is wanted to stand. Nothing is written here."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from patcher.change import told
from patcher.change.files import Image, digest
from patcher.change.folder import KEPT
from patcher.change.ledger import Entry
from patcher.change.place import Place
from patcher.change.scene import Part, Scene, judge, settled
from patcher.change.standing import cleared, standing
from patcher.change.transaction import Wanted
from patcher.edits import edit
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State

REINSTALL = "Reinstall transformers of the same version: pip install --force-reinstall --no-deps."


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, and what the user is told of it."""

    wanted: Wanted | None
    """None where there is nothing to do."""
    note: str
    keep: tuple[tuple[PurePosixPath, Image], ...] = ()
    """Copies to leave for the user, below site-packages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Why a patch is to be applied: not at all, for itself, or for another one that needs it."""

    wanted: bool
    brought_by: str | None = None
    """The patch for whose sake alone it is."""


def to_apply(place: Place, scene: Scene, asked: Asked, *, force: bool, backup: bool = True) -> Plan:
    """How the target stands once the patch is applied. Nothing is to be done where it is, or where it is not asked for.

    Without `backup` only the files of the patch change, unless the target has a ledger already, which goes on.
    Raises PatcherError: `function-absent`; `unknown-body`, `unknown-call` and `edited-file` unless `force`;
    `no-backup` where an outdated file cannot be made anew; what `edit` raises.
    """
    if scene.parts and all(part.ours for part in scene.parts):
        return _patched(place, scene, asked)
    if not asked.wanted and not any(part.done for part in scene.parts):
        return Plan(wanted=_cleaned(place, scene), note="Not needed here, so nothing was patched.")
    if judge(scene, place) is State.ABSENT:
        if isinstance(scene.patch, CallsPatch):
            return Plan(wanted=None, note=f"{told.absent(place, scene)} There is nothing to do.")
        _require_addable(place, scene, scene.patch)
    fresh = [made for part in scene.parts if (made := _fresh(place, scene, part, asked, force=force))]
    if not fresh:
        return Plan(wanted=None, note=f"There is no call that could be redirected. {told.remark(scene, place) or ''}")
    sources = tuple((PurePosixPath(entry.path), image) for image, entry in fresh)
    backup = backup or scene.known is not None
    kept = standing(place, scene, sources, [entry for _, entry in fresh])
    wanted = kept if backup else Wanted(sources=sources, record=scene.record)
    # The back-up of the time before an edit that --force overrides may be the only copy
    overridden = [part for part in scene.parts if part.state is State.MODIFIED and not part.ours]
    keep = _copies(place, ((part.path, part.backup) for part in overridden if part.backup))
    return Plan(
        wanted=wanted, note=told.applied(scene, [place.full(path) for path, _ in keep], backup=backup), keep=keep
    )


def to_revert(place: Place, scene: Scene, *, force: bool) -> Plan:
    """How the target stands once the patch is taken back. Nothing is to be done where it was not applied.

    Raises PatcherError: `no-backup`; `backup-damaged`; `edited-file` unless `force`, which keeps a copy.
    """
    for part in scene.parts:
        if part.entry is None and part.state in (State.PATCHED, State.OUTDATED):
            raise _without_backup(place, part)
    ours = [part for part in scene.parts if part.entry and not part.pending and not part.replaced]
    if not ours:
        cleaned = _cleaned(place, scene)
        note = "Cleared away what an earlier run left." if cleaned else "It is not patched by us: nothing to revert."
        return Plan(wanted=cleaned, note=note)
    edited = [part for part in ours if not part.done]
    if edited and not force:
        raise _edited(place, edited[0], "revert --force puts the original back; it keeps a copy of the edited file.")
    wanted = standing(place, scene, tuple((part.path, _original(place, part)) for part in ours), [])
    keep = _copies(place, ((part.path, part.source) for part in edited))
    return Plan(wanted=wanted, note=told.reverted(len(ours), [place.full(path) for path, _ in keep]), keep=keep)


def _patched(place: Place, scene: Scene, asked: Asked) -> Plan:
    """Our work is there: at most an earlier run has left something to finish."""
    if not all(part.entry for part in scene.parts):
        wanted = cleared(place, scene) if scene.debris and not scene.entries else None
        return Plan(wanted=wanted, note="Already patched, but there is no back-up: revert cannot undo it.")
    if not all(part.done for part in scene.parts):
        return Plan(wanted=None, note="It is patched; what was edited since is left as it is.")
    entries = [_carried_on(entry, asked) for entry in scene.entries]
    wanted = standing(place, scene, tuple((part.path, part.source) for part in scene.parts), entries)
    if not settled(scene, place):
        return Plan(wanted=wanted, note="Already patched; finished what an earlier run had left.")
    if entries != list(scene.entries):
        return Plan(wanted=wanted, note="Already patched; from now on for its own sake.")
    lost = (
        "" if all(part.backup for part in scene.parts) else " The back-up is missing or damaged: revert cannot undo it."
    )
    return Plan(wanted=None, note=f"Already patched: nothing to do.{lost}")


def _carried_on(entry: Entry, asked: Asked) -> Entry:
    """The entry; once its patch is asked for by itself, nobody brought it along."""
    return replace(entry, brought_by=None) if asked.wanted and asked.brought_by is None else entry


def _require_addable(place: Place, scene: Scene, patch: Patch) -> None:
    """Only to a release that is known to have none, and of which no file defines it, is the function added."""
    if not scene.parts:
        raise PatcherError("function-absent", told.absent(place, scene), "There is nothing here to patch.")
    if scene.elsewhere or not (isinstance(patch, FunctionPatch) and patch.without(place.target.version)):
        hint = told.report(place.target.version, scene.elsewhere or patch.file)
        raise PatcherError("function-absent", told.absent(place, scene), hint)


def _fresh(place: Place, scene: Scene, part: Part, asked: Asked, *, force: bool) -> tuple[Image, Entry] | None:
    """The file with the patch in it, and what the ledger shall say of it; None where there is nothing to change."""
    if part.entry and part.ours:
        return part.source, _carried_on(part.entry, asked)
    if part.state is State.MODIFIED and part.entry and not force:
        raise _edited(place, part, "apply --force patches it all the same; it keeps the original beside the file.")
    base = _original(place, part) if part.state is State.OUTDATED else part.source
    # An intent that names this very content was agreed to when it was written down
    agreed = force or part.pending or part.state is State.OUTDATED
    new = edit(base.data, part.path, scene.patch, force=agreed)
    if new == base.data:
        return None
    image = replace(part.source, data=new, link=None, mtime_ns=_later(place, part.source, new))
    return image, _meant(place, scene, part, base, new, asked)


def _meant(place: Place, scene: Scene, part: Part, base: Image, new: bytes, asked: Asked) -> Entry:
    """What the ledger shall say of a file that was `base` and becomes `new`."""
    return Entry(
        path=str(part.path),
        patches=(scene.patch.name,),
        before=digest(base.data),
        after=digest(new),
        mode=base.mode,
        mtime_ns=place.no_later(base.mtime_ns or 0),
        link=base.link,
        brought_by=part.entry.brought_by if part.entry and asked.brought_by else asked.brought_by,
        former=part.sha if part.state is State.OUTDATED else None,
    )


def _cleaned(place: Place, scene: Scene) -> Wanted | None:
    """The target without what an earlier run left, where that is of no use any more."""
    stale = scene.entries and all(part.pending or part.replaced for part in scene.parts if part.entry)
    return cleared(place, scene) if stale or (scene.debris and not scene.entries) else None


def _original(place: Place, part: Part) -> Image:
    if part.entry is None:
        raise _without_backup(place, part)
    if part.backup is None:
        cause = f"The back-up of {place.full(part.path)} is missing or damaged."
        raise PatcherError("backup-damaged", cause, REINSTALL)
    link = part.entry.link
    linked = link is not None and place.home(part.path).beyond(link) == part.backup.data
    return Image(
        data=part.backup.data,
        mode=_tamed(part.entry.mode, part.source, part.backup),
        uid=part.source.uid,
        gid=part.source.gid,
        mtime_ns=part.entry.mtime_ns,
        link=link if linked else None,
        attributes=part.source.attributes,
    )


def _tamed(mode: int, now: Image, backup: Image) -> int:
    """A mode that a state file tells of, which others may write: no set-uid bit comes of it that is not there now, and
    nobody may read or write it who may not the back-up."""
    return mode & (0o7000 & now.mode | 0o711 | backup.mode)


def _copies(place: Place, images: Iterable[tuple[PurePosixPath, Image]]) -> tuple[tuple[PurePosixPath, Image], ...]:
    """The images under names beside the files that no import and no installer takes for its own; never set-uid."""
    kept = ((path, replace(place.dated(image), link=None, mode=image.mode & 0o777)) for path, image in images)
    return tuple((path.with_name(f"{path.name}{KEPT}{digest(image.data)[:12]}"), image) for path, image in kept)


def _later(place: Place, old: Image, new: bytes) -> int | None:
    """A time that differs in whole seconds where the size is the same: by those two Python tells stale bytecode."""
    if len(new) != len(old.data) or old.mtime_ns is None:
        return None
    return place.no_later(max(time.time_ns(), old.mtime_ns + 10**9))


def _without_backup(place: Place, part: Part) -> PatcherError:
    return PatcherError("no-backup", f"{place.full(part.path)} is patched, but has no back-up.", REINSTALL)


def _edited(place: Place, part: Part, hint: str) -> PatcherError:
    path: Path = place.full(part.path)
    return PatcherError("edited-file", f"{path} was edited since it was patched.", hint)

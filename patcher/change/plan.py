"""What a command would do to one patch in one target: how it is wanted to stand. Nothing is written here."""

from __future__ import annotations

import ast
import time
from dataclasses import dataclass, replace

from patcher.change import ledger, record
from patcher.change.files import Image, digest
from patcher.change.ledger import Entry, Ledger, Record
from patcher.change.scene import Place, Scene, settled
from patcher.change.transaction import Wanted
from patcher.errors import PatcherError
from patcher.model import State
from patcher.rewrite import transplant


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done, and what the user is told of it."""

    wanted: Wanted | None
    """None where there is nothing to do."""
    note: str
    keep: tuple[str, Image] | None = None
    """A copy to leave beside the file, for the user, under this name."""


def to_apply(place: Place, scene: Scene, *, needed: bool, force: bool) -> Plan:
    """How the target stands once the patch is applied. Nothing is to be done where it is, or where it is not `needed`.

    Raises PatcherError: `unknown-body` and `edited-file` unless `force`; what `transplant` raises.
    """
    if scene.recognition.state is State.PATCHED:
        return _patched(place, scene)
    if not needed:
        return Plan(wanted=_cleaned(place, scene), note="Not needed here, so nothing was patched.")
    entry = scene.entry
    if entry and scene.sha == entry.after:
        cause = f"{place.home.path / place.name} was patched by another version of mps-patcher."
        raise PatcherError("other-version", cause, "Take that back first: mps-patcher revert, then mps-patcher apply.")
    if scene.recognition.state is State.MODIFIED and entry and scene.sha != entry.before and not force:
        raise _edited(place, "apply --force puts our body in all the same; it keeps the original beside the file.")
    # An intent that names this very content was agreed to when it was written down.
    agreed = force or (entry is not None and scene.sha == entry.before)
    return _fresh(place, scene, transplant(scene.source.data, place.patch, force=agreed))


def to_revert(place: Place, scene: Scene, *, force: bool) -> Plan:
    """How the target stands once the patch is taken back. Nothing is to be done where it was not applied.

    Raises PatcherError: `no-backup`; `backup-damaged`; `edited-file` unless `force`, which keeps a copy.
    """
    body, entry = scene.recognition.state, scene.entry
    if entry is None and body is State.PATCHED:
        hint = "Reinstall transformers of the same version: pip install --force-reinstall --no-deps."
        raise PatcherError("no-backup", f"{place.home.path / place.name} is patched, but has no back-up.", hint)
    if entry is None or scene.sha == entry.before or (scene.sha != entry.after and _replaced(scene)):
        cleaned = _cleaned(place, scene)
        note = "Cleared away what an earlier run left." if cleaned else "It is not patched by us: nothing to revert."
        return Plan(wanted=cleaned, note=note)
    if scene.sha == entry.after:
        return Plan(wanted=_original(place, scene, entry), note="The file is again as it was before the patch.")
    if not force:
        raise _edited(place, "revert --force puts the original back; it keeps a copy of the edited file beside it.")
    name, copy = _copy(place, scene.source)
    note = f"The file is again as it was before the patch; the edited one is kept as {place.home.path / name}."
    return Plan(wanted=_original(place, scene, entry), note=note, keep=(name, copy))


def _patched(place: Place, scene: Scene) -> Plan:
    """Our body is there: at most an earlier run has left something to finish."""
    entry = scene.entry
    if entry is None:
        wanted = _forgotten(place, scene) if scene.debris else None
        return Plan(wanted=wanted, note="Already patched, but there is no back-up: revert cannot undo it.")
    if scene.sha != entry.after:
        return Plan(wanted=None, note="Our body is there; the file was edited since, which is left as it is.")
    if settled(scene, place):
        lost = "" if scene.backup else " The back-up is missing or damaged: revert cannot undo it."
        return Plan(wanted=None, note=f"Already patched: nothing to do.{lost}")
    held = {name: image for name, image in scene.ours.items() if name in (entry.backup, ledger.STATE)}
    wanted = Wanted(source=scene.source, record=_following(place, scene, scene.source, held), ours=tuple(held.items()))
    return Plan(wanted=wanted, note="Already patched; finished what an earlier run had left.")


def _fresh(place: Place, scene: Scene, new: bytes) -> Plan:
    """Puts `new` in the file's place. What an older ledger says is taken back in the same step."""
    source = replace(scene.source, data=new, link=None, mtime_ns=_later(scene.source, new))
    kept = replace(scene.source, link=None, mode=scene.source.mode & 0o777)
    written = ledger.encode(_meant(place, scene, new))
    state = replace(kept, data=written, mode=kept.mode & 0o666, mtime_ns=None)
    ours = {ledger.backup_name(scene.sha): kept, ledger.STATE: state}
    wanted = Wanted(source=source, record=_following(place, scene, source, ours), ours=tuple(ours.items()))
    former = scene.backup if scene.entry and scene.sha != scene.entry.before and not _replaced(scene) else None
    keep = _copy(place, former) if former else None
    return Plan(wanted=wanted, note=_told(place, scene, keep), keep=keep)


def _told(place: Place, scene: Scene, keep: tuple[str, Image] | None) -> str:
    found = f"body {scene.recognition.body}"
    if scene.recognition.state is State.MODIFIED:
        found = f"an unknown body of {_lines(scene.source.data, place.patch.function)} lines"
    told = [f"Replaced {found}; the back-up holds the file as it was (sha256 {scene.sha[:12]})."]
    if keep:
        told.append(f"The back-up of the time before that is kept as {place.home.path / keep[0]}.")
    if scene.record is None:
        told.append("There is no RECORD to keep up to date.")
    return " ".join(told)


def _lines(source: bytes, function: str) -> int:
    named = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == function)
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in named)


def _meant(place: Place, scene: Scene, new: bytes) -> Ledger:
    entry = Entry(
        path=str(place.patch.file),
        patches=(place.patch.name,),
        before=scene.sha,
        after=digest(new),
        mode=scene.source.mode,
        mtime_ns=scene.source.mtime_ns or 0,
        link=scene.source.link,
    )
    listed = _former_record(place, scene)
    if listed is None or scene.record is None:
        return Ledger(files=(entry,), record=None)
    row = record.find(listed.data, entry.path)
    rows = () if row is None else ((entry.path, row),)
    when = listed.mtime_ns if listed.mtime_ns is not None else scene.record.mtime_ns or 0
    before = Record(before=digest(listed.data), rows=rows, mode=listed.mode, mtime_ns=when, link=listed.link)
    return Ledger(files=(entry,), record=before)


def _following(place: Place, scene: Scene, source: Image, ours: dict[str, Image]) -> Image | None:
    """RECORD as it must be with this source and these files of ours."""
    former = _former_record(place, scene)
    if former is None or scene.record is None:
        return None
    path = str(place.patch.file)
    added = {place.ours + name: image.data for name, image in ours.items()}
    data = record.follow(former.data, (path, record.row(path, source.data)), place.ours, added)
    return scene.record if data == scene.record.data else replace(former, data=data, link=None, mtime_ns=None)


def _cleaned(place: Place, scene: Scene) -> Wanted | None:
    """The target without what an earlier run left, where that is of no use any more."""
    entry = scene.entry
    stale = entry is not None and (scene.sha == entry.before or (scene.sha != entry.after and _replaced(scene)))
    return _forgotten(place, scene) if stale or (entry is None and scene.debris) else None


def _replaced(scene: Scene) -> bool:
    """Whether an installer put a file of its own there since, which the ledger knows nothing of."""
    return scene.recognition.state is State.UNPATCHED


def _forgotten(place: Place, scene: Scene) -> Wanted:
    """The file as it is, RECORD as it was, and nothing of ours."""
    return Wanted(source=scene.source, record=_former_record(place, scene))


def _original(place: Place, scene: Scene, entry: Entry) -> Wanted:
    if scene.backup is None:
        message = f"The back-up of {place.name} in {place.dist_info.path / ledger.FOLDER} is missing or damaged."
        hint = "Reinstall transformers of the same version: pip install --force-reinstall --no-deps."
        raise PatcherError("backup-damaged", message, hint)
    linked = entry.link is not None and place.home.beyond(entry.link) == scene.backup.data
    source = Image(
        data=scene.backup.data,
        mode=entry.mode,
        uid=scene.source.uid,
        gid=scene.source.gid,
        mtime_ns=entry.mtime_ns,
        link=entry.link if linked else None,
    )
    return Wanted(source=source, record=_former_record(place, scene))


def _former_record(place: Place, scene: Scene) -> Image | None:
    """RECORD without us: exactly what it was where nobody else wrote to it since, with its time and its link."""
    if scene.record is None:
        return None
    path = str(place.patch.file)
    before = scene.known.record if scene.known else None
    data = record.restore(scene.record.data, (path, dict(before.rows).get(path) if before else None), place.ours)
    if data == scene.record.data:
        return scene.record
    if before is None or digest(data) != before.before:
        return replace(scene.record, data=data, link=None, mtime_ns=None)
    linked = before.link is not None and place.dist_info.beyond(before.link) == data
    link = before.link if linked else None
    return replace(scene.record, data=data, mode=before.mode, mtime_ns=before.mtime_ns, link=link)


def _copy(place: Place, image: Image) -> tuple[str, Image]:
    """The image under a name beside the file that no import and no installer takes for its own."""
    return f"{place.name}.kept-{digest(image.data)[:12]}", replace(image, link=None)


def _later(old: Image, new: bytes) -> int | None:
    """A time that differs in whole seconds where the size is the same: by those two Python tells stale bytecode."""
    if len(new) != len(old.data) or old.mtime_ns is None:
        return None
    return max(time.time_ns(), old.mtime_ns + 10**9)


def _edited(place: Place, hint: str) -> PatcherError:
    return PatcherError("edited-file", f"{place.home.path / place.name} was edited since it was patched.", hint)

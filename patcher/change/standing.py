"""The whole of a wanted target from the part that a patch wants: its files, and with them RECORD and the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from patcher.change import ledger, record
from patcher.change.files import Image, digest
from patcher.change.ledger import Entry, Ledger, Record
from patcher.change.place import Place
from patcher.change.scene import Scene
from patcher.change.transaction import Wanted


def standing(
    place: Place, scene: Scene, sources: tuple[tuple[PurePosixPath, Image], ...], entries: Sequence[Entry]
) -> Wanted:
    """The target with these files, and with `entries` for this patch in the ledger; what other patches did stays."""
    former = _former_record(place, scene)
    kept = tuple(sorted((*scene.others, *entries), key=lambda entry: entry.path))
    if not kept:
        return Wanted(sources=sources, record=former)
    ours = {
        ledger.STATE: _state_file(place, scene, sources, kept, former),
        **_backups(place, scene, kept, dict(sources)),
    }
    return Wanted(
        sources=sources,
        record=_following(place, scene, former, kept, dict(sources), ours),
        ours=tuple(ours.items()),
        forgets={entry.path for entry in scene.entries} > {entry.path for entry in entries},
    )


def cleared(place: Place, scene: Scene) -> Wanted:
    """The files as they are, RECORD as it was, and nothing of this patch."""
    return standing(place, scene, tuple((part.path, part.source) for part in scene.parts), [])


def _state_file(
    place: Place,
    scene: Scene,
    sources: tuple[tuple[PurePosixPath, Image], ...],
    entries: tuple[Entry, ...],
    former: Image | None,
) -> Image:
    if scene.state_file and scene.known and scene.known.files == entries:
        return scene.state_file  # what RECORD was like before us is known best from the first time
    like = scene.state_file or sources[0][1]
    known = Ledger(files=entries, record=_as_found(place, scene, former, entries))
    return replace(like, data=ledger.encode(known), mode=like.mode & 0o777, mtime_ns=None, link=None)


def _backups(
    place: Place, scene: Scene, entries: Sequence[Entry], sources: dict[PurePosixPath, Image]
) -> dict[str, Image]:
    """What each entry's back-up holds: the one that is there, or the file before it changes."""
    held, parts = dict(scene.backups), {part.path: part for part in scene.parts}
    found: dict[str, Image] = {}
    for entry in entries:
        part = parts.get(PurePosixPath(entry.path))
        if part and part.sha == entry.before and PurePosixPath(entry.path) in sources:
            found[entry.backup] = replace(place.dated(part.source), link=None, mode=part.source.mode & 0o777)
        elif entry.backup in held:
            found[entry.backup] = held[entry.backup]
    return found


def _as_found(place: Place, scene: Scene, former: Image | None, entries: Sequence[Entry]) -> Record | None:
    if former is None or scene.record is None:
        return None
    rows = ((entry.path, record.find(former.data, entry.path)) for entry in entries)
    when = former.mtime_ns if former.mtime_ns is not None else scene.record.mtime_ns or 0
    return Record(
        before=digest(former.data),
        rows=tuple((path, row) for path, row in rows if row is not None),
        mode=former.mode,
        mtime_ns=place.no_later(when),
        link=former.link,
    )


def _following(
    place: Place,
    scene: Scene,
    former: Image | None,
    entries: Sequence[Entry],
    sources: dict[PurePosixPath, Image],
    ours: dict[str, Image],
) -> Image | None:
    """RECORD as it must be with these files, with what other patches changed, and with these files of ours."""
    if former is None or scene.record is None:
        return None
    rows: dict[str, str] = {}
    for entry in entries:
        image = sources.get(PurePosixPath(entry.path))
        row = record.row(entry.path, image.data) if image else record.find(scene.record.data, entry.path)
        if row is not None:
            rows[entry.path] = row
    added = {place.ours + name: image.data for name, image in ours.items()}
    data = record.follow(former.data, rows, place.ours, added)
    return scene.record if data == scene.record.data else replace(former, data=data, link=None, mtime_ns=None)


def _former_record(place: Place, scene: Scene) -> Image | None:
    """RECORD without us: exactly what it was where nobody else wrote to it since, with its time and its link."""
    if scene.record is None:
        return None
    before = scene.known.record if scene.known else None
    data = record.restore(scene.record.data, dict(before.rows) if before else {}, place.ours)
    if data == scene.record.data:
        return scene.record
    if before is None or digest(data) != before.before:
        return replace(scene.record, data=data, link=None, mtime_ns=None)
    linked = before.link is not None and place.dist_info.beyond(before.link) == data
    link, mode = before.link if linked else None, before.mode & 0o777
    return replace(scene.record, data=data, mode=mode, mtime_ns=before.mtime_ns, link=link)

"""What a command has done to one target so far; so that where a later part of it cannot be written, none of it stays.

A refusal is another thing: it is about one patch alone, and takes back only what came along for that one.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from types import TracebackType

from patcher.change.files import changed, same
from patcher.change.place import Place
from patcher.change.plan import to_revert
from patcher.change.scene import RECORD, Scene, judge, read
from patcher.change.standing import cleared
from patcher.change.transaction import Wanted, carry
from patcher.errors import PatcherError
from patcher.model import Patch, Result, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """One transaction that is done."""

    scene: Scene
    """How the patch stood before."""
    after: Scene
    """How it was left, and proven."""
    kept: tuple[PurePosixPath, ...]
    """The copies that were left for the user."""


@dataclass(slots=True, kw_only=True)
class Deeds:
    """The results of one command in one target, by patch, and the transactions behind them, in their order."""

    place: Place
    results: dict[str, Result] = field(default_factory=dict)
    done: list[Deed] = field(default_factory=list)

    def __enter__(self) -> Deeds:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """What ends the command in the midst, such as Ctrl-C, undoes what it has done."""
        if error is not None:
            self.undo("since the command was ended")

    def undo(self, why: str) -> None:
        """Makes the target stand as before the first of them. What cannot be undone stays, and its result says so."""
        while self.done:
            deed = self.done.pop()
            try:
                before = read(self.place, deed.scene.patch)
                _require_untouched(self.place, deed.after, before)
                now = carry(self.place, before, _former(deed.scene, before))
                for path in deed.kept:
                    self.place.home(path).remove(path.name)
            except PatcherError as error:
                self._stays(deed, error)
            else:
                self._goes(deed.scene.patch, judge(now, self.place), why)

    def take_back(self, refused: Patch, brought: Collection[Patch]) -> None:
        """Undoes `brought`, which was not there before and came along for a patch that then was refused."""
        for other in brought:
            result = self.results.get(other.name)
            if result is None or not result.changed:
                continue
            try:
                scene = read(self.place, other)
                if wanted := self._without(refused, scene):
                    now = carry(self.place, scene, wanted)
                    self.done = [deed for deed in self.done if deed.scene.patch != other]
                    why = f"since {refused.name}, which needs it, could not be applied"
                    self._goes(other, judge(now, self.place), why)
            except PatcherError as error:
                self.results[other.name] = replace(result, error=error)

    def _without(self, refused: Patch, scene: Scene) -> Wanted | None:
        """The target without what came along for `refused`; None where the ledger knows of somebody else's wish."""
        if scene.entries:
            if {entry.brought_by for entry in scene.entries} != {refused.name}:
                return None
            return to_revert(self.place, scene, force=False).wanted or cleared(self.place, scene)
        deed = next((deed for deed in self.done if deed.scene.patch == scene.patch), None)
        if deed is None:
            return None
        _require_untouched(self.place, deed.after, scene)
        return replace(_former(deed.scene, scene), ours=tuple(scene.ours.items()))

    def _goes(self, patch: Patch, state: State, why: str) -> None:
        result = self.results[patch.name]
        files = tuple(replace(file, after=file.before) for file in result.files)
        note = f"Put back as it was, {why}."
        self.results[patch.name] = replace(
            result, state=state, changed=False, after=result.before, files=files, diff=None, note=note
        )

    def _stays(self, deed: Deed, error: PatcherError) -> None:
        name, state = deed.scene.patch.name, None
        with suppress(PatcherError):
            state = judge(read(self.place, deed.scene.patch), self.place)
        self.results[name] = replace(self.results[name], state=state or self.results[name].state, error=error)
        self.done.clear()


def _require_untouched(place: Place, left: Scene, now: Scene) -> None:
    """What others wrote since is theirs, and is not ours to undo."""
    after = {part.path: part.source for part in now.parts}
    changes = [(place.full(part.path), part.source, after.get(part.path)) for part in left.parts]
    for path, ours, its in (*changes, (place.dist_info.path / RECORD, left.record, now.record)):
        if not same(ours, its):
            raise changed(path)


def _former(scene: Scene, now: Scene) -> Wanted:
    """The target as it stood, and how it is to come to stand so again."""
    more = len(now.known.files if now.known else ()) > len(scene.known.files if scene.known else ())
    return Wanted(
        sources=tuple((part.path, part.source) for part in scene.parts),
        record=scene.record,
        ours=tuple(scene.ours.items()),
        forgets=more,
    )

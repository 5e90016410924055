"""What each patch finds in a target, and whether the target needs it: for itself, or for another patch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from patcher.change.place import Place
from patcher.change.scene import Scene, judge, read
from patcher.errors import PatcherError
from patcher.model import CallsPatch, Need, Patch, Result, State, Target, Touched


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One patch in one target."""

    patch: Patch
    scene: Scene | None
    """None where it could not be read; the result then has the error."""
    result: Result
    """What was found, as a result of a command that did nothing."""
    needed_itself: bool = False
    required_by: tuple[str, ...] = ()
    """The patches that require this one, and for which there is something in the target; those that it needs first."""

    @property
    def applied(self) -> bool:
        """Whether the ledger tells of it."""
        return self.scene is not None and bool(self.scene.entries)


def unseen(target: Target, patch: Patch) -> Result:
    """What is known without a look at the files."""
    if isinstance(patch, CallsPatch):
        return Result(target=target, patch=patch.name, file=None, state=None)
    need = patch.need(target.version, target.torch, 1)
    return Result(target=target, patch=patch.name, file=target.site_packages / patch.file, state=None, need=need)


def survey(place: Place, catalogue: Sequence[Patch]) -> tuple[Seen, ...]:
    """Each patch of the catalogue, which names a patch after those that it requires."""
    found = [_look(place, patch) for patch in catalogue]
    return tuple(_related(one, found) for one in found)


def _look(place: Place, patch: Patch) -> Seen:
    result = unseen(place.target, patch)
    try:
        scene = read(place, patch)
    except PatcherError as error:
        needed = result.need is not None and result.need.needed
        return Seen(patch=patch, scene=None, result=replace(result, error=error), needed_itself=needed)
    files = tuple(Touched(path=place.full(part.path), before=part.sha, after=part.sha) for part in scene.parts)
    only = files[0].before if result.file and files else None
    need = patch.need(place.target.version, place.target.torch, len(files))
    result = replace(result, state=judge(scene, place), files=files, before=only, after=only, need=need)
    return Seen(patch=patch, scene=scene, result=result, needed_itself=need.needed)


def _related(one: Seen, every: Sequence[Seen]) -> Seen:
    """The same, with what other patches mean for it."""
    others = [other for other in every if one.patch in other.patch.requires and other.result.state is not State.ABSENT]
    others.sort(key=lambda other: not other.needed_itself)
    one = replace(one, required_by=tuple(other.patch.name for other in others))
    if one.needed_itself or not others or not others[0].needed_itself or others[0].result.need is None:
        return one
    reason = f"{others[0].patch.name}, which is needed here, calls it: {others[0].result.need.reason}"
    return replace(one, result=replace(one.result, need=Need(needed=True, reason=reason)))

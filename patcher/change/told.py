"""What the user is told of a patch in a target: sentences, from what was read."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from patcher.change.place import Place
from patcher.change.scene import Part, Scene, judge
from patcher.model import CallsPatch, State

UPSTREAM = "https://github.com/huggingface/transformers/blob"
OUTDATED = "It was patched by another version of mps-patcher: apply brings it up to date, revert undoes it."


def remark(scene: Scene, place: Place) -> str | None:
    """What `status` says beside the state."""
    match judge(scene, place):
        case State.INTERRUPTED:
            return "A run was cut off: the next apply or revert repairs it."
        case State.PATCHED:
            return _patched(scene)
        case State.OUTDATED:
            return OUTDATED
        case State.ABSENT if scene.elsewhere:
            return f"{absent(place, scene)} {report(place.target.version, scene.elsewhere)}"
        case State.ABSENT:
            return absent(place, scene)
        case State.MODIFIED:
            return _modified(scene, place)
        case _:
            return _unpatched(scene)


def absent(place: Place, scene: Scene) -> str:
    """Why there is nothing of the patch in the target."""
    patch, version = scene.patch, place.target.version
    if isinstance(patch, CallsPatch):
        return f"No file of this transformers calls {patch.callee} directly."
    if not scene.parts:
        return f"This release has no {patch.file}."
    if scene.elsewhere:
        return f"{patch.function} is not in {patch.file} but in {scene.elsewhere}: a release that we do not know."
    return f"{patch.file.name} of transformers {version} defines no {patch.function}."


def report(version: str, file: PurePosixPath) -> str:
    """What to do about a release that nobody here has seen."""
    link = f"{UPSTREAM}/v{version}/src/{file}"
    return f"If transformers was released like this, please report it to the mps-patcher project with this link: {link}"


def applied(scene: Scene, kept: Sequence[Path], *, backup: bool) -> str:
    """What `apply` did."""
    if any(part.state is State.OUTDATED for part in scene.parts):
        told = ["Brought what another version of mps-patcher did up to date; the back-up stays that of the original."]
    else:
        deed = _redirected(scene, scene.patch) if isinstance(scene.patch, CallsPatch) else _replaced(scene)
        told = [f"{deed}; {_held(scene) if backup else 'no back-up is kept: revert cannot undo it'}."]
    told.extend(f"The back-up of the time before that is kept as {path}." for path in kept)
    if backup and scene.record is None:
        told.append("There is no RECORD to keep up to date.")
    if not backup and scene.record is not None:
        told.append("RECORD stays as it is.")
    return " ".join(told)


def reverted(files: int, kept: Sequence[Path]) -> str:
    """What `revert` did."""
    subject, verb = ("The file", "is") if files == 1 else (f"{files} files", "are")
    copies = "".join(f"; the edited one is kept as {path}" for path in kept)
    return f"{subject} {verb} again as before the patch{copies}."


def _replaced(scene: Scene) -> str:
    (part,) = scene.parts
    if part.finding.state is State.ABSENT:
        return f"Added {scene.patch.function} at the end of {part.path.name}"
    found = part.finding.what
    if part.finding.state is State.MODIFIED:
        found = f"an unknown body of {_lines(part, scene.patch.function)} lines"
    return f"Replaced {found}"


def _held(scene: Scene) -> str:
    if isinstance(scene.patch, CallsPatch):
        return "the back-ups hold the files as they were"
    return f"the back-up holds the file as it was (sha256 {scene.parts[0].sha[:12]})"


def _lines(part: Part, function: str) -> int:
    tree = ast.parse(part.source.data)
    named = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    return sum((node.end_lineno or node.lineno) - node.lineno + 1 for node in named)


def _redirected(scene: Scene, patch: CallsPatch) -> str:
    changed = [part for part in scene.parts if not part.finding.complete]
    function, branches = patch.function, sum(part.finding.branches for part in changed)
    removed = f" and removed {_number(branches, 'branch')} for MPS" if branches else ""
    return f"Redirected {_calls(changed, patch)} to {function}{removed}"


def _patched(scene: Scene) -> str | None:
    if not all(part.backup for part in scene.parts):
        return "There is no good back-up: revert cannot undo it."
    if not isinstance(scene.patch, CallsPatch):
        return None
    files = _number(len(scene.parts), "file")
    return f"What called {scene.patch.callee} in {files} calls {scene.patch.function}."


def _unpatched(scene: Scene) -> str:
    if not isinstance(scene.patch, CallsPatch):
        return f"{scene.parts[0].finding.detail}."
    todo = [part for part in scene.parts if not part.finding.complete]
    named = ", ".join("/".join(part.path.parts[1:]) for part in todo)
    return f"{_calls(todo, scene.patch)}: {named}."


def _modified(scene: Scene, place: Place) -> str:
    part = next(part for part in scene.parts if part.state is State.MODIFIED)
    if part.entry is None:
        return f"{part.finding.detail}. {report(place.target.version, part.path)}"
    file = "The file" if len(scene.parts) == 1 else str(part.path)
    return f"{file} was edited since it was patched."


def _calls(parts: Sequence[Part], patch: CallsPatch) -> str:
    calls = _number(sum(part.finding.calls for part in parts), "direct call")
    return f"{calls} of {patch.callee} in {_number(len(parts), 'file')}"


def _number(count: int, noun: str) -> str:
    ending = "" if count == 1 else "es" if noun.endswith("ch") else "s"
    return f"{count} {noun}{ending}"

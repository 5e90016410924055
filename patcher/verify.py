"""Proving patches: the files on disk here, everything else by the self-test in the target's own interpreter."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence, Set
from itertools import groupby

from patcher import operations
from patcher.catalogue import impact, is_known_to_lack, load_catalogue
from patcher.errors import PatcherError
from patcher.evidence import Evidence, VerifyOptions, gather_evidence
from patcher.messages import is_restartable
from patcher.model import ChangedFile, Check, Effect, FunctionPatch, NotFound, Patch, Result, State, Target
from patcher.owner import as_owner_of
from patcher.storage.files import digest, read_image
from patcher.storage.lock import LockTimeout

__all__ = ["VerifyOptions", "verify_targets"]

_REPAIRED = (State.UNPATCHED, State.ABSENT, State.OUTDATED, State.INTERRUPTED)
"""The states that `apply` ends."""


def verify_targets(
    targets: Sequence[Target | NotFound],
    patches: Sequence[Patch],
    options: VerifyOptions,
    *,
    named: bool,
    lock: LockTimeout,
    show: Callable[[Sequence[Result]], None] = lambda _: None,
) -> tuple[Result, ...]:
    """Check the patches, and what they require: each that the user `named`, that is applied, or that would be.

    A result without an error passed every check that was asked for. The patches of a target share one self-test, and
    with it all checks but that of their own files. Nothing in the target changes.

    After each check `show` gets the results so far; those of the last target have only the checks that have ended.
    """
    asked = {patch.name for patch in patches}
    found = operations.status(targets, _with_required(asked), lock=lock)
    found = tuple(_judged_by_rules(result, options) for result in found)
    results: list[Result] = []
    for target, group in groupby(found, key=lambda one: one.target):
        of_target = tuple(group)
        tested = [result for result in of_target if _is_tested(result, asked if named else set())]
        rest = {one.patch: _untested(one, named=named and one.patch in asked) for one in of_target if one not in tested}
        if tested and isinstance(target, Target):
            show_checks = functools.partial(_show_checks, show, tuple(results), of_target, rest)
            evidence = _gather(target, tested, options, show_checks)
            results += [rest.get(result.patch) or _concluded(result, evidence) for result in of_target]
        else:
            results += rest.values()
    return tuple(results)


def _judged_by_rules(result: Result, options: VerifyOptions) -> Result:
    """The result, with the effect of the defect under the rules of the torch and macOS that were asked for."""
    if (options.torch or options.macos) is None or not isinstance(result.target, Target) or not result.files:
        return result
    (patch,) = (patch for patch in load_catalogue() if patch.name == result.patch)
    target = result.target._replace(torch=options.torch or result.target.torch)
    judged = impact(patch, target, macos=options.macos)
    return result._replace(impact=judged)


def _show_checks(
    show: Callable[[Sequence[Result]], None],
    before: tuple[Result, ...],
    of_target: tuple[Result, ...],
    rest: Mapping[str | None, Result],
    checks: tuple[Check, ...] = (),
) -> None:
    """Shows the results of the targets before this one, and of this one what has been checked."""
    so_far = (rest.get(one.patch) or one._replace(checks=(_source_check(one), *checks)) for one in of_target)
    show((*before, *so_far))


def _with_required(names: Set[str]) -> tuple[Patch, ...]:
    """The patches of these names and those that they require, in the catalogue's order."""
    wanted = set(names)
    for patch in reversed(load_catalogue()):
        wanted.update(patch.requires if patch.name in wanted else ())
    return tuple(patch for patch in load_catalogue() if patch.name in wanted)


def _is_tested(result: Result, named: Set[str]) -> bool:
    if result.state in (None, State.ABSENT, State.UNPATCHED):
        return _is_affected(result) or (result.state is State.UNPATCHED and result.patch in named)
    return True


def _is_affected(result: Result) -> bool:
    return result.impact is not None and result.impact.effect is not Effect.NONE


def _untested(result: Result, *, named: bool) -> Result:
    if result.state is None:
        return result
    if result.state is State.ABSENT and named:
        hint = "Run `mps-patcher status` to see what this release needs."
        return result._replace(error=PatcherError("function-absent", f"{result.patch} is absent: {result.note}.", hint))
    return result._replace(note="nothing to verify")


def _concluded(result: Result, evidence: Evidence) -> Result:
    checks = (_source_check(result), *evidence.checks)
    error = evidence.error
    failures = [check for check in checks if check.status == "failed"]
    failed = [check.name for check in failures]
    # Of a device that is not here nothing can be told, whatever the file says; without torch the file still tells
    if failed and (error is None or error.code not in ("no-device", "target-changed")):
        cause = f"{len(failed)} check{'' if len(failed) == 1 else 's'} failed: {', '.join(failed)}."
        error = PatcherError("verification-failed", cause, _hint(result, failures))
    return result._replace(checks=checks, device=evidence.device, error=error)


def _hint(result: Result, failures: Sequence[Check]) -> str:
    if any("cannot be imported: " in check.detail for check in failures):
        return "Make transformers importable first: the checks above show what is missing or broken."
    if result.state in _REPAIRED and not _is_unknown_release(result):
        return f"Run `mps-patcher apply{'' if _is_affected(result) else f' {result.patch}'}`, then verify again."
    if is_restartable(result):
        return "Run `mps-patcher apply --force`, which keeps a copy of the edited file, then verify again."
    return "`mps-patcher verify` shows what was found, and `mps-patcher status` the state of the files."


def _is_unknown_release(result: Result) -> bool:
    """Whether the function is missing where it should be, so that apply would refuse to add it."""
    (patch,) = (patch for patch in load_catalogue() if patch.name == result.patch)
    is_absent = result.state is State.ABSENT
    return is_absent and isinstance(patch, FunctionPatch) and not is_known_to_lack(patch, str(result.target.version))


def _source_check(result: Result) -> Check:
    """The files hold what the patch makes of the originals, and nothing else in them changed since."""
    passed = result.state is State.PATCHED
    detail = result.note or f"{result.patch} is {result.state}"
    if result.state is State.UNPATCHED:
        detail = f"not patched: still {detail}"
    if passed:
        names = [file.path.name for file in result.files]
        subject = f"{names[0]} is" if len(names) == 1 else f"{len(names)} files are"
        detail = f"{subject} as the patch makes {'it' if len(names) == 1 else 'them'}"
    return Check(name="source", status="passed" if passed else "failed", detail=detail.rstrip(". "), seconds=0.0)


def _gather(target: Target, tested: Sequence[Result], options: VerifyOptions, show: Callable[..., None]) -> Evidence:
    """The evidence, if all files are still those whose state was told: nobody is kept from changing them meanwhile."""
    files = {file.path: file for result in tested for file in result.files}
    show()
    try:
        evidence = gather_evidence(target, _tested_function(tested), tuple(files), options, show)
        with as_owner_of(target.site_packages):
            changed = next((path for path, file in files.items() if _differs(file)), None)
    except PatcherError as error:
        return Evidence(checks=(), error=error)
    if changed is None:
        return evidence
    cause = f"{changed} changed during verification."
    return Evidence(checks=(), error=PatcherError("target-changed", cause, "Run the command again."))


def _differs(file: ChangedFile) -> bool:
    image = read_image(file.path)
    return image is None or digest(image.data) != file.after


def _tested_function(tested: Sequence[Result]) -> FunctionPatch:
    """What the self-test asks: the function of a patch, or the one that its calls are redirected to."""
    patches = _with_required({result.patch for result in tested if result.patch})
    return next(patch for patch in patches if isinstance(patch, FunctionPatch))

"""Proving patches: the files on disk here, everything else by the self-test in the target's own interpreter."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from patcher import freshness, guest
from patcher.change import operations
from patcher.change.files import digest, explained, read
from patcher.change.lock import PATIENT, Patience
from patcher.errors import CannotTell, PatcherError
from patcher.freshness import Freshness
from patcher.model import CallsPatch, Check, Device, FunctionPatch, NotFound, Patch, Result, State, Target

SELFTEST = Path(__file__).parent / "selftest" / "__main__.py"
RUNNING = ("contract", "callers", "generate")
"""The checks that need torch."""
Refusal = Callable[[], PatcherError | None]
REPAIRABLE = (State.UNPATCHED, State.ABSENT, State.OUTDATED, State.INTERRUPTED)
UNAVAILABLE = {
    "no-device": "Run this on a Mac with an Apple GPU, or ask for --device emulated.",
    "no-rules": "Ask for another --torch or --macos.",
    "torch-refused": "Ask for the rules of another --torch, or install that torch.",
}
"""What to do when the self-test has no device to run on, by its word for that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a verification is to run, and on what."""

    static: bool
    device: str
    torch: str | None
    macos: str | None
    timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found beside the state of the files, and the error that kept it from finding more."""

    checks: tuple[Check, ...]
    device: Device | None = None
    error: PatcherError | None = None


def verify(
    targets: Sequence[Target | NotFound],
    patches: Sequence[Patch],
    *,
    named: bool,
    static: bool,
    catalogue: Sequence[Patch] = (),
    device: str = "auto",
    torch: str | None = None,
    macos: str | None = None,
    timeout: float = 600,
    patience: Patience = PATIENT,
) -> tuple[Result, ...]:
    """Check each patch in each target: all of them where the user `named` them, else what is applied or needed.

    A result without an error passed every check that was asked for. The patches of a target share one self-test, and
    with it all checks but that of their own files; `timeout` is in seconds, for each target. Nothing there changes.
    """
    wanted = Wanted(static=static, device=device, torch=torch, macos=macos, timeout=timeout)
    by_name = {patch.name: patch for patch in patches}
    results: list[Result] = []
    seen = operations.status(targets, patches, catalogue=catalogue, patience=patience)
    for target, group in groupby(seen, key=lambda one: one.target):
        found = [_spared(result, by_name.get(result.patch or ""), named=named) for result in group]
        tested = [result for result, patch in found if patch]
        report = None
        for result, patch in found:
            if patch and isinstance(target, Target):
                report = report or _steady(target, _function(patch), tested, wanted)
                refusal = partial(_refusal, target, patch, catalogue, patience)
                result = _verified(result, patch, report, refusal)
            results.append(result)
    return tuple(results)


def _spared(result: Result, patch: Patch | None, *, named: bool) -> tuple[Result, Patch | None]:
    """The result, and the patch if it is to be verified: not where the target neither has nor needs it."""
    if patch is None or result.error:
        return result, None
    needed = result.need is not None and result.need.needed
    if result.state is State.ABSENT and not (needed and result.files):
        hint = "`mps-patcher status` tells what this release needs."
        error = PatcherError("function-absent", result.note or "", hint) if named else None
        return replace(result, note="There is nothing to verify.", error=error), None
    if named or needed or result.state is not State.UNPATCHED:
        return result, patch
    return replace(result, note="There is nothing to verify."), None


def _verified(result: Result, patch: Patch, report: Report, refusal: Refusal) -> Result:
    checks = (_source(result, patch), *report.checks)
    # Of a device that is not here nothing can be told, whatever the file says; without torch the file still tells
    untold = report.error and report.error.code in ("no-device", "target-changed")
    told = report.error if untold else _failure(checks, result, refusal)
    return replace(result, checks=checks, device=report.device, error=told or report.error)


def _function(patch: Patch) -> FunctionPatch:
    """What is tested: the function of the patch, or the one that its calls are sent to."""
    (found,) = (one for one in (patch, *patch.requires) if isinstance(one, FunctionPatch))
    return found


def _files(results: Sequence[Result]) -> tuple[Path, ...]:
    return tuple(dict.fromkeys(file.path for result in results for file in result.files))


def _source(result: Result, patch: Patch) -> Check:
    """The files hold what the patch makes of them, and nothing else in them changed since."""
    start = time.monotonic()
    passed = result.state is State.PATCHED
    detail = result.note or f"{patch.file.name} is {result.state}"
    if passed and not isinstance(patch, CallsPatch):
        detail = f"{patch.file.name} holds the fixed body"
        detail += ", but there is no good back-up" if result.note else ", and is as it was left"
    seconds = time.monotonic() - start
    return Check(name="source", status="passed" if passed else "failed", detail=detail.rstrip("."), seconds=seconds)


def _steady(target: Target, patch: FunctionPatch, results: Sequence[Result], wanted: Wanted) -> Report:
    """The report, if all files are still those whose state was told: nobody is kept from changing them meanwhile."""
    try:
        report = _report(target, patch, _files(results), wanted)
        seen = {file.path: file.after for result in results for file in result.files}
        changed = next((path for path, sha in seen.items() if digest(read(path)) != sha), None)
    except PatcherError as error:
        return Report(checks=(), error=error)
    if changed is None:
        return report
    cause = f"{changed} changed while it was verified."
    return Report(checks=(), error=PatcherError("target-changed", cause, "Run the command again."))


def _report(target: Target, patch: FunctionPatch, files: Sequence[Path], wanted: Wanted) -> Report:
    if target.python is None:
        error = None if wanted.static else CannotTell(
            "no-interpreter",
            "No interpreter here runs this target, so only source and bytecode could be checked.",
            "Name one with --python, or ask for these two with --static.",
        )  # fmt: skip
        return _without_torch((_bytecode(files),), wanted, error)
    if wanted.static or target.torch is None:
        error = None if wanted.static else CannotTell(
            "no-torch",
            "The target holds no torch, so only source and bytecode could be checked.",
            "Install torch beside transformers, or ask for these two with --static.",
        )  # fmt: skip
        found = _selftest(target, patch, files, replace(wanted, static=True))
        return _without_torch(_with_files(found, files).checks, wanted, error)
    return _with_files(_selftest(target, patch, files, wanted), files)


def _with_files(report: Report, files: Sequence[Path]) -> Report:
    """The report, less a bytecode check that passed although other bytecode, as of `python -OO`, is stale."""
    found = _bytecode(files)
    if found.status != "failed":
        return report
    return replace(report, checks=tuple(found if check.name == found.name else check for check in report.checks))


def _without_torch(checks: tuple[Check, ...], wanted: Wanted, error: PatcherError | None) -> Report:
    skipped = () if wanted.static else tuple(_skipped(name, "there is no torch to run it with") for name in RUNNING)
    unproven = any(check.status == "skipped" for check in checks)
    if unproven and error is None:
        hint = "Delete that file, or name the interpreter with --python."
        error = CannotTell("bytecode-unproven", f"{checks[0].detail}.", hint)
    return Report(checks=(*checks, *skipped), error=error)


def _bytecode(files: Sequence[Path]) -> Check:
    """What every .pyc beside the sources means, read from its header."""
    start = time.monotonic()
    judged: dict[Path, Freshness] = {}
    for source in files:
        with explained(source):
            data, status = source.read_bytes(), source.stat()
            judged |= {path: freshness.judge(path.read_bytes(), data, status) for path in freshness.bytecode_of(source)}
    verdict, detail = "passed", "no bytecode beside the source would run instead of it"
    for freshness_, name in ((Freshness.UNKNOWN, "skipped"), (Freshness.STALE, "failed")):
        for path in (path for path, found in judged.items() if found is freshness_):
            verdict, detail = name, f"{path}: {freshness_.value}"
    return Check(name="bytecode", status=verdict, detail=detail, seconds=time.monotonic() - start)


def _selftest(target: Target, patch: FunctionPatch, files: Sequence[Path], wanted: Wanted) -> Report:
    """Run the self-test and read its report, which holds all that was found even if the process was cut short."""
    with tempfile.TemporaryDirectory(prefix="mps-patcher-") as folder:
        request, report, errors = (Path(folder) / name for name in ("request.json", "report.json", "errors.txt"))
        request.write_text(json.dumps(_request(target, patch, files, wanted)), "utf-8")
        command = [str(target.python), str(SELFTEST), str(request), str(report)]
        with errors.open("wb") as stream:
            ending = guest.run(command, stream.fileno(), wanted.timeout, Path(folder) / "cache")
        nothing = {"checks": [], "planned": ["bytecode", *(() if wanted.static else RUNNING)]}
        found = json.loads(report.read_text("utf-8")) if report.exists() else nothing
        return _read(found, ending, _last_line(errors))


def _request(target: Target, patch: FunctionPatch, files: Sequence[Path], wanted: Wanted) -> dict[str, object]:
    return {
        "site_packages": str(target.site_packages),
        "files": [str(path) for path in files],
        "file": str(target.site_packages / patch.file),
        "function": patch.function,
        "contract": str(patch.contract),
        "replacement": str(patch.replacement),
        "static": wanted.static,
        "device": wanted.device,
        "torch": wanted.torch,
        "macos": wanted.macos,
    }


def _read(found: dict[str, Any], ending: str | None, last_line: str) -> Report:
    checks = [Check(**check) for check in found["checks"]]
    device = Device(**found["device"]) if found.get("device") else None
    missing = found["planned"][len(checks) :]
    if missing:
        why = f"{ending or 'the self-test stopped'}{last_line and ': ' + last_line}"
        checks.append(Check(name=missing[0], status="failed", detail=why, seconds=0.0))
        checks.extend(_skipped(name, f"{missing[0]} came to no end") for name in missing[1:])
    error = None
    if found.get("unavailable"):
        code, message = found["unavailable"]["code"], found["unavailable"]["message"]
        checks.extend(_skipped(name, message) for name in RUNNING)
        error = CannotTell(code, f"{message}.", UNAVAILABLE[code])
    return Report(checks=tuple(checks), device=device, error=error)


def _skipped(name: str, why: str) -> Check:
    return Check(name=name, status="skipped", detail=why, seconds=0.0)


def _last_line(errors: Path) -> str:
    lines = errors.read_text("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _failure(checks: Sequence[Check], result: Result, refusal: Refusal) -> PatcherError | None:
    failed = [check.name for check in checks if check.status == "failed"]
    if not failed:
        return None
    hint = "The details above say what was seen; `mps-patcher status` says what state the file is in."
    if result.state in REPAIRABLE:
        unneeded = result.need is not None and not result.need.needed
        refused = refusal()
        hint = refused.hint if refused else f"`mps-patcher apply{f' {result.patch}' if unneeded else ''}` repairs it."
    cause = f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}."
    return PatcherError("verification-failed", cause, hint)


def _refusal(target: Target, patch: Patch, catalogue: Sequence[Patch], patience: Patience) -> PatcherError | None:
    """Why `apply` would not repair it; None where it would."""
    asked = operations.apply((target,), (patch,), named=True, catalogue=catalogue, dry_run=True, patience=patience)
    return next((result.error for result in asked if result.error), None)

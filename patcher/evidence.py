"""What speaks for a target beside the state of its files: its bytecode, and the self-test in its interpreter."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from patcher.errors import CannotTell, PatcherError
from patcher.model import Check, Device, FunctionPatch, Target
from patcher.owner import as_owner_of
from patcher.storage.bytecode import PycStatus, cache_prefixes, judge_pycs
from patcher.storage.files import read_image
from patcher.targets.interpreter import python_parts, run_python, selftest_environment

SELFTEST = Path(__file__).parent / "selftest"
RUNNING = ("contract", "generate", "callers")
"""The checks that need torch."""
UNAVAILABLE = {
    "no-device": "Run this on a Mac with an Apple GPU, or ask for --device emulated.",
    "no-rules": "Ask for another --torch or --macos.",
    "torch-refused": "Ask for the rules of another --torch, or install that torch.",
}
"""What to do when the self-test has no device to run on, by its word for that."""


class VerifyOptions(NamedTuple):
    """What a verification runs, and on what. `timeout` is in seconds, for each target."""

    device: str = "auto"
    torch: str | None = None
    macos: str | None = None
    static: bool = False
    timeout: float = 600


class Evidence(NamedTuple):
    """What was found in a target beside the state of its files, and the error that kept it from finding more."""

    checks: tuple[Check, ...]
    device: Device | None = None
    error: PatcherError | None = None


def gather_evidence(target: Target, patch: FunctionPatch, files: Sequence[Path], options: VerifyOptions) -> Evidence:
    """Every check that needs no state of the files. Raises PatcherError where a file cannot be read or written."""
    lack = None if options.static else _lack(target)
    with as_owner_of(target.site_packages):
        on_disk = _bytecode_check(files, cache_prefixes(target.pycache_prefix))
    if target.python is None:
        evidence = Evidence(checks=(on_disk,), error=_unknown_bytecode(on_disk))
    else:
        evidence = _run_selftest(target, patch, files, options._replace(static=options.static or lack is not None))
    if on_disk.status == "failed":  # also other bytecode than the interpreter's own, as of `python -OO`
        others = tuple(check for check in evidence.checks if check.name != on_disk.name)
        evidence = evidence._replace(checks=(on_disk, *others))
    if lack is None:
        return evidence
    skipped = _skipped(RUNNING, "there is no torch to run it with")
    return evidence._replace(checks=(*evidence.checks, *skipped), error=lack)


def _lack(target: Target) -> PatcherError | None:
    """Why only source and bytecode can be checked."""
    if target.python is None:
        cause, hint = "No interpreter here runs this target", "Name one with --python"
    elif target.torch is None:
        cause, hint = "The target holds no torch", "Install torch beside transformers"
    else:
        return None
    cause += ", so only source and bytecode could be checked."
    return CannotTell("no-torch" if target.python else "no-interpreter", cause, f"{hint}, or ask for --static.")


def _unknown_bytecode(check: Check) -> PatcherError | None:
    if check.status != "skipped":
        return None
    hint = "Delete that file, or name the interpreter with --python."
    return CannotTell("bytecode-unproven", f"{check.detail}.", hint)


def _bytecode_check(files: Sequence[Path], prefixes: Sequence[Path]) -> Check:
    """What every .pyc file of the sources means, read from its header."""
    start = time.monotonic()
    judged = {found: pyc for source in files for pyc, found in judge_pycs(source, prefixes).items()}
    verdict, detail = "passed", "no bytecode would run instead of the source"
    for found, worse in ((PycStatus.UNKNOWN, "skipped"), (PycStatus.STALE, "failed")):
        if found in judged:
            verdict, detail = worse, f"{judged[found]}: {found.value}"
    return _make_check("bytecode", verdict, detail, time.monotonic() - start)


def _run_selftest(target: Target, patch: FunctionPatch, files: Sequence[Path], options: VerifyOptions) -> Evidence:
    """Run the self-test and read its report, which holds all that was found even if the process was cut short."""
    request = {
        "site_packages": str(target.site_packages),
        "files": [str(path) for path in files],
        "file": str(target.site_packages / patch.file),
        "function": patch.function,
        "contract": "contract.py",
        **options._asdict(),
    }
    needed = {path.name: path.read_bytes() for path in SELFTEST.glob("*.py")}
    needed |= {"contract.py": patch.contract.read_bytes(), "request.json": json.dumps(request).encode()}
    python, owner = Path(str(target.python)), target.site_packages
    with _lent_folder(needed, owner, *python_parts(python)) as folder, tempfile.TemporaryFile() as errors:
        command = [str(python), *(str(folder / name) for name in ("__main__.py", "request.json", "report.json"))]
        environ = selftest_environment(os.environ, folder / "cache")
        ending = run_python(command, environ=environ, timeout=options.timeout, errors=errors, owner=owner)
        errors.seek(0)
        last_line = _last_line(errors.read())
        with as_owner_of(owner, *python_parts(python)):
            report = read_image(folder / "report.json")
    try:
        return _read_report(report.data if report else b"{}", ending, last_line, options)
    except (KeyError, TypeError, ValueError):  # not as the self-test wrote it
        return _read_report(b"{}", "the self-test's report cannot be read", "", options)


@contextmanager
def _lent_folder(files: dict[str, bytes], *owned: Path) -> Iterator[Path]:
    """A temporary folder with these files, of the user as whom `run_python` starts what is in `owned`.

    The tool's own files may lie where only root can read.
    """
    with as_owner_of(*owned):
        try:
            temporary = tempfile.TemporaryDirectory(prefix="mps-patcher-")
            for name, data in files.items():
                Path(temporary.name, name).write_bytes(data)
        except OSError as error:
            cause = f"No temporary file can be made: {error.strerror}."
            raise PatcherError("no-temporary-folder", cause, "Set TMPDIR to a folder that you may write in.") from error
    try:
        yield Path(temporary.name)
    finally:
        with as_owner_of(*owned):
            temporary.cleanup()


def _read_report(data: bytes, ending: str | None, last_line: str, options: VerifyOptions) -> Evidence:
    """What the self-test found. What it was at when it ended has failed, and what it still planned is skipped."""
    found = {**json.loads(data)}
    checks = [Check(**check) for check in found.get("checks", ())]
    device = Device(**found["device"]) if found.get("device") else None
    planned = found.get("planned") or ["bytecode", *(() if options.static else RUNNING)]
    if missing := planned[len(checks) :]:
        why = f"{ending or 'the self-test stopped'}{last_line and ': ' + last_line}"
        checks += [_make_check(missing[0], "failed", why), *_skipped(missing[1:], f"{missing[0]} came to no end")]
    error = None
    if unavailable := found.get("unavailable"):
        checks += _skipped(RUNNING, unavailable["message"])
        error = CannotTell(unavailable["code"], f"{unavailable['message']}.", UNAVAILABLE[unavailable["code"]])
    return Evidence(checks=tuple(checks), device=device, error=error)


def _make_check(name: str, status: str, detail: str, seconds: float = 0.0) -> Check:
    return Check(name=name, status=status, detail=detail, seconds=seconds)


def _skipped(names: Sequence[str], why: str) -> tuple[Check, ...]:
    return tuple(_make_check(name, "skipped", why) for name in names)


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

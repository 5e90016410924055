"""What speaks for a target beside the state of its files: its bytecode, and the self-test in its interpreter."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from patcher import progress
from patcher.durations import keep_duration, last_duration
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
    "no-device": "Run this on a Mac with an Apple GPU, or use --device emulated.",
    "no-rules": "Leave out --macos, or choose a newer one.",
    "no-torch": "Install torch in that environment, or run `mps-patcher verify --static`.",
    "torch-refused": "Choose another --torch, or install that torch.",
}
"""What to do when the self-test has no torch or no device to run on, by its word for that."""


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


def gather_evidence(
    target: Target,
    patch: FunctionPatch,
    files: Sequence[Path],
    options: VerifyOptions,
    show: Callable[[tuple[Check, ...]], None],
) -> Evidence:
    """Every check that needs no state of the files; `show` is called with those that have ended, after each of them.

    Raises PatcherError where a file cannot be read or written.
    """
    with as_owner_of(target.site_packages):
        on_disk = _bytecode_check(files, cache_prefixes(target.pycache_prefix))
    if target.python is None:
        return _without_interpreter(on_disk, static=options.static)
    known = (on_disk,) if on_disk.status == "failed" else ()  # also of other bytecode, as of `python -OO`

    def combined(checks: tuple[Check, ...]) -> tuple[Check, ...]:
        return (*known, *(check for check in checks if not known or check.name != on_disk.name))

    evidence = _run_selftest(target, patch, files, options, lambda checks: show(combined(checks)))
    return evidence._replace(checks=combined(evidence.checks))


def _without_interpreter(on_disk: Check, *, static: bool) -> Evidence:
    """What the files alone say."""
    if static:
        return Evidence(checks=(on_disk,), error=_unknown_bytecode(on_disk))
    cause = "No interpreter is known for this folder, so only source and bytecode were checked."
    error = CannotTell("no-interpreter", cause, "Name one with --python, or run `mps-patcher verify --static`.")
    skipped = _skipped(RUNNING, "there is no interpreter to run it")
    return Evidence(checks=(on_disk, *skipped), error=error)


def _unknown_bytecode(check: Check) -> PatcherError | None:
    if check.status != "skipped":
        return None
    hint = "Delete that file, or name an interpreter with --python."
    return CannotTell("bytecode-unproven", f"{check.detail}.", hint)


def _bytecode_check(files: Sequence[Path], prefixes: Sequence[Path]) -> Check:
    """What every .pyc file of the sources means, read from its header."""
    start = time.monotonic()
    judged = {found: pyc for source in files for pyc, found in judge_pycs(source, prefixes).items()}
    verdict, detail = "passed", "no old bytecode would run"
    for found, worse in ((PycStatus.UNKNOWN, "skipped"), (PycStatus.STALE, "failed")):
        if found in judged:
            verdict, detail = worse, f"{judged[found]}: {found.value}"
    return _make_check("bytecode", verdict, detail, time.monotonic() - start)


def _run_selftest(
    target: Target,
    patch: FunctionPatch,
    files: Sequence[Path],
    options: VerifyOptions,
    show: Callable[[tuple[Check, ...]], None],
) -> Evidence:
    """Run the self-test and read its report, which holds all that was found even if the process was cut short."""
    request = {
        "site_packages": str(target.site_packages),
        "files": [str(path) for path in files],
        "file": str(target.site_packages / patch.file),
        "function": patch.function,
        "contract": "contract.py",
        **options._asdict(),
    }
    needed = {path.name: path.read_bytes() for path in (*SELFTEST.glob("*.py"), *SELFTEST.glob("*.tsv"))}
    needed |= {"contract.py": patch.contract.read_bytes(), "request.json": json.dumps(request).encode()}
    python, owner = Path(str(target.python)), target.site_packages
    parts = (owner, *python_parts(python))
    key = [str(owner), target.torch, options.device, options.torch, options.macos]
    took = last_duration(key, os.environ) if progress.is_shown() else None
    with _lent_folder(needed, *parts) as folder, tempfile.TemporaryFile() as errors:
        command = [str(python), *(str(folder / name) for name in ("__main__.py", "request.json", "report.json"))]
        environ = selftest_environment(os.environ, folder / "cache")

        def read() -> bytes:
            with as_owner_of(*parts):
                report = read_image(folder / "report.json")
            return report.data if report else b"{}"

        follow = _follower(read, show, f" (all checks took {progress.duration(took)} last time)" if took else "")
        progress.show("starting", command[0])
        start = time.monotonic()
        ending = run_python(
            command, environ=environ, timeout=options.timeout, errors=errors, owner=owner, meanwhile=follow
        )
        seconds = time.monotonic() - start
        progress.clear()
        errors.seek(0)
        last_line = _last_line(errors.read())
        data = read()
    if progress.is_shown() and not (ending or options.static):
        keep_duration(key, seconds, os.environ)
    try:
        return _read_report(data, ending, last_line, options)
    except (KeyError, TypeError, ValueError):  # not as the self-test wrote it
        return _read_report(b"{}", "the report of the self-test is damaged", "", options)


def _follower(read: Callable[[], bytes], show: Callable[[tuple[Check, ...]], None], note: str) -> Callable[[], None]:
    """What looks at the report of a self-test that runs, and shows what is new in it."""
    shown = 0

    def follow() -> None:
        nonlocal shown
        try:
            found = {**json.loads(read())}
            checks = tuple(Check(**check) for check in found.get("checks", ()))
            stage, done, total = found.get("running") or ("", 0, 0)
        except (TypeError, ValueError):  # not as the self-test wrote it: told of when it has ended
            return
        if len(checks) > shown:
            shown = len(checks)
            show(checks)
        if stage:
            progress.show(str(stage), f"{done} of {total}" if total else "", note)
        else:
            progress.clear()

    return follow


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
            cause = f"Cannot create a temporary file: {error.strerror}."
            raise PatcherError("no-temporary-folder", cause, "Set TMPDIR to a folder that you can write to.") from error
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
        checks += [_make_check(missing[0], "failed", why), *_skipped(missing[1:], f"{missing[0]} did not finish")]
    error = None
    if unavailable := found.get("unavailable"):
        is_said = unavailable["code"] == "no-torch"  # by the error, once, with the interpreter's path
        checks += _skipped(RUNNING, "no torch" if is_said else unavailable["message"])
        error = CannotTell(unavailable["code"], f"{unavailable['message']}.", UNAVAILABLE[unavailable["code"]])
    return Evidence(checks=tuple(checks), device=device, error=error)


def _make_check(name: str, status: str, detail: str, seconds: float = 0.0) -> Check:
    return Check(name=name, status=status, detail=detail, seconds=seconds)


def _skipped(names: Sequence[str], why: str) -> tuple[Check, ...]:
    return tuple(_make_check(name, "skipped", why) for name in names)


def _last_line(errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")

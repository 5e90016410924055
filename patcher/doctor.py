"""What this machine and its targets are, as a block that can be pasted into a report. Prints nothing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from patcher import __version__, operations
from patcher.callers import Kind, OtherPackage, find_other_packages
from patcher.catalogue import host_macos, load_catalogue
from patcher.errors import PatcherError, one_line
from patcher.model import Effect, Impact, NotFound, Result, State, Target
from patcher.owner import as_owner_of
from patcher.selftest.releases import parse_macos, parse_version
from patcher.selftest.rules import Rules
from patcher.storage.lock import LockTimeout
from patcher.targets.interpreter import ask_torch


def diagnose(targets: Sequence[Target | NotFound], environ: Mapping[str, str], cwd: Path, *, lock: LockTimeout) -> str:
    """The machine and every target, as a list in Markdown. Nothing is changed; torch is imported in each interpreter.

    Of the user's it holds neither name nor home folder, and no variable of the environment.
    """
    lines = [*_machine()]
    for target in targets:
        lines += _not_found(target) if isinstance(target, NotFound) else _target(target, environ, cwd, lock)
    return without_home("\n".join(map(one_line, lines)))


def without_home(text: str) -> str:
    """The text with `~` for every home folder in it, and USER where else a folder has the user's name."""
    home, end = os.path.expanduser("~"), r"(?![^/\s`'\":;,()])"  # noqa: PTH111 - Path's own may raise
    for folder in {home, os.path.realpath(home)} - {"/", "~"}:
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}{end}", "~", text)
    text = re.sub(r"/(?:home|Users)/[^/\s`'\":;,()]+", "~", text)
    return re.sub(f"(?<=/){re.escape(_user())}{end}", "USER", text)


def _user() -> str:
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a number without an account, as in containers
        return str(os.getuid())


def _machine() -> Iterator[str]:
    yield f"- mps-patcher {__version__}, Python {platform.python_version()}"
    machine = ", ".join(filter(None, (platform.machine(), _chip())))
    if platform.system() == "Darwin":
        yield f"- macOS {host_macos() or 'of an unknown version'} ({machine})"
    else:
        yield f"- {platform.system()} {platform.release()} ({machine}): not macOS"


def _chip() -> str:
    """What macOS calls the processor: to a Python for Intel, too, it tells Apple's by its name."""
    if platform.system() != "Darwin":
        return ""
    import subprocess

    command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _not_found(place: NotFound) -> Iterator[str]:
    yield f"- no target: {place.error.message}"


def _target(target: Target, environ: Mapping[str, str], cwd: Path, lock: LockTimeout) -> Iterator[str]:
    torch = f"torch {target.torch}" if target.torch else "no torch found"
    yield f"- transformers {target.version}, {torch}{f', installed by {target.installer}' if target.installer else ''}"
    yield f"  - in `{target.site_packages}`"
    yield from _interpreter(target, environ, cwd)
    results = operations.status((target,), load_catalogue(), lock=lock)
    yield from (f"  - {result.patch}: {_state(result)}" for result in results)
    judged = next((one.impact for one in results if one.impact and one.impact.macos), None)
    if judged and judged.assumed_macos:
        yield f"  - assumed: macOS {judged.macos}"
    with as_owner_of(target.site_packages):
        packages = find_other_packages(target.search_path, load_catalogue())
    yield from _other_packages(packages, judged)


def _interpreter(target: Target, environ: Mapping[str, str], cwd: Path) -> Iterator[str]:
    if target.python is None:
        yield "  - no interpreter here uses it"
        return
    try:
        answer = ask_torch(target.python, environ, cwd, installed=target.torch is not None)
    except PatcherError as error:
        yield f"  - its interpreter could not be asked: {error.message}"
        return
    yield f"  - Python {answer.python} ({answer.machine})"
    if answer.error:
        yield f"  - torch cannot be imported: {answer.error}"
    elif answer.torch:
        built, available = ("yes" if one else "no" for one in (answer.built, answer.available))
        yield f"  - torch {answer.torch} reports MPS: built {built}, available {available}"


def _state(result: Result) -> str:
    """The state of a patch, and what its defect does without it."""
    if result.error or result.state is None:
        return f"unknown: {result.error.message}" if result.error else "unknown"
    impact = result.impact
    if impact is None or impact.effect is Effect.NONE or result.state in (State.PATCHED, State.OUTDATED):
        return result.state
    if result.state is State.MODIFIED:
        return f"{result.state}; what it does here cannot be told"
    if impact.effect is Effect.EDGE_CASES:
        return f"{result.state}; {impact.consequence or 'edge cases are wrong'}"
    return f"{result.state}; fails with {impact.error}"


def _other_packages(packages: Sequence[OtherPackage], judged: Impact | None) -> Iterator[str]:
    if not packages:
        yield "  - other packages that call torch.isin: none found"
        return
    yield "  - other packages that call torch.isin, or use isin_mps_friendly:"
    for package in packages:
        yield f"    - {package.name} {package.version}"
        yield from (f"      - `{use.path}`, line {use.line}: {use.what}" for use in package.uses)
    kinds = {use.kind for package in packages for use in package.uses}
    yield from (f"  - {advice}" for advice in _advice(kinds, judged))


def _advice(kinds: set[Kind], judged: Impact | None) -> Iterator[str]:
    """What helps other packages, whose files no patch changes."""
    torch, macos = (judged.torch, judged.macos) if judged else (None, None)
    known = Rules(parse_version(torch), parse_macos(macos)) if torch and macos else None
    if Kind.IMPORT in kinds:
        yield "for packages that import the function from transformers: `mps-patcher apply`"
    if known and not (known.missing("aten::isin", "Tensor_Scalar") or known.isin("int64", "int32")):
        yield f"torch.isin of torch {torch} has no known error on MPS"
    elif kinds - {Kind.IMPORT}:
        yield "for calls of torch.isin: `mps-patcher run -- SCRIPT`; `mps-patcher apply` does not change them"
        if Kind.COPY in kinds and (known is None or known.missing("aten::isin", "Tensor_Tensor")):
            yield "below torch 2.4 a copy does not call torch.isin on MPS, and mps-patcher cannot fix it"

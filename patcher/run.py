"""Running programs of a target's interpreter with the patches applied in memory: not one byte of the target changes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from patcher import progress
from patcher.errors import CannotTell, PatcherError
from patcher.model import FunctionPatch, Patch, Target
from patcher.owner import as_user_of
from patcher.prepared import is_prepared, prepared_folder, write_prepared
from patcher.selftest import report as reports
from patcher.selftest import rules
from patcher.selftest.releases import show
from patcher.storage.lock import LockTimeout
from patcher.targets.interpreter import python_parts

RUNTIME = Path(__file__).parent / "runtime"
SELFTEST = Path(__file__).parent / "selftest"
EMULATING = (
    "__init__.py", "asked.py", "backend.py", "device.py", "emulated.py", "events.py", "generators.py",
    "kernels.py", "kernels.tsv", "limits.py", "limits.tsv", "making.py", "methods.py", "moving.py",
    "operators.py", "process.py", "recorder.py", "releases.py", "report.py", "rules.py", "storages.py"
)  # fmt: skip
"""The files of the self-test that emulate a device, and report what it is asked."""
REPORT = "MPS_PATCHER_REPORT"
"""The environment variable with the path of the report, by which child processes know it too."""


class Emulation(NamedTuple):
    """That device "mps" is to be an emulated one, with the rules of this torch and macOS.

    None stands for the installed torch, and for the macOS that is taken where none is named.
    """

    torch: str | None = None
    macos: str | None = None


def prepare(
    target: Target,
    patches: Sequence[Patch],
    *,
    named: bool,
    lock: LockTimeout,
    macos: str | None = None,
    unpatched: bool = False,
    emulate: Emulation | None = None,
    environ: Mapping[str, str],
) -> dict[str, str]:
    """The environment variables in which the target's interpreter runs programs patched, and all that they start.

    Which patches, and what is refused, is as for `apply`: all that the user `named`, else those whose defect has an
    effect, under `macos` or, emulated, under those rules. `unpatched` takes patches away, also those on disk.
    What is needed is written once into the user's cache, and found there while the target stays as it is.

    Raises PatcherError: what `apply` would refuse; `not-permitted` for root in another user's environment;
    `no-cache`; CannotTell `no-interpreter`, `no-torch` or `no-rules`.
    """
    _require_runnable(target)
    device = emulated_rules(target, emulate) if emulate else None
    if device:  # the defect's effect is that under these rules
        target, macos = target._replace(torch=show(device.torch)), show(device.macos)
    told = emulate.torch if emulate else None
    names = tuple(patch.name for patch in patches) if named else None
    folder = prepared_folder(target, (names, macos, unpatched, device and tuple(device), told), environ)
    if not is_prepared(folder):
        progress.show("preparing", str(target.site_packages))
        served = _served_files(target, patches, named=named, lock=lock, macos=macos, unpatched=unpatched)
        write_prepared(folder, served | _runtime_files(target, unpatched=unpatched) | _emulation_files(device, told))
    return _environment(environ, folder / "site")


def emulated_rules(target: Target, emulate: Emulation) -> rules.Rules:
    """The rules that the emulated device follows in this target. Raises CannotTell: `no-torch` or `no-rules`."""
    if target.torch is None:
        raise CannotTell("no-torch", "--emulate needs torch in that environment.", "Install torch there.")
    try:
        return rules.choose_rules(emulate.torch, emulate.macos, installed=target.torch)
    except rules.NoRules as error:
        raise CannotTell("no-rules", f"{error}.", "Leave out --macos, or choose a newer one.") from error


def emulation_notice(target: Target, emulate: Emulation) -> str:
    """One line for the user of an emulated device. Raises as `emulated_rules`."""
    device = emulated_rules(target, emulate)
    words = f"the rules of torch {show(device.torch)} on macOS {show(device.macos)}"
    return f"The MPS device is emulated, with {words}; no Apple GPU is used."


def begin_report(file: Path, target: Target, emulate: Emulation, program: Sequence[str]) -> dict[str, str]:
    """The environment variables in which that program's processes add to this report, which is empty until then.

    The report takes the place of an earlier one. Raises PatcherError `no-report` where it cannot be written or would
    take the place of another file; and as `emulated_rules`.
    """
    device = emulated_rules(target, emulate)
    path = os.path.abspath(file)  # noqa: PTH100 - no link is resolved
    try:
        reports.create(path, show(device.torch), show(device.macos), program)
    except OSError as error:
        cause = f"{error.filename or path} cannot be written: {error.strerror}."
        raise PatcherError("no-report", cause, "Name another file with --report.") from error
    return {REPORT: path}


def _require_runnable(target: Target) -> None:
    if target.python is None:
        cause = f"No interpreter here uses {target.site_packages}."
        raise CannotTell("no-interpreter", cause, "Name one with --python.")
    if as_user_of(target.site_packages, *python_parts(target.python)):
        cause = f"{target.site_packages} or its interpreter belongs to another user, whose code would run as root."
        raise PatcherError("not-permitted", cause, "Run the command as that user.")


def _served_files(
    target: Target,
    patches: Sequence[Patch],
    *,
    named: bool,
    lock: LockTimeout,
    macos: str | None,
    unpatched: bool,
) -> dict[str, bytes]:
    """The files that modules come from instead of the installed ones."""
    from patcher.operations import make_plan, opened
    from patcher.plan import plan_revert
    from patcher.targets.reinstall import with_command

    with opened(target, exclusive=False, lock=lock) as snapshot:
        if unpatched:
            plan = plan_revert(snapshot, [patch.name for patch in snapshot.catalogue], force=False)
            refused = plan.refused
        else:
            plan, refused = make_plan(snapshot, patches, named=named, macos=macos)
    for error in refused.values():
        raise with_command(error, target)
    return {f"files/{path}": desired.data for path, desired in plan.files.items()}


def _runtime_files(target: Target, *, unpatched: bool) -> dict[str, bytes]:
    from patcher.catalogue import load_catalogue

    files = {
        "site/sitecustomize.py": (RUNTIME / "sitecustomize.py").read_bytes(),
        "after_torch.py": (RUNTIME / "after_torch.py").read_bytes(),
        "site-packages": os.fsencode(target.site_packages),
    }
    if not unpatched:
        (patch,) = (patch for patch in load_catalogue() if isinstance(patch, FunctionPatch))
        files["replacement.py"] = patch.replacement.encode()
    return files


def _emulation_files(device: rules.Rules | None, told: str | None) -> dict[str, bytes]:
    """The emulated device, and its rules: of which torch and macOS, and which torch programs are told that it is."""
    if device is None:
        return {}
    files = {f"selftest/{name}": (SELFTEST / name).read_bytes() for name in EMULATING}
    lines = (show(device.torch), show(device.macos), told or "")
    return {**files, "emulation": "\n".join(lines).encode()}


def _environment(environ: Mapping[str, str], site: Path) -> dict[str, str]:
    path = environ.get("PYTHONPATH")
    entries = path.split(os.pathsep) if path else []  # an empty entry among others is the current folder
    others = (entry for entry in entries if Path(entry).parent.parent != site.parent.parent)  # of a run around us
    added = {"PYTHONPATH": os.pathsep.join((str(site), *others)), "MPS_PATCHER_HOOK": "off"}  # installed files stay
    removed = ("__PYVENV_LAUNCHER__", REPORT)  # the first as for the probe, the other is that of a run around us
    kept = {name: value for name, value in environ.items() if name not in removed}
    return {"PYTORCH_ENABLE_MPS_FALLBACK": "1", **kept, **added}

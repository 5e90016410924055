"""The project's words as frozen values: Patch, Effect, Target, State, Check, Result."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patcher.errors import PatcherError


class State(StrEnum):
    """What the files of a target say of one patch. Derived from their content, never from a marker."""

    UNPATCHED = "unpatched"
    """A known defective body or call is there."""
    PATCHED = "patched"
    """The files are what the patch makes of the originals."""
    OUTDATED = "outdated"
    """The files are what an earlier version of this tool made of the originals."""
    MODIFIED = "modified"
    """An unknown body is there, or a patched file was edited since."""
    ABSENT = "absent"
    """This release has no such function or call."""
    INTERRUPTED = "interrupted"
    """A run was cut off; the next apply or revert finishes or undoes it by itself."""


class Effect(StrEnum):
    """What a defect does to the users of a target."""

    FAILS = "fails"
    """`generate()` or an import raises."""
    EDGE_CASES = "edge-cases"
    """Only inputs that `generate()` does not produce are wrong."""
    NONE = "none"


class KnownCode(NamedTuple):
    """A function body, or an `if` statement, of some release, known by its syntax tree."""

    name: str
    """For messages, such as `the function of transformers 4.45.0 - 4.46.1`."""
    digest: str
    """What `patcher.edit.syntax.code_digest` gives for it."""


class EffectRow(NamedTuple):
    """One row of a patch's table: where the defect has which effect. Specifiers are PEP 440; empty matches all."""

    transformers: str
    effect: Effect
    torch: str = ""
    macos: str = ""
    installed: str = ""
    """A requirement, such as `coqui-tts<0.28`, that an installed distribution has to meet."""
    error: str | None = None
    """The error's own text: what `fails` raises, or some of the edge cases."""
    consequence: str | None = None
    """What is wrong, as a clause, for `edge-cases`."""
    cures: tuple[str, ...] = ()
    """What else ends it, such as `transformers 4.46.2 or newer`."""


class FunctionPatch(NamedTuple):
    """Gives a function of one file another body, or appends the function where a release has none."""

    name: str
    summary: str
    """What the patch does, in one line."""
    links: tuple[str, ...]
    """The reports and pull requests that describe the defect."""
    file: PurePosixPath
    """The file that defines `function`, relative to site-packages."""
    function: str
    replacement: str
    """The source of a module that holds the right function, under the same name, at its top level."""
    contract: Path
    """A module of cases that the self-test runs in the target's interpreter."""
    known_bodies: tuple[KnownCode, ...]
    """The defective bodies that the replacement is known to replace."""
    lacks_function: str
    """The releases of transformers, as a specifier, that have no such function, so that it may be appended."""
    previous_bodies: tuple[KnownCode, ...] = ()
    """Replacements of earlier versions of this tool."""
    requires: tuple[str, ...] = ()
    """The names of the patches whose function this one calls."""
    effects: tuple[EffectRow, ...] = ()


class CallsPatch(NamedTuple):
    """Sends every direct call of `callee` in the package through `function` of `file`; what else it has is as above."""

    name: str
    summary: str
    links: tuple[str, ...]
    file: PurePosixPath
    function: str
    callee: str
    """What is called, literally: `torch.isin`."""
    imported_by_module: tuple[PurePosixPath, ...] = ()
    """Folders that the function's module imports from: a module in there cannot import the function at its top."""
    device_branches: tuple[KnownCode, ...] = ()
    """`if` statements that stand in for `callee` on one device: their test becomes `False`."""
    requires: tuple[str, ...] = ()
    effects: tuple[EffectRow, ...] = ()


Patch = FunctionPatch | CallsPatch
"""One entry of the catalogue."""


class Target(NamedTuple):
    """One installed transformers."""

    site_packages: Path
    """The folder that holds `transformers/` and its `.dist-info`."""
    dist_info: Path
    """The `transformers-X.dist-info` folder."""
    version: str
    """The version in its METADATA."""
    python: Path | None
    """The interpreter that imports this install, as named or found; None where none here can run it."""
    torch: str | None
    """The version of torch in the same environment, from its metadata; None where there is none."""
    installer: str | None
    """The content of INSTALLER: pip, uv, conda, ..."""
    pycache_prefix: Path | None
    """The interpreter's `sys.pycache_prefix`, where its bytecode lies if not beside the source."""
    reason: str
    """Why this target was chosen, as a clause."""
    search_path: tuple[Path, ...] = ()
    """That interpreter's `sys.path`, or site-packages alone: where other distributions are looked for."""
    shared: str | None = None
    """Why other environments may use this install too, as a clause; None where it is the interpreter's own, or where
    no interpreter was asked."""


class NotFound(NamedTuple):
    """A place where a target was looked for, and the error that says why it is none."""

    python: Path | None
    site_packages: Path | None
    error: PatcherError
    version: str | None = None


class Impact(NamedTuple):
    """The effect of a patch's defect on one target, and what it was judged from."""

    effect: Effect
    error: str | None = None
    """The error's own text, for `fails`."""
    consequence: str | None = None
    """What is wrong, as a clause, for `edge-cases`."""
    cures: tuple[str, ...] = ()
    """What else ends it, such as `transformers 4.46.2 or newer`."""
    torch_range: str = ""
    """The torch that has this effect, as a specifier; empty: any."""
    macos_range: str = ""
    """The macOS that has this effect, as a specifier; empty: any."""
    torch: str | None = None
    """The torch it was judged for; None: any, since the target holds none."""
    macos: str | None = None
    """The macOS it was judged for; None: any."""
    assumed_macos: bool = False
    """Whether `macos` is neither the real one nor given with --macos."""


class Device(NamedTuple):
    """What a verification ran on: the real MPS, or ours, which is always called emulated."""

    kind: str
    """`mps` or `emulated-mps`."""
    torch: str
    """The torch whose rules held."""
    macos: str
    """The macOS whose rules held."""


class Check(NamedTuple):
    """One named check of a verification."""

    name: str
    status: str
    """`passed`, `failed` or `skipped`."""
    detail: str
    seconds: float


class ChangedFile(NamedTuple):
    """One file of a patch, before and after a command."""

    path: Path
    before: str
    """sha256 in hex."""
    after: str
    """sha256 in hex; under `--dry-run`, what it would be."""


class Result(NamedTuple):
    """What one command found or did about one patch in one target."""

    target: Target | NotFound
    patch: str | None
    state: State | None
    changed: bool = False
    files: tuple[ChangedFile, ...] = ()
    """Every file that the patch is about in this target."""
    impact: Impact | None = None
    note: str | None = None
    """A sentence for the user: what was done, or why there was nothing to do."""
    diff: str | None = None
    error: PatcherError | None = None
    device: Device | None = None
    checks: tuple[Check, ...] = ()

"""The words of the project as frozen values: Patch, Target, State, Check, Result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath

from patcher.errors import PatcherError


class State(str, Enum):
    """What the files say of one patch in one target. Derived from their content, never from a marker."""

    UNPATCHED = "unpatched"
    """A known defective body is there."""
    PATCHED = "patched"
    """Our body is there, and the file is as we left it."""
    OUTDATED = "outdated"
    """The work of another version of this tool is there, as it left it; apply brings it up to date."""
    MODIFIED = "modified"
    """An unknown body is there, or the file was edited since we patched it."""
    ABSENT = "absent"
    """This release has no such function."""
    INTERRUPTED = "interrupted"
    """A previous run was cut off; the next apply or revert finishes or undoes it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBody:
    """A body of the patched function that some release ships, known by the shape of its syntax tree."""

    name: str
    """How messages call it, such as `A (transformers 4.45.0 - 4.46.1)`."""
    digest: str
    """What `patcher.body.body_digest` gives for it: parameters and statements, without docstring or annotations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Whether a target needs a patch, and why, in a sentence a user understands."""

    needed: bool
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One entry of the catalogue: what a `FunctionPatch` and a `CallsPatch` have in common."""

    name: str
    summary: str
    """What the patch does, in one line."""
    links: tuple[str, ...]
    """The reports and pull requests that tell of the defect."""
    file: PurePosixPath
    """The file that holds the function, relative to site-packages."""
    function: str
    """The qualified name of the function in that file."""
    need: Callable[[str, str | None, int], Need]
    """(transformers version, torch version or None, number of files that the patch is about) -> whether and why."""
    requires: tuple[Patch, ...] = ()
    """The patches that this one calls: applied before it, taken back after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionPatch(Patch):
    """One function of one file: its body is replaced, or the function is added where a release has none."""

    replacement: Path
    """A Python file with the right function, under the same name, at its top level."""
    known: tuple[KnownBody, ...]
    """The defective bodies that the replacement is known to replace."""
    former: tuple[KnownBody, ...] = ()
    """Replacements of earlier versions of this tool."""
    without: Callable[[str], bool]
    """Whether a release of transformers is known to have no such function, so that it is to be added."""
    contract: Path
    """A Python file of cases that the self-test runs inside the target's interpreter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsPatch(Patch):
    """Every call of `callee` in a package goes through `function` of `file` instead."""

    callee: str
    """The qualified name of what is called, such as `torch.isin`."""
    parameters: tuple[str, ...]
    """The parameters of `callee` that `function` has too, in order."""
    beneath: tuple[PurePosixPath, ...] = ()
    """Packages that the function's module imports: a module in there cannot import the function."""
    branches: tuple[KnownBody, ...]
    """`if` statements that stand in for `callee` on one device, by the shape of their test and body: they go, and
    what stands under their `else` takes their place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One installed transformers."""

    site_packages: Path
    """The folder that holds `transformers/` and its `.dist-info`."""
    dist_info: Path
    """The `transformers-X.dist-info` folder."""
    version: str
    """The version that `dist_info` names."""
    python: Path | None
    """The interpreter that sees this install, as the user or the search named it; None where none here can run it."""
    torch: str | None
    """The version of torch that the same environment holds, read from its metadata; None where there is none."""
    installer: str | None
    """The content of INSTALLER: pip, uv, conda, ..."""
    pycache_prefix: Path | None
    """The interpreter's `sys.pycache_prefix`, where its bytecode lives if not beside the source."""
    reason: str
    """Why this target was chosen, in words."""
    identity: tuple[int, int] | None = None
    """Device and inode of `site_packages` when it was judged; None where that is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFound:
    """A place where a target was looked for, and the error that says why it is none."""

    python: Path | None
    site_packages: Path | None
    error: PatcherError
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """What a verification ran on: the real MPS, or ours, which is always called emulated."""

    kind: str
    """`mps` or `emulated-mps`."""
    torch: str
    """The torch whose rules held."""
    macos: str
    """The macOS whose rules held."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One named check of a verification."""

    name: str
    status: str
    """`passed`, `failed` or `skipped`."""
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Touched:
    """One file of a patch, before and after a command."""

    path: Path
    before: str
    """sha256 in hex."""
    after: str
    """sha256 in hex; under `--dry-run`, what it would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one command found or did about one patch in one target."""

    target: Target | NotFound
    patch: str | None
    file: Path | None
    """The patched file, of a patch that has one."""
    state: State | None
    changed: bool = False
    before: str | None = None
    """sha256 of the file when the command began, in hex."""
    after: str | None = None
    """sha256 of the file when the command ended, in hex; under `--dry-run`, what it would be."""
    files: tuple[Touched, ...] = ()
    """Every file that the patch is about in this target."""
    need: Need | None = None
    note: str | None = None
    """A sentence for the user: what was done, or why there was nothing to do."""
    diff: str | None = None
    error: PatcherError | None = None
    device: Device | None = None
    checks: tuple[Check, ...] = ()

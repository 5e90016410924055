"""The catalogue, `patches/*/patch.toml`, as patches, and what the defect of each does to a target."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from patcher.errors import CannotTell
from patcher.model import CallsPatch, Effect, EffectRow, FunctionPatch, Impact, KnownCode, Patch, Target
from patcher.selftest import releases


@cache
def load_catalogue() -> tuple[Patch, ...]:
    """Every patch, those that others require before them.

    Raises ValueError or KeyError where the catalogue is wrong in itself: it is part of the tool.
    """
    patches = {patch.name: patch for patch in map(load_patch, sorted(catalogue_folder().glob("*/patch.toml")))}
    order = TopologicalSorter({name: patch.requires for name, patch in patches.items()}).static_order()
    return tuple(patches[name] for name in order)


def catalogue_folder() -> Path:
    """Where the patches lie: in the package, as a wheel has it, or beside it in a checkout."""
    packed = Path(__file__).parent / "patches"
    return packed if packed.is_dir() else packed.parent.parent / "patches"


def load_patch(file: Path) -> Patch:
    """The patch of one patch.toml, whose keys are the model's fields, with hyphens. A `callee` makes it a CallsPatch.

    Raises ValueError, which names the file, for a missing or unknown key, an unknown effect or a missing file.
    """
    try:
        table = tomllib.loads(file.read_text("utf-8")).items()
        fields = {key.replace("-", "_"): _CONVERSIONS.get(key, _as_it_is)(value) for key, value in table}
        if "callee" in fields:
            return CallsPatch(**fields)
        replacement = file.with_name("replacement.py").read_text("utf-8")
        return FunctionPatch(**fields, replacement=replacement, contract=file.with_name("contract.py"))
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from error


def impact(patch: Patch, target: Target, *, macos: str | None = None) -> Impact:
    """The effect of the patch's defect on a target, under the given macOS, or else the real one.

    Of the rows of the patch's table that match, the worst holds, and among equals the first. What is not known matches
    every row. Where macOS is neither given nor real, the oldest that `generate()` runs on with the target's torch is
    assumed; without a torch, or with one whose version says nothing, it is any, which is no assumption. A transformers
    whose version says nothing matches no row.
    """
    transformers, torch = _release(target.version), _release(target.torch)
    known_macos = macos or host_macos()
    judged_macos = known_macos or _macos_of(torch, releases.usual_macos)
    rows = (
        row
        for row in patch.effects
        if transformers
        and _matches(row.transformers, transformers)
        and _matches(row.torch, torch)
        and _matches(row.macos, _release(judged_macos))
        and _is_installed(row.installed, target.search_path)
    )
    worst = min(rows, key=lambda row: list(Effect).index(row.effect), default=_NO_EFFECT)
    return Impact(
        effect=worst.effect,
        error=worst.error,
        consequence=worst.consequence,
        cures=worst.cures,
        torch_range=worst.torch,
        macos_range=worst.macos,
        torch=target.torch if torch else None,
        macos=judged_macos,
        assumed_macos=judged_macos is not None and known_macos is None,
    )


def require_macos(target: Target, macos: str | None) -> None:
    """Raises CannotTell `no-rules` where the torch of a target does not run on that macOS."""
    oldest = _macos_of(_release(target.torch), releases.oldest_macos)
    if macos and oldest and Version(macos) < Version(oldest):
        torch = ".".join(str(target.torch).split(".")[:2])
        hint = f"Leave out --macos, or ask for {oldest} or newer."
        raise CannotTell("no-rules", f"torch {torch} needs macOS {oldest} or newer.", hint)


def is_known_to_lack(patch: FunctionPatch, version: str) -> bool:
    """Whether that release of transformers, or what leads to it, is known to have no such function."""
    release = _release(version)
    return release is not None and _matches(patch.lacks_function, release)


def host_macos() -> str | None:
    """The version of macOS that this process runs on; None elsewhere, and where macOS does not tell it.

    To a Python that was built for macOS 10, each later one calls itself 10.16.
    """
    import platform

    version = platform.mac_ver()[0]
    return None if version in ("", "10.16") else version


_NO_EFFECT = EffectRow(transformers="", effect=Effect.NONE)


def _release(version: str | None) -> Version | None:
    """The release that a version is or leads to, such as 4.45.0 for 4.45.0.dev0; None for what is no version."""
    try:
        return Version(Version(version or "").base_version)
    except InvalidVersion:
        return None


def _macos_of(torch: Version | None, choose: Callable[[tuple[int, int]], tuple[int, int]]) -> str | None:
    return releases.show(choose((torch.major, torch.minor))) if torch else None


def _matches(specifiers: str, release: Version | None) -> bool:
    """Whether a release meets one of the alternatives that `||` separates; what is not known does."""
    return release is None or any(SpecifierSet(one).contains(release) for one in specifiers.split("||"))


def _is_installed(requirement: str, search_path: tuple[Path, ...]) -> bool:
    """Whether the first distribution of that name on the path, which is the one that is imported, meets it."""
    if not requirement:
        return True
    from importlib.metadata import distributions

    name = re.split("[<>=!~]", requirement)[0]  # packaging.requirements takes as long to load as all of this module
    found = distributions(name=name, path=[str(folder) for folder in search_path])
    versions = [one.version for one in found if one.read_text("METADATA")]  # without it, it is what is left of one
    return bool(versions) and _matches(requirement.removeprefix(name), _release(versions[0]))


def _as_it_is(value: Any) -> Any:
    return value


def _paths(values: list[str]) -> tuple[PurePosixPath, ...]:
    return tuple(map(PurePosixPath, values))


def _codes(tables: list[dict[str, str]]) -> tuple[KnownCode, ...]:
    return tuple(KnownCode(**table) for table in tables)


def _rows(tables: list[dict[str, Any]]) -> tuple[EffectRow, ...]:
    return tuple(
        EffectRow(**{**table, "effect": Effect(table["effect"]), "cures": tuple(table.get("cures", ()))})
        for table in tables
    )


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "links": tuple,
    "file": PurePosixPath,
    "requires": tuple,
    "known-bodies": _codes,
    "previous-bodies": _codes,
    "imported-by-module": _paths,
    "device-branches": _codes,
    "effects": _rows,
}

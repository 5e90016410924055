"""The catalogue as a whole, and what it knows of every release that can be fetched."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FunctionType
from zipfile import ZipFile

import pytest

from patcher.errors import PatcherError
from patcher.model import FunctionPatch, Patch, State
from patcher.rewrite import add, recognise, transplant
from patcher.selftest import checks
from patches import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
FUNCTIONS = tuple(patch for patch in CATALOGUE if isinstance(patch, FunctionPatch))
(ISIN,) = FUNCTIONS
(DIRECT,) = (patch for patch in CATALOGUE if patch.name == "direct_isin")
RELEASES = {
    "4.38.2": None,
    "4.44.2": None,
    "4.45.0": "A",
    "4.45.1": "A",
    "4.45.2": "A",
    "4.46.0": "A",
    "4.46.1": "A",
    "4.46.2": "B",
    "4.46.3": "B",
    "4.57.6": "B",
    "5.0.0": "B",
    "5.1.0": None,
    "5.23.0": None,
}
"""By release of transformers, the body that it ships of `isin_mps_friendly`."""
TORCHES = [None, "2.0.1", "2.1.0", "2.3.1+cpu", "2.4.0", "2.6.0", "2.8.0", "2.9.0", "2.13.0+cpu", "2.14.0.dev20261101"]
NONSENSE = ["", "unknown", "2.x", "main", "git+abc", "2.1.0 (patched)", "\N{SNOWMAN}"]


def each(patches: Sequence[Patch] = CATALOGUE) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("patch", patches, ids=lambda patch: patch.name)


def test_every_folder_is_a_patch_and_every_patch_a_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "patches").glob("*/__init__.py")}
    assert sorted(patch.name for patch in CATALOGUE) == sorted(folders)
    for patch in FUNCTIONS:
        assert patch.contract.parent == patch.replacement.parent == ROOT / "patches" / patch.name


@each()
def test_a_patch_comes_after_those_that_it_requires(patch: Patch) -> None:
    earlier = CATALOGUE[: CATALOGUE.index(patch)]
    assert set(patch.requires) <= set(earlier)


@each()
def test_a_patch_tells_what_it_is(patch: Patch) -> None:
    assert 20 < len(patch.summary) <= 100
    assert patch.summary.endswith(".")
    assert patch.links
    assert all(link.startswith("https://github.com/") for link in patch.links)
    known = getattr(patch, "known", ()) + getattr(patch, "former", ()) + getattr(patch, "branches", ())
    assert known
    assert len({one.digest for one in known}) == len({one.name for one in known}) == len(known)


@each()
def test_the_readme_and_the_changelog_name_every_patch(patch: Patch) -> None:
    assert patch.name in (ROOT / "README.md").read_text("utf-8")
    assert patch.name in (ROOT / "CHANGELOG.md").read_text("utf-8")


@each(FUNCTIONS)
def test_a_replacement_stands_for_itself_in_any_file(patch: FunctionPatch) -> None:
    """It is ASCII, has a docstring, and is what it makes of a file that has nothing else."""
    source = patch.replacement.read_bytes()
    assert source.isascii()
    assert b"\r" not in source
    (function,) = (node for node in ast.parse(source).body if getattr(node, "name", "") == patch.function)
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function)
    assert recognise(source, patch).state is State.PATCHED
    assert transplant(source, patch, force=False) is source


@each(FUNCTIONS)
def test_a_replacement_is_no_known_body(patch: FunctionPatch) -> None:
    assert recognise(patch.replacement.read_bytes(), patch).body is None


@pytest.mark.parametrize(("release", "body"), RELEASES.items())
def test_every_release_is_known(release: str, body: str | None, wheels: Callable[[str], Path]) -> None:
    with ZipFile(wheels(release)) as archive:
        source = archive.read(str(ISIN.file))
    found = recognise(source, ISIN)
    assert ISIN.without(release) is (body is None)
    if body is None:
        assert found.state is State.ABSENT
        with pytest.raises(PatcherError, match="isin_mps_friendly"):
            transplant(source, ISIN, force=True)
        result = add(source, ISIN)
        assert result.startswith(source)
    else:
        assert (found.state, (found.body or "?")[0]) == (State.UNPATCHED, body)
        result = transplant(source, ISIN, force=False)
    # `verify` compares code, which could differ by what the file says outside the function
    module = compile(result, "pytorch_utils.py", "exec", dont_inherit=True)
    (code,) = (one for one in module.co_consts if getattr(one, "co_name", "") == ISIN.function)
    request = {"replacement": str(ISIN.replacement), "function": ISIN.function}
    assert checks._is_fixed(FunctionType(code, {}), request)


@pytest.mark.parametrize(
    ("release", "needed", "without"),
    [
        ("4.37.2", False, False),
        ("4.38.0", False, True),
        ("4.44.99", False, True),
        ("4.45.0.dev0", True, False),
        ("4.45.0rc1", True, False),
        ("4.45.1", True, False),
        ("4.50.0.dev0", True, False),
        ("4.49.0+local.1", True, False),
        ("5.0.0rc3", True, False),
        ("5.0.7", True, False),
        ("5.1.0.dev0", True, True),
        ("5.23.0", True, True),
        ("6.0", True, True),
    ],
)
def test_need_of_the_function_is_told_by_the_release(release: str, needed: bool, without: bool) -> None:
    assert ISIN.without(release) is without
    for torch in TORCHES:
        found = ISIN.need(release, torch, 1)
        assert found.needed is needed
        assert release in found.reason


@pytest.mark.parametrize(
    ("release", "words"),
    [
        ("4.37.2", "is older than 4.38"),
        ("4.38.0", "calls torch.isin itself"),
        ("4.44.2", "calls torch.isin itself"),
        ("5.1.0", "which other packages import from it"),
    ],
)
def test_the_reason_is_told_by_the_release(release: str, words: str) -> None:
    assert words in ISIN.need(release, "2.1.0", 1).reason


@pytest.mark.parametrize(
    ("release", "torch", "files", "needed", "reason"),
    [
        (
            "4.44.2",
            "2.4.0",
            5,
            True,
            "torch 2.4.0 has an incomplete isin on MPS and transformers 4.44.2 calls it in 5 files",
        ),
        ("main", "2.3.1", 2, True, "torch 2.3.1 has no isin on MPS and transformers main calls it in 2 files"),
        ("4.44.2", "2.3.1", 5, True, "torch 2.3.1 has no isin on MPS and transformers 4.44.2 calls it in 5 files"),
        ("4.38.2", "2.1.0", 1, True, "torch 2.1.0 has no isin on MPS and transformers 4.38.2 calls it in 1 file"),
        (
            "5.23.0",
            "2.8.0",
            11,
            True,
            "torch 2.8.0 has an incomplete isin on MPS and transformers 5.23.0 calls it in 11 files",
        ),
        (
            "5.23.0",
            None,
            11,
            True,
            "torch older than 2.9 has no right isin on MPS and transformers 5.23.0 calls it in 11 files",
        ),
        (
            "5.23.0",
            "2.9.0",
            11,
            False,
            "torch 2.9.0 has a sound isin on MPS, and transformers 5.23.0 calls it in 11 files",
        ),
        (
            "4.42.4",
            "2.13.0",
            5,
            True,
            "transformers 4.42.4 refuses to infer an attention mask on MPS, and calls torch.isin directly in 5 files",
        ),
        ("4.45.1", "2.1.0", 0, False, "transformers 4.45.1 calls torch.isin directly in no file"),
    ],
)
def test_need_of_the_direct_calls_is_told_by_both(
    release: str, torch: str | None, files: int, needed: bool, reason: str
) -> None:
    found = DIRECT.need(release, torch, files)
    assert (found.needed, found.reason) == (needed, reason)


@pytest.mark.parametrize(
    ("torch", "words"),
    [
        (None, "older than 2.9"),
        ("2.1.0", "torch 2.1.0 has no isin on MPS"),
        ("2.3.1+cpu", "torch 2.3.1+cpu has no isin on MPS"),
        ("2.4.0", "torch 2.4.0 has an incomplete isin on MPS"),
        ("2.8.0", "torch 2.8.0 has an incomplete isin on MPS"),
        ("2.9.0", "and with 2.9.0 if one operand is on the CPU"),
        ("2.13.0+cpu", "and with 2.13.0+cpu if one operand is on the CPU"),
    ],
)
def test_the_reason_is_told_by_torch(torch: str | None, words: str) -> None:
    assert words in ISIN.need("4.45.1", torch, 1).reason


@each()
@pytest.mark.parametrize("version", NONSENSE, ids=ascii)
def test_no_version_however_odd_is_an_error(version: str, patch: Patch) -> None:
    assert not ISIN.need(version, "2.1.0", 1).needed
    assert not ISIN.without(version)
    for odd in (patch.need(version, version, 1), patch.need("4.45.1", version, 1)):
        assert "\n" not in odd.reason
    assert patch.need("4.45.1", version, 1).needed

"""The catalogue as a whole, and what it knows of every release that can be fetched."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

from patcher.errors import PatcherError
from patcher.model import Patch, State
from patcher.rewrite import recognise, transplant
from patcher.selftest import checks
from patches import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
(ISIN,) = (patch for patch in CATALOGUE if patch.name == "isin_mps_friendly")
RELEASES = {
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
}
"""By release of transformers, the body that it ships of `isin_mps_friendly`."""
TORCHES = [None, "2.0.1", "2.1.0", "2.3.1+cpu", "2.4.0", "2.6.0", "2.8.0", "2.9.0", "2.13.0+cpu", "2.14.0.dev20261101"]
NONSENSE = ["", "unknown", "2.x", "main", "git+abc", "2.1.0 (patched)", "\N{SNOWMAN}"]


def each(patches: tuple[Patch, ...] = CATALOGUE) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("patch", patches, ids=lambda patch: patch.name)


def test_every_folder_is_a_patch_and_every_patch_a_folder() -> None:
    folders = {path.parent.name for path in (ROOT / "patches").glob("*/__init__.py")}
    assert [patch.name for patch in CATALOGUE] == sorted(folders)
    for patch in CATALOGUE:
        assert patch.contract.parent == patch.replacement.parent == ROOT / "patches" / patch.name


@each()
def test_a_patch_tells_what_it_is(patch: Patch) -> None:
    assert 20 < len(patch.summary) <= 100
    assert patch.summary.endswith(".")
    assert patch.links
    assert all(link.startswith("https://github.com/") for link in patch.links)
    assert (
        len({known.digest for known in patch.known}) == len({known.name for known in patch.known}) == len(patch.known)
    )


@each()
def test_the_readme_and_the_changelog_name_every_patch(patch: Patch) -> None:
    assert patch.name in (ROOT / "README.md").read_text("utf-8")
    assert patch.name in (ROOT / "CHANGELOG.md").read_text("utf-8")


@each()
def test_a_replacement_stands_for_itself_in_any_file(patch: Patch) -> None:
    """It is ASCII, has a docstring, and is what it makes of a file that has nothing else."""
    source = patch.replacement.read_bytes()
    assert source.isascii()
    assert b"\r" not in source
    (function,) = (node for node in ast.parse(source).body if getattr(node, "name", "") == patch.function)
    assert isinstance(function, ast.FunctionDef)
    assert ast.get_docstring(function)
    assert recognise(source, patch).state is State.PATCHED
    assert transplant(source, patch) is source


@each()
def test_a_replacement_is_no_known_body(patch: Patch) -> None:
    assert recognise(patch.replacement.read_bytes(), patch).body is None


@pytest.mark.parametrize(("release", "body"), RELEASES.items())
def test_every_release_is_known(release: str, body: str | None, wheels: Callable[[str], Path], tmp_path: Path) -> None:
    with ZipFile(wheels(release)) as archive:
        source = archive.read(str(ISIN.file))
    found = recognise(source, ISIN)
    assert ISIN.need(release, None).needed is (body is not None)
    if body is None:
        assert found.state is State.ABSENT
        with pytest.raises(PatcherError, match="isin_mps_friendly"):
            transplant(source, ISIN, force=True)
        return
    assert (found.state, (found.body or "?")[0]) == (State.UNPATCHED, body)
    patched = tmp_path / "pytorch_utils.py"
    patched.write_bytes(transplant(source, ISIN))
    # `verify` compares code, which could differ by what the file says outside the function
    codes = [checks._code_in(str(path), ISIN.function) for path in (patched, ISIN.replacement)]
    assert checks._same_code(*codes)


@pytest.mark.parametrize(
    ("release", "needed"),
    [
        *((release, body is not None) for release, body in RELEASES.items()),
        ("4.38.0", False),
        ("4.44.99", False),
        ("4.45.0.dev0", True),
        ("4.45.0rc1", True),
        ("4.50.0.dev0", True),
        ("4.49.0+local.1", True),
        ("5.0.0rc3", True),
        ("5.0.7", True),
        ("5.1.0.dev0", False),
        ("5.23.0", False),
        ("6.0", False),
    ],
)
def test_need_is_told_by_the_release(release: str, needed: bool) -> None:
    for torch in TORCHES:
        found = ISIN.need(release, torch)
        assert found.needed is needed
        assert release in found.reason


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
    assert words in ISIN.need("4.45.1", torch).reason


@each()
@pytest.mark.parametrize("version", NONSENSE, ids=ascii)
def test_no_version_however_odd_is_an_error(version: str, patch: Patch) -> None:
    assert not patch.need(version, "2.1.0").needed
    assert patch.need("4.45.1", version).needed
    assert "\n" not in patch.need(version, version).reason + patch.need("4.45.1", version).reason

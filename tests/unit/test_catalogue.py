"""The catalogue as data, and the effects that it tells, compared with real runs and real wheels."""

from __future__ import annotations

import ast
import json
import platform
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

from patcher.catalogue import host_macos, impact, is_known_to_lack, load_catalogue, load_patch
from patcher.model import CallsPatch, Effect, FunctionPatch, Patch, Target

ROOT = Path(__file__).resolve().parent.parent.parent
CATALOGUE = {patch.name: patch for patch in load_catalogue()}
ISIN = CATALOGUE["isin_mps_friendly"]
DIRECT = CATALOGUE["direct_isin"]
FUNCTIONS = [patch for patch in CATALOGUE.values() if isinstance(patch, FunctionPatch)]

NO_KERNEL = "NotImplementedError: The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented"
NO_INTEGERS = "RuntimeError: isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0."
NO_MASK = "ValueError: Can't infer missing attention mask on `mps` device."
NO_INDEX = "IndexError: tuple index out of range"
NO_NAME = "ImportError: cannot import name 'isin_mps_friendly' from 'transformers.pytorch_utils'"


@pytest.fixture(autouse=True)
def set_host_macos(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`set_host_macos("14.5")` makes this a Mac; until then it is none."""

    def set_version(version: str) -> None:
        monkeypatch.setattr(platform, "mac_ver", lambda: (version, ("", "", ""), "arm64" if version else ""))

    set_version("")
    return set_version


def target(transformers: str, torch: str | None, *search_path: Path) -> Target:
    return Target(
        site_packages=Path("site-packages"),
        dist_info=Path("site-packages", f"transformers-{transformers}.dist-info"),
        version=transformers,
        python=None,
        torch=torch,
        installer=None,
        pycache_prefix=None,
        reason="it was named",
        search_path=search_path,
    )


each = pytest.mark.parametrize("patch", CATALOGUE.values(), ids=lambda patch: patch.name)
each_function = pytest.mark.parametrize("patch", FUNCTIONS, ids=lambda patch: patch.name)


class TestContents:
    def test_every_folder_is_a_patch_of_its_name(self) -> None:
        assert {path.name for path in (ROOT / "patches").iterdir() if path.is_dir()} - {"__pycache__"} == set(CATALOGUE)

    def test_what_is_required_comes_before(self) -> None:
        seen: set[str] = set()
        for name, patch in CATALOGUE.items():
            assert set(patch.requires) <= seen
            seen.add(name)

    @each
    def test_a_patch_says_what_it_is(self, patch: Patch) -> None:
        assert 20 < len(patch.summary) <= 100
        assert patch.summary.endswith(".")
        assert patch.links
        assert all(link.startswith("https://github.com/") for link in patch.links)
        assert patch.name in (ROOT / "README.md").read_text("utf-8")
        assert patch.name in (ROOT / "CHANGELOG.md").read_text("utf-8")

    @each
    def test_known_code_has_a_name_and_a_digest_of_its_own(self, patch: Patch) -> None:
        if isinstance(patch, FunctionPatch):
            codes = patch.known_bodies + patch.previous_bodies
        else:
            assert isinstance(patch, CallsPatch)
            codes = patch.device_branches
        assert codes
        assert len({code.digest for code in codes}) == len({code.name for code in codes}) == len(codes)
        assert all(re.fullmatch("[0-9a-f]{64}", code.digest) for code in codes)
        assert all(code.name.startswith("the ") for code in codes)

    @each
    def test_what_fails_has_an_error(self, patch: Patch) -> None:
        assert patch.effects
        for row in patch.effects:
            assert row.effect is not Effect.NONE
            assert row.error or row.effect is not Effect.FAILS
            assert row.error is None or re.match(r"[A-Z]\w+Error: \S", row.error)

    @each
    def test_the_error_of_an_edge_case_is_never_that_of_a_target(self, patch: Patch) -> None:
        for version in ("4.38.2", "4.44.2", "4.45.1", "4.57.6", "5.24.0"):
            for torch in ("2.1.0", "2.3.1", "2.6.0", "2.8.0", "2.13.0"):
                found = impact(patch, target(version, torch), macos="14")
                assert found.error is None or found.effect is Effect.FAILS

    def test_calls_are_sent_to_the_function_of_the_patch_that_is_required(self) -> None:
        assert (DIRECT.requires, DIRECT.file, DIRECT.function) == ((ISIN.name,), ISIN.file, ISIN.function)

    @each_function
    def test_a_replacement_can_stand_in_any_file(self, patch: FunctionPatch) -> None:
        assert patch.replacement.isascii()
        (function,) = (node for node in ast.parse(patch.replacement).body if isinstance(node, ast.FunctionDef))
        assert function.name == patch.function
        assert ast.get_docstring(function)

    @each_function
    def test_a_contract_is_there(self, patch: FunctionPatch) -> None:
        assert patch.contract == ROOT / "patches" / patch.name / "contract.py"
        assert patch.contract.is_file()


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ('summary = "', 'sumary = "', "sumary"),
        ("[[known-bodies]]", "[[known-body]]", "known_body"),
        ('name = "isin_mps_friendly"', "", "name"),
        ('effect = "edge-cases"', 'effect = "edge"', "'edge' is not a valid Effect"),
        ('effect = "edge-cases"', "", "'effect'"),
        ('digest = "', 'sha256 = "', "sha256"),
        ('name = "', "name = ", "Invalid"),
    ],
)
def test_a_malformed_patch_is_an_error_that_names_its_file(before: str, after: str, words: str, tmp_path: Path) -> None:
    folder = ROOT / "patches" / ISIN.name
    (tmp_path / "replacement.py").write_bytes((folder / "replacement.py").read_bytes())
    text = (folder / "patch.toml").read_text("utf-8")
    file = tmp_path / "patch.toml"
    file.write_text(text, "utf-8")
    assert load_patch(file).name == ISIN.name
    assert before in text
    file.write_text(text.replace(before, after), "utf-8")
    with pytest.raises(ValueError, match=rf"^{re.escape(str(file))}: .*{words}"):
        load_patch(file)


def compatibility() -> Iterator[tuple[str, str, str, set[str]]]:
    """Release, torch, macOS and the errors of the unpatched generate(), wherever the release accepts that torch."""
    releases = json.loads((ROOT / "docs" / "compatibility.json").read_text("utf-8"))
    for release, found in releases.items():
        for rules, runs in found["before"].items():
            if "errors" in runs:
                yield release, *rules.split(","), set(runs["errors"])


@pytest.mark.parametrize(("release", "torch", "macos", "errors"), list(compatibility()))
def test_the_effects_are_those_of_real_runs(release: str, torch: str, macos: str, errors: set[str]) -> None:
    found = [impact(patch, target(release, torch), macos=macos) for patch in CATALOGUE.values()]
    failing = [one for one in found if one.effect is Effect.FAILS]
    assert bool(failing) is bool(errors)
    for one in failing:
        assert one.error is not None
        assert any(seen.startswith(one.error) for seen in errors)


def test_the_runs_that_the_effects_are_compared_with_are_many() -> None:
    runs = list(compatibility())
    assert len({release for release, *_ in runs}) == 50
    assert len(runs) > 200
    assert 50 < sum(bool(errors) for *_, errors in runs) < 150


FAILS, EDGE_CASES, NONE = Effect.FAILS, Effect.EDGE_CASES, Effect.NONE


@pytest.mark.parametrize(
    ("transformers", "torch", "macos", "isin", "direct"),
    [
        ("4.37.2", "2.1.0", "13", NONE, NONE),
        ("4.38.0", "2.1.0", "13", NONE, EDGE_CASES),
        ("4.39.3", "2.9.0", "14", NONE, NONE),
        ("4.40.0", "2.3.1", "14", NONE, FAILS),
        ("4.40.2", "2.4.0", "14", NONE, EDGE_CASES),
        ("4.43.4", "2.13.0", "26", NONE, FAILS),
        ("4.44.2", "2.4.0", "13.7.8", NONE, FAILS),
        ("4.44.2", "2.8.0", "14", NONE, NONE),
        ("4.44.2", "2.9.0", "14", NONE, NONE),
        ("4.45.0", "2.3.1", "14", FAILS, NONE),
        ("4.46.1", "2.4.0", "14.0", EDGE_CASES, NONE),
        ("4.46.2", "2.3.1", "12.3", EDGE_CASES, NONE),
        ("4.49.0", "2.8.0", "13", FAILS, NONE),
        ("4.50.0", "2.3.1", "14", EDGE_CASES, EDGE_CASES),
        ("4.50.0", "2.8.0", "13", FAILS, EDGE_CASES),
        ("5.0.7", "2.9.0", "15", EDGE_CASES, NONE),
        ("5.1.0", "2.8.0", "13", EDGE_CASES, FAILS),
        ("5.1.0", "2.7.1", "14", EDGE_CASES, EDGE_CASES),
        ("5.24.0", "2.13.0", "26", EDGE_CASES, NONE),
        ("6.0", "2.13.0", "26", EDGE_CASES, NONE),
        # What leads to a release, or is built from it, counts as the release
        ("4.45.0.dev0", "2.3.1", "14", FAILS, NONE),
        ("4.46.2rc1", "2.3.1+cpu", "14", EDGE_CASES, NONE),
        ("4.44.2+ours.1", "2.4.0a0+gitabc", "13", NONE, FAILS),
        ("5.1.0.dev0", "2.9.0.dev20250801", "14", EDGE_CASES, NONE),
    ],
)
def test_the_effect_of_a_target(transformers: str, torch: str, macos: str, isin: Effect, direct: Effect) -> None:
    found = [impact(patch, target(transformers, torch), macos=macos) for patch in (ISIN, DIRECT)]
    assert [one.effect for one in found] == [isin, direct]
    assert {(one.torch, one.macos, one.assumed_macos) for one in found} == {(torch, macos, False)}


@pytest.mark.parametrize(
    ("patch", "transformers", "torch", "macos", "error", "cure"),
    [
        (ISIN, "4.45.1", "2.1.0", "14", NO_INDEX, "transformers 4.46.2 or newer"),
        (ISIN, "4.45.1", "2.6.0", "13", NO_INTEGERS, "macOS 14 or newer"),
        (ISIN, "4.45.1", None, None, NO_INDEX, "transformers 4.46.2 or newer"),
        (ISIN, "4.46.2", None, None, NO_INTEGERS, "macOS 14 or newer"),
        (DIRECT, "4.44.2", "2.1.0", "13", NO_KERNEL, "torch 2.9 or newer (needs macOS 14)"),
        (DIRECT, "4.42.4", "2.1.0", "13", NO_KERNEL, "transformers 4.46.2 or newer"),
        (DIRECT, "4.42.4", "2.6.0", "13", NO_INTEGERS, "transformers 4.44 or newer, on macOS 14 or newer"),
        (DIRECT, "4.42.4", "2.9.0", "14", NO_MASK, "transformers 4.44 or newer"),
        (DIRECT, "5.24.0", None, None, NO_INTEGERS, "macOS 14 or newer"),
    ],
)
def test_what_fails_has_its_error_and_a_cure(
    patch: Patch, transformers: str, torch: str | None, macos: str | None, error: str, cure: str
) -> None:
    found = impact(patch, target(transformers, torch), macos=macos)
    assert found.effect is FAILS
    assert found.error is not None
    assert found.error.startswith(error)
    assert cure in found.cures


@pytest.mark.parametrize(
    ("transformers", "torch", "macos", "isin", "direct"),
    [
        ("5.24.0", None, None, EDGE_CASES, FAILS),
        ("5.24.0", None, "14", EDGE_CASES, EDGE_CASES),
        ("5.24.0", "main", None, EDGE_CASES, FAILS),
        ("5.24.0", "", "14", EDGE_CASES, EDGE_CASES),
        ("4.46.2", None, None, FAILS, NONE),
        ("4.46.2", None, "14", EDGE_CASES, NONE),
        ("4.37.2", None, None, NONE, NONE),
        ("main", "2.1.0", None, NONE, NONE),
        ("", None, None, NONE, NONE),
        ("4.45.1 (patched)", "2.x", None, NONE, NONE),
    ],
)
def test_what_is_unknown_is_the_worst_of_what_it_may_be(
    transformers: str, torch: str | None, macos: str | None, isin: Effect, direct: Effect
) -> None:
    found = [impact(patch, target(transformers, torch), macos=macos) for patch in (ISIN, DIRECT)]
    assert [one.effect for one in found] == [isin, direct]
    if torch != "2.1.0":
        assert {(one.torch, one.macos, one.assumed_macos) for one in found} == {(None, macos, False)}


class TestMacos:
    @pytest.mark.parametrize(
        ("torch", "usual"),
        [
            ("1.13.1", "13"),
            ("2.0.1", "13"),
            ("2.5.1+cpu", "13"),
            ("2.6.0.dev20241101", "13"),
            ("2.8.0", "13"),
            ("2.9.0", "14"),
            ("2.13.0", "14"),
            ("3.0", "14"),
        ],
    )
    def test_elsewhere_the_oldest_that_runs_generate_is_assumed(self, torch: str, usual: str) -> None:
        found = impact(ISIN, target("4.45.1", torch))
        assert (found.torch, found.macos, found.assumed_macos) == (torch, usual, True)

    def test_on_a_mac_it_is_the_real_one(self, set_host_macos: Callable[[str], None]) -> None:
        for version, effect in (("13.7.8", FAILS), ("14.5", EDGE_CASES)):
            set_host_macos(version)
            found = impact(ISIN, target("4.46.2", "2.6.0"))
            assert (found.effect, found.macos, found.assumed_macos) == (effect, version, False)

    def test_one_that_is_given_comes_first(self, set_host_macos: Callable[[str], None]) -> None:
        set_host_macos("15.0")
        found = impact(ISIN, target("4.46.2", "2.6.0"), macos="13")
        assert (found.effect, found.macos, found.assumed_macos) == (FAILS, "13", False)

    @pytest.mark.parametrize(("told", "version"), [("14.5", "14.5"), ("26.0.1", "26.0.1"), ("10.16", None), ("", None)])
    def test_what_the_host_tells(self, told: str, version: str | None, set_host_macos: Callable[[str], None]) -> None:
        set_host_macos(told)
        assert host_macos() == version


class TestInstalled:
    """From 5.1 on an import fails where a package is installed that is known to need the helper."""

    @pytest.fixture
    def install(self, tmp_path: Path) -> Callable[[str], None]:
        def make(version: str, folder: Path = tmp_path) -> None:
            info = folder / f"coqui_tts-{version}.dist-info"
            info.mkdir(parents=True)
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: coqui-tts\nVersion: {version}\n")

        return make

    @pytest.mark.parametrize(
        ("version", "effect"),
        [("0.27.5", FAILS), ("0.24.0", FAILS), ("0.28.0", EDGE_CASES), ("0.28.0rc1", EDGE_CASES), ("odd", FAILS)],
    )
    def test_coqui_tts(self, version: str, effect: Effect, install: Callable[[str], None], tmp_path: Path) -> None:
        install(version)
        found = impact(ISIN, target("5.1.0", "2.13.0", tmp_path / "nowhere", tmp_path))
        assert found.effect is effect
        assert found.error == (NO_NAME if effect is FAILS else None)
        assert found.cures == (("coqui-tts 0.28 or newer",) if effect is FAILS else ())

    def test_it_does_no_harm_to_a_release_that_has_the_helper(
        self, install: Callable[[str], None], tmp_path: Path
    ) -> None:
        install("0.27.5")
        assert impact(ISIN, target("5.0.0", "2.13.0", tmp_path)).effect is EDGE_CASES

    def test_the_first_on_the_path_is_the_one_that_is_imported(
        self, install: Callable[..., None], tmp_path: Path
    ) -> None:
        install("0.28.0", tmp_path / "first")
        install("0.27.5", tmp_path / "second")
        folders = tmp_path / "first", tmp_path / "second"
        assert impact(ISIN, target("5.1.0", "2.13.0", *folders)).effect is EDGE_CASES
        assert impact(ISIN, target("5.1.0", "2.13.0", *reversed(folders))).effect is FAILS

    def test_a_folder_without_metadata_is_no_distribution(self, tmp_path: Path) -> None:
        (tmp_path / "coqui_tts-0.27.5.dist-info").mkdir()
        assert impact(ISIN, target("5.1.0", "2.13.0", tmp_path)).effect is EDGE_CASES


@each_function
@pytest.mark.parametrize(
    ("version", "lacks"),
    [
        ("4.37.2", False),
        ("4.38.0", True),
        ("4.38.0.dev0", True),
        ("4.44.99", True),
        ("4.45.0.dev0", False),
        ("4.45.0rc1", False),
        ("4.49.0+local.1", False),
        ("5.0.7", False),
        ("5.1.0.dev0", True),
        ("5.24.0", True),
        ("6.0", True),
        ("main", False),
        ("", False),
    ],
)
def test_which_release_is_known_to_lack_the_function(version: str, lacks: bool, patch: FunctionPatch) -> None:
    assert is_known_to_lack(patch, version) is lacks


@each_function
@pytest.mark.parametrize("release", ["4.38.2", "4.44.2", "4.45.0", "4.46.1", "4.46.2", "5.0.0", "5.1.0"])
def test_a_release_lacks_the_function_as_its_wheel_does(
    release: str, patch: FunctionPatch, wheels: Callable[[str], Path]
) -> None:
    with ZipFile(wheels(release)) as archive:
        tree = ast.parse(archive.read(str(patch.file)))
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert is_known_to_lack(patch, release) is (patch.function not in defined)

"""Environments that uv made from one cache: patching one changes no byte of another, or of the cache."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.installers
RELEASE = "4.50.3"
"""Both patches are needed, and there are only three direct calls in two files."""
PATCHED = {"isin_mps_friendly": "patched", "direct_isin": "patched"}
UNPATCHED = {"isin_mps_friendly": "unpatched", "direct_isin": "unpatched"}
FILES = (
    "transformers/pytorch_utils.py",
    "transformers/models/grounding_dino/modeling_grounding_dino.py",
    "transformers/models/moshi/modeling_moshi.py",
)


@dataclass(frozen=True)
class Uv:
    """uv with one cache, which links files into environments in one way."""

    mode: str
    cache: Path

    def __call__(self, command: str, env: Path, *words: object) -> None:
        python = ("--python", env / "bin" / "python", "--cache-dir", self.cache, "--offline", "--quiet")
        subprocess.run([sys.executable, "-m", "uv", "pip", command, *map(str, (*python, *words))], check=True)

    def install(self, env: Path, *words: object) -> None:
        self("install", env, "--no-deps", "--link-mode", self.mode, *words)


@pytest.fixture
def made(tmp_path: Path, wheels: Callable[[str], Path]) -> Callable[..., Path]:
    """`made(uv, name)` is a new environment with transformers."""

    def make(uv: Uv, name: str, release: str = RELEASE) -> Path:
        prefix = tmp_path / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
        uv.install(prefix, wheels(release))
        return prefix

    return make


def site_of(prefix: Path) -> Path:
    (found,) = prefix.glob("lib/python3.*/site-packages")
    return found


@pytest.mark.parametrize("first_back", ["first", "second"])
@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_two_environments_share_one_cache(
    tool: Any, tree: Any, made: Callable[..., Path], tmp_path: Path, mode: str, first_back: str
) -> None:
    uv = Uv(mode, tmp_path / "cache")
    envs = {name: made(uv, name) for name in ("first", "second")}
    sites = {name: site_of(env) for name, env in envs.items()}
    one, other = (site / FILES[0] for site in sites.values())
    assert one.samefile(other), "they do not share their files: the test would prove nothing"
    cache, original = tree(uv.cache), {name: tree(site) for name, site in sites.items()}

    def run(command: str, name: str) -> dict[str, str]:
        told = tool.json(command, "--python", envs[name] / "bin" / "python")
        assert (told.code, tree(uv.cache)) == (0, cache)
        states: dict[str, str] = told.states
        return states

    assert run("apply", "first") == PATCHED
    assert (tree(sites["second"]), run("status", "second")) == (original["second"], UNPATCHED)
    patched = tree(sites["first"])
    assert run("apply", "second") == PATCHED
    assert tree(sites["first"]) == patched
    assert not any(path.is_symlink() or path.stat().st_nlink > 1 for name in FILES for path in [sites["first"] / name])
    second_back = "first" if first_back == "second" else "second"
    still = tree(sites[second_back])
    assert run("revert", first_back) == UNPATCHED
    assert (tree(sites[first_back]), tree(sites[second_back])) == (original[first_back], still)
    assert run("revert", second_back) == UNPATCHED
    assert tree(sites[second_back]) == original[second_back]


@pytest.mark.parametrize("mode", ["hardlink", "symlink"])
def test_uninstalled_and_reinstalled_from_the_shared_cache(
    tool: Any, tree: Any, made: Callable[..., Path], wheels: Callable[[str], Path], tmp_path: Path, mode: str
) -> None:
    uv = Uv(mode, tmp_path / "cache")
    first, second = (made(uv, name) for name in ("first", "second"))
    cache, other = tree(uv.cache), tree(second)
    before = {path for path in first.rglob("*") if "packages/" not in str(path) and path.name != "transformers-cli"}
    options = ("--python", first / "bin" / "python")
    assert tool.json("apply", *options).states == PATCHED
    uv.install(first, "--reinstall", wheels(RELEASE))
    assert tool.json("status", *options).states == UNPATCHED
    assert not list(first.rglob("mps-patcher"))
    assert tool.json("apply", *options).states == PATCHED
    assert tree(second) == other
    uv("uninstall", first, "transformers")
    assert set(first.rglob("*")) == before
    assert tree(second) == other
    changed = {path for path, facts in tree(uv.cache).items() if cache.get(path) != facts}
    assert not [path for path in changed if path.endswith(".py")], "uv writes of its own there, but no file changed"


@pytest.mark.parametrize("mode", ["hardlink", "symlink", "copy", "clone"])
def test_whichever_way_uv_links_all_is_as_it_was_after_the_round(
    tool: Any, tree: Any, made: Callable[..., Path], tmp_path: Path, mode: str
) -> None:
    """Reflinks (`clone`) exist on some file systems only; elsewhere uv copies or hardlinks instead, and says so."""
    uv = Uv(mode, tmp_path / "cache")
    env = made(uv, "env", "4.45.1")
    site, options = site_of(env), ("--python", env / "bin" / "python")
    source = site / FILES[0]
    assert source.is_symlink() == (mode == "symlink")
    assert mode != "copy" or source.stat().st_nlink == 1
    assert mode != "hardlink" or source.stat().st_nlink > 1
    original, cache = tree(site), tree(uv.cache)
    assert tool("apply", "isin_mps_friendly", *options).code == 0
    assert not source.is_symlink()
    assert source.stat().st_nlink == 1
    assert tool("verify", "--static", "isin_mps_friendly", *options).code == 0
    assert tree(uv.cache) == cache
    assert tool("revert", *options).code == 0
    assert (tree(site), tree(uv.cache)) == (original, cache)


def test_a_cache_that_was_pruned_under_links_still_gives_the_original_back(
    tool: Any, made: Callable[..., Path], tmp_path: Path
) -> None:
    """`uv cache clean` leaves links that lead nowhere: what we hold is then the only copy of the original."""
    uv = Uv("symlink", tmp_path / "cache")
    env = made(uv, "env", "4.45.1")
    options = ("--python", env / "bin" / "python")
    source = site_of(env) / FILES[0]
    original = source.read_bytes()
    assert tool("apply", "isin_mps_friendly", "--site-packages", site_of(env)).code == 0
    subprocess.run([sys.executable, "-m", "uv", "--quiet", "cache", "clean", "--cache-dir", uv.cache], check=True)
    told = tool.json("revert", *options)
    assert told.code != 0, "METADATA is a link that leads nowhere, too"
    assert original not in (b"", source.read_bytes())

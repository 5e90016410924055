"""Real installers: what pip and uv installed is patched and taken back, and neither their caches nor others change."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.model import State
from patches import CATALOGUE


def run(*command: object, cache: Path) -> None:
    environment = {**os.environ, "UV_CACHE_DIR": str(cache), "UV_OFFLINE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(list(map(str, command)), check=True, env=environment, capture_output=True)


class Venv:
    """An environment of one installer."""

    def __init__(self, root: Path, installer: tuple[str, ...], cache: Path) -> None:
        self.root, self.installer, self.cache = root, installer, cache
        run(sys.executable, "-m", "venv", "--without-pip", root, cache=cache)

    @property
    def site_packages(self) -> Path:
        (found,) = self.root.glob("lib/python3.*/site-packages")
        return found

    def install(self, *what: object) -> None:
        tool = self.installer[0]
        if tool == "pip":
            more = ["--no-compile"]
            run(*self._pip, "install", "--no-deps", "--no-index", *more, *what, cache=self.cache)
        else:
            run(*self._uv("install"), "--no-deps", "--link-mode", self.installer[1], *what, cache=self.cache)

    def uninstall(self) -> None:
        if self.installer[0] == "pip":
            run(*self._pip, "uninstall", "--yes", "transformers", cache=self.cache)
        else:
            run(*self._uv("uninstall"), "transformers", cache=self.cache)

    @property
    def _pip(self) -> tuple[object, ...]:
        return (sys.executable, "-m", "pip", "--quiet", "--python", self.root / "bin" / "python")

    def _uv(self, command: str) -> tuple[object, ...]:
        return (sys.executable, "-m", "uv", "pip", command, "--quiet", "--python", self.root / "bin" / "python")


INSTALLERS = [("pip",), ("uv", "copy"), ("uv", "hardlink"), ("uv", "symlink")]


@pytest.fixture(params=INSTALLERS, ids="-".join)
def venvs(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Venv]:
    """`venvs(name)` is a new empty environment; those of a test share the installer's cache."""
    return lambda name: Venv(tmp_path / name, request.param, tmp_path / "cache")


def test_one_environment_changes_and_no_other(
    venvs: Callable[[str], Venv],
    wheels: Callable[[str], Path],
    at_site: Callable[..., Any],
    tree: Callable[[Path], Any],
) -> None:
    mine, theirs = venvs("mine"), venvs("theirs")
    for venv in (mine, theirs):
        venv.install(wheels("4.45.1"))
    it = at_site(mine.site_packages)
    original, other = it.snapshot(), tree(theirs.site_packages)
    cached = tree(mine.cache) if mine.cache.exists() else None
    content = it.source.read_bytes()
    assert it.source.is_symlink() == ("symlink" in mine.installer)
    assert (it.source.stat().st_nlink > 1) == ("hardlink" in mine.installer)

    assert it.apply().error is None
    assert it.status().state is State.PATCHED
    assert it.source.read_bytes() != content
    assert tree(theirs.site_packages) == other
    assert cached == (tree(mine.cache) if mine.cache.exists() else None)

    assert it.revert().error is None
    assert it.snapshot() == original
    assert tree(theirs.site_packages) == other
    assert cached == (tree(mine.cache) if mine.cache.exists() else None)


def test_uninstalled_after_patching_nothing_is_left(
    venvs: Callable[[str], Venv], wheels: Callable[[str], Path], at_site: Callable[..., Any]
) -> None:
    venv = venvs("venv")
    before = set(venv.site_packages.rglob("*"))
    venv.install(wheels("4.45.1"))
    assert at_site(venv.site_packages).apply().error is None
    venv.uninstall()
    assert set(venv.site_packages.rglob("*")) == before


@pytest.mark.parametrize("version", ["4.45.1", "4.46.3"])
def test_reinstalled_or_upgraded_the_state_is_that_of_the_new_files(
    venvs: Callable[[str], Venv], wheels: Callable[[str], Path], at_site: Callable[..., Any], version: str
) -> None:
    venv = venvs("venv")
    venv.install(wheels("4.45.1"))
    assert at_site(venv.site_packages).apply().error is None
    venv.install(*(["--force-reinstall"] if venv.installer[0] == "pip" else ["--reinstall"]), wheels(version))
    it = at_site(venv.site_packages)
    assert it.target.version == version
    assert not it.ours.exists()
    fresh = it.snapshot()
    assert it.status().state is State.UNPATCHED
    assert it.apply().error is None
    assert it.revert().error is None
    assert it.snapshot() == fresh


def test_both_patches_go_with_the_release_that_they_were_applied_to(
    venvs: Callable[[str], Venv],
    wheels: Callable[[str], Path],
    at_site: Callable[..., Any],
    tree: Callable[[Path], Any],
) -> None:
    """Many files at once: none is written through a link, an upgrade leaves nothing, and so does an uninstall."""
    venv = venvs("venv")
    before = set(venv.site_packages.rglob("*"))
    for version in ("4.44.2", "5.1.0"):
        venv.install(*(["--upgrade"] if venv.installer[0] == "pip" else []), wheels(version))
        it = at_site(venv.site_packages, torch="2.4.0")
        assert not it.ours.exists()
        assert [result.state for result in it.each("status", patches=CATALOGUE)] == [State.ABSENT, State.UNPATCHED]
        cached = tree(venv.cache) if venv.cache.exists() else None
        applied = it.each("apply", patches=CATALOGUE, named=False)
        assert [(result.error, result.state) for result in applied] == [(None, State.PATCHED)] * 2
        assert cached == (tree(venv.cache) if venv.cache.exists() else None)
    venv.uninstall()
    assert set(venv.site_packages.rglob("*")) == before


def test_a_copied_environment_is_undone_on_its_own(
    unpacked: Callable[..., Path], at_site: Callable[..., Any], tmp_path: Path
) -> None:
    first = at_site(unpacked())
    original = first.snapshot()
    first.apply()
    copy = tmp_path / "copy"
    shutil.copytree(first.target.site_packages, copy, symlinks=True)
    patched = first.snapshot()
    second = at_site(copy)
    assert second.revert().error is None
    assert second.source.read_bytes() != first.source.read_bytes()
    assert first.snapshot() == patched
    assert {path: facts[-1] for path, facts in second.snapshot().items()} == {
        path: facts[-1] for path, facts in original.items()
    }

"""Folders that are links: what may be shared with others is refused, and links further up are as good as not there."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOTH = {"isin_mps_friendly": "patched", "direct_isin": "patched"}


def linked(path: Path, to: Path) -> Path:
    """Moves what is there to another place, and leaves a link."""
    to.parent.mkdir(parents=True, exist_ok=True)
    path.rename(to)
    path.symlink_to(to)
    return path


@pytest.fixture
def shared(site: Path, venv: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path, Path]:
    """An environment whose site-packages is a link out of it: its prefix, the link, and what that leads to."""
    prefix = venv("env", site)
    (own,) = prefix.glob("lib/python3.*/site-packages")
    return prefix, linked(own, tmp_path / "the shared one" / "site-packages"), tmp_path / "the shared one/site-packages"


@pytest.mark.parametrize(
    ("way", "command"),
    [(way, "apply") for way in ("--python", "VIRTUAL_ENV", "--under", "--under it", "--site-packages")]
    + [("--site-packages", command) for command in ("status", "revert", "verify")],
)
def test_a_site_packages_that_is_a_link_is_refused(
    tool: Any, tree: Any, shared: tuple[Path, Path, Path], way: str, command: str
) -> None:
    """However it was found, even if the user named the link itself; and the hint tells of a command that works."""
    prefix, link, real = shared
    before = tree(real)
    words: dict[str, tuple[object, ...]] = {
        "--python": ("--python", prefix / "bin" / "python"),
        "VIRTUAL_ENV": (),
        "--under": ("--under", prefix),
        "--under it": ("--under", link),
        "--site-packages": ("--site-packages", link),
    }
    told = tool.json(command, *words[way], **({"VIRTUAL_ENV": prefix} if way == "VIRTUAL_ENV" else {}))
    assert (told.code, told.error["code"]) == (1, "linked-folder")
    assert f"{link} is a link to {real}, which other environments may share" in told.error["message"]
    assert tree(real) == before
    assert tool("status", *shlex.split(told.error["hint"].rpartition(": ")[2].rstrip("."))).code == 0


def test_a_linked_site_packages_is_found_where_it_really_is(tool: Any, shared: tuple[Path, Path, Path]) -> None:
    prefix, _, real = shared
    told = tool.json("status", "isin_mps_friendly", "--under", prefix.parent)
    assert [result["target"]["site_packages"] for result in told.results] == [str(real)]


@pytest.mark.parametrize("name", ["transformers", "transformers-4.45.1.dist-info"])
def test_a_package_folder_that_is_a_link_is_refused(
    tool: Any, tree: Any, site: Path, tmp_path: Path, name: str
) -> None:
    linked(site / name, tmp_path / "shared" / name)
    before = tree(tmp_path / "shared")
    for command in ("status", "apply", "revert"):
        told = tool.json(command, "--site-packages", site)
        assert (told.code, told.error["code"]) == (1, "linked-package")
        assert str(tmp_path / "shared" / name) in told.error["message"]
    assert tree(tmp_path / "shared") == before


@pytest.mark.parametrize("where", ["the environment", "lib", "pythonX.Y"])
def test_a_link_further_up_is_as_good_as_none(
    tool: Any, tree: Any, site: Path, venv: Callable[..., Path], tmp_path: Path, where: str
) -> None:
    """A linked environment, lib64 -> lib, /tmp -> private/tmp."""
    prefix = venv("env", site)
    (own,) = prefix.glob("lib/python3.*/site-packages")
    original = tree(own)
    up = {"the environment": prefix, "lib": prefix / "lib", "pythonX.Y": own.parent}[where]
    linked(up, tmp_path / "elsewhere" / up.name)
    for options in (("--python", prefix / "bin" / "python"), ("--site-packages", own)):
        assert tool.json("apply", *options).states["isin_mps_friendly"] == "patched"
        assert tool.json("status", *options).states["isin_mps_friendly"] == "patched"
        assert tool("revert", *options).code == 0
        assert tree(own) == original


def test_links_to_what_holds_no_python_do_not_matter(tool: Any, tree: Any, calling: Path, tmp_path: Path) -> None:
    models = calling / "transformers" / "models"
    (tmp_path / "data").mkdir()
    (models / "data").symlink_to(tmp_path / "data")
    (models / "gone").symlink_to(tmp_path / "gone")
    original = tree(calling)
    assert tool.json("apply", "--site-packages", calling).states == BOTH
    assert tool("revert", "--site-packages", calling).code == 0
    assert tree(calling) == original


def test_a_linked_folder_of_python_refuses_the_calls_alone(tool: Any, tree: Any, calling: Path, tmp_path: Path) -> None:
    link = calling / "transformers" / "models" / "grounding_dino"
    linked(link, tmp_path / "shared")
    before = tree(tmp_path / "shared")
    told = tool.json("apply", "--site-packages", calling)
    assert (told.code, told.error["code"]) == (1, "linked-folder")
    assert f"{link} is a link" in told.error["message"]
    assert told.states["isin_mps_friendly"] == "patched"
    assert tree(tmp_path / "shared") == before
    assert tool("revert", "isin_mps_friendly", "--site-packages", calling).code == 0
    link.unlink()
    (tmp_path / "shared").rename(link)  # as the hint says
    assert tool.json("apply", "--site-packages", calling).states == BOTH


def test_a_linked_folder_does_not_disturb_a_release_without_direct_calls(tool: Any, site: Path, tmp_path: Path) -> None:
    linked(site / "transformers" / "generation", tmp_path / "shared")
    told = tool.json("apply", "--site-packages", site)
    assert (told.code, told.states["isin_mps_friendly"]) == (0, "patched")
    assert tool.json("status", "--site-packages", site).errors == [None, None]

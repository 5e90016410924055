"""An environment that was copied or moved after it was patched, and one on a file system that has no locks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BOTH = {"isin_mps_friendly": "patched", "direct_isin": "patched"}
NO_LOCKS = """
import errno, fcntl, os
def refuse(fd, how):
    raise OSError({number}, os.strerror({number}))
fcntl.flock = refuse
"""


def contents(picture: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """The bytes and the links alone: whoever copies chooses the times."""
    return {path: facts[-1] for path, facts in picture.items()}


def move(env: Path, to: Path) -> None:
    shutil.move(env, to)


def copy_with_times(env: Path, to: Path) -> None:
    shutil.copytree(env, to, symlinks=True)


def copy_without_times(env: Path, to: Path) -> None:
    shutil.copytree(env, to, symlinks=True, copy_function=shutil.copyfile)


def pack_and_unpack(env: Path, to: Path) -> None:
    """As a layer of an image is, whose times are in whole seconds."""
    archive = env.with_suffix(".tar")
    subprocess.run(["tar", "-cf", archive, "-C", env, "."], check=True)
    to.mkdir()
    subprocess.run(["tar", "-xf", archive, "-C", to], check=True)


@pytest.mark.parametrize("way", [move, copy_with_times, copy_without_times, pack_and_unpack])
def test_an_environment_that_was_copied_or_moved_is_taken_back(
    tool: Any, tree: Any, calling: Path, tmp_path: Path, way: Callable[[Path, Path], None]
) -> None:
    """It still knows what was done to it, for nothing of that says where it lay."""
    env, new = calling.parents[2], tmp_path / "elsewhere" / "another name"
    original = tree(env)
    assert tool.json("apply", "--site-packages", calling).states == BOTH
    patched = tree(env)
    new.parent.mkdir()
    way(env, new)
    site = new / calling.relative_to(env)
    assert tool.json("status", "--site-packages", site).states == BOTH
    assert tool("verify", "--static", "--site-packages", site).code == 0
    before = tree(new)
    assert tool("apply", "--site-packages", site).code == 0
    assert tree(new) == before, "there was nothing to do"
    assert tool("revert", "--site-packages", site).code == 0
    assert contents(tree(new)) == contents(original)
    if way in (move, copy_with_times):
        assert tree(new) == original
    if way is not move:
        assert tree(env) == patched
        assert tool("revert", "--site-packages", calling).code == 0
        assert tree(env) == original


def test_a_moved_environment_is_found_by_its_interpreter(
    tool: Any, tree: Any, site: Path, venv: Callable[..., Path], tmp_path: Path
) -> None:
    prefix = venv("env", site)
    original = tree(prefix / "lib")
    assert tool("apply", "--python", prefix / "bin" / "python").code == 0
    moved = prefix.rename(tmp_path / "moved")
    assert tool.json("status", VIRTUAL_ENV=moved).states["isin_mps_friendly"] == "patched"
    assert tool("revert", VIRTUAL_ENV=moved).code == 0
    assert tree(moved / "lib") == original


@pytest.mark.parametrize("number", ["errno.ENOLCK", "errno.EOPNOTSUPP", "errno.EBADF"])
def test_where_there_are_no_locks_one_may_look_and_is_refused_to_write(
    tool: Any, tree: Any, site: Path, tmp_path: Path, number: str
) -> None:
    """As on NFS without a lock daemon."""
    (tmp_path / "hooks").mkdir()
    (tmp_path / "hooks" / "sitecustomize.py").write_text(NO_LOCKS.format(number=number))
    original = tree(site)
    options = {"PYTHONPATH": tmp_path / "hooks"}
    told = tool.json("apply", "--site-packages", site, **options)
    assert (told.code, set(told.errors)) == (1, {"no-lock"})
    assert tree(site) == original
    assert tool.json("status", "--site-packages", site, **options).states["isin_mps_friendly"] == "unpatched"
    assert tool("apply", "--dry-run", "--site-packages", site, **options).code == 0
    assert tool("apply", "--site-packages", site).code == 0
    patched = tree(site)
    assert set(tool.json("revert", "--site-packages", site, **options).errors) == {"no-lock"}
    assert tool("verify", "--static", "isin_mps_friendly", "--site-packages", site, **options).code == 0
    assert tree(site) == patched

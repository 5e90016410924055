"""Every .pyc of the module goes, wherever it is; no other file does."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.change import bytecode
from patcher.change.folder import Folder
from patcher.errors import PatcherError

MINE = (
    "pytorch_utils.cpython-38.pyc",
    "pytorch_utils.cpython-311.opt-1.pyc",
    "pytorch_utils.cpython-311.opt-2.pyc",
    "pytorch_utils.pypy310-pp73.pyc",
)
OTHERS = ("pytorch_utils_more.cpython-311.pyc", "my_pytorch_utils.cpython-311.pyc", "pytorch_utils.cpython-311.txt")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site" / "transformers"
    folder.mkdir(parents=True)
    (folder / "pytorch_utils.py").write_text("x = 1\n")
    return folder


def fill(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in MINE + OTHERS:
        (folder / name).write_bytes(b"bytecode")


def remove(package: Path, *beneath: Path) -> None:
    with Folder(package) as home:
        bytecode.remove(home, "pytorch_utils.py", beneath)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_all_tags_and_levels_go_and_nothing_else(package: Path) -> None:
    fill(package / "__pycache__")
    remove(package)
    assert names(package / "__pycache__") == set(OTHERS)


def test_a_legacy_one_beside_the_source_goes(package: Path) -> None:
    (package / "pytorch_utils.pyc").write_bytes(b"bytecode")
    remove(package)
    assert names(package) == {"pytorch_utils.py"}


def test_no_cache_is_fine(package: Path) -> None:
    remove(package, package / "nowhere")
    assert names(package) == {"pytorch_utils.py"}


@pytest.mark.parametrize("linked", [False, True])
def test_a_prefix_is_searched_as_python_writes_it(package: Path, tmp_path: Path, linked: bool) -> None:
    """By an interpreter's own doing, also where its path leads through a link."""
    prefix, alias = tmp_path / "prefix", tmp_path / "alias"
    alias.symlink_to(package.parent)
    seen = alias / package.name if linked else package
    script = f"import sys; sys.path.insert(0, {str(seen)!r}); import pytorch_utils; print(pytorch_utils.__cached__)"
    command = [sys.executable, "-X", f"pycache_prefix={prefix}", "-c", script]
    cached = Path(subprocess.run(command, check=True, capture_output=True, text=True, env={}).stdout.strip())
    assert cached.is_relative_to(prefix)
    assert cached.exists()
    remove(seen, prefix)
    assert not cached.exists()


def test_a_link_to_bytecode_goes_and_what_it_leads_to_stays(package: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.pyc"
    theirs.write_bytes(b"bytecode")
    cached = Path(importlib.util.cache_from_source(str(package / "pytorch_utils.py")))
    cached.parent.mkdir()
    cached.symlink_to(theirs)
    remove(package)
    assert not cached.is_symlink()
    assert theirs.exists()


def test_a_linked_cache_is_refused(package: Path, tmp_path: Path) -> None:
    fill(tmp_path / "shared")
    (package / "__pycache__").symlink_to(tmp_path / "shared")
    with pytest.raises(PatcherError) as caught:
        remove(package)
    assert caught.value.code == "linked-folder"
    assert names(tmp_path / "shared") == {*MINE, *OTHERS}


def test_what_cannot_be_removed_is_an_error(package: Path) -> None:
    (package / "__pycache__" / "pytorch_utils.cpython-311.pyc").mkdir(parents=True)
    with pytest.raises(PatcherError) as caught:
        remove(package)
    assert caught.value.code == "bytecode-not-removed"
    assert "pytorch_utils.cpython-311.pyc" in caught.value.message


def test_prefixes_are_the_interpreters_and_the_callers() -> None:
    one, two = Path("/one"), Path("/two")
    assert bytecode.prefixes(None, {}) == ()
    assert bytecode.prefixes(None, {"PYTHONPYCACHEPREFIX": ""}) == ()
    assert bytecode.prefixes(one, {"PYTHONPYCACHEPREFIX": "/two"}) == (one, two)
    assert bytecode.prefixes(one, {"PYTHONPYCACHEPREFIX": "/one"}) == (one,)
    assert bytecode.prefixes(None, {"PYTHONPYCACHEPREFIX": "here"}) == (Path.cwd() / "here",)

"""Which files of a package a patch may be about."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import pytest

from patcher.change.scan import changeable, mentioning
from patcher.errors import PatcherError
from patches.direct_isin import PATCH as DIRECT

PATTERN = re.compile(rb"\bisin\b")


def write(root: Path, *names: str, text: str = "x = isin\n") -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def found(root: Path) -> list[str]:
    paths = mentioning(root, "it", PATTERN)
    assert all(isinstance(path, PurePosixPath) for path in paths)
    return [str(path) for path in paths]


def test_the_python_files_that_mention_it_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path, "it/b.py", "it/a/z.py", "it/a/deep/er/c.py", "it/a.py")
    assert found(tmp_path) == ["it/a/deep/er/c.py", "it/a/z.py", "it/a.py", "it/b.py"]


def test_nothing_else_is(tmp_path: Path) -> None:
    write(tmp_path, "it/a.txt", "it/b.pyc", "it/__pycache__/c.py", "other/d.py", "it.py")
    write(tmp_path, "it/e.py", text="x = isinstance\n")
    (tmp_path / "it" / "folder.py").mkdir()
    assert found(tmp_path) == []
    write(tmp_path, "it/folder.py/f.py")
    assert found(tmp_path) == ["it/folder.py/f.py"]


def test_no_package_has_no_files(tmp_path: Path) -> None:
    assert found(tmp_path) == []
    write(tmp_path, "it")
    assert found(tmp_path) == []


def test_a_linked_file_is_found(tmp_path: Path) -> None:
    write(tmp_path, "elsewhere.py", "it/a.py")
    (tmp_path / "it" / "b.py").symlink_to(tmp_path / "elsewhere.py")
    assert found(tmp_path) == ["it/a.py", "it/b.py"]


def test_what_is_behind_a_linked_folder_is_found_by_the_path_without_a_link_if_there_is_one(tmp_path: Path) -> None:
    write(tmp_path, "it/z/a.py", "elsewhere/b.py")
    (tmp_path / "it" / "c").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "it" / "d").symlink_to(tmp_path / "it" / "z")
    assert found(tmp_path) == ["it/c/b.py", "it/z/a.py"]
    write(tmp_path, "another/e.py")
    (tmp_path / "it" / "e").symlink_to(tmp_path / "another")
    assert found(tmp_path) == ["it/c/b.py", "it/e/e.py", "it/z/a.py"]


@pytest.mark.parametrize(("direct", "refused"), [(True, True), (False, False)])
def test_a_file_of_the_patch_behind_a_link_is_refused(tmp_path: Path, direct: bool, refused: bool) -> None:
    write(tmp_path, "elsewhere/b.py", text=f"import torch\n{'torch.isin(a, b)' if direct else 'isin'}\n")
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "c").symlink_to(tmp_path / "elsewhere")
    (path,) = mentioning(tmp_path, "it", PATTERN)
    if not refused:
        assert list(changeable(tmp_path, [path], DIRECT)) == []
        return
    with pytest.raises(PatcherError) as caught:
        list(changeable(tmp_path, [path], DIRECT))
    assert caught.value.code == "linked-folder"
    assert str(tmp_path / "it" / "c") in caught.value.message


def test_a_linked_folder_of_bytecode_does_not_matter(tmp_path: Path) -> None:
    write(tmp_path, "it/a.py", "elsewhere/b.py")
    (tmp_path / "it" / "__pycache__").symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path) == ["it/a.py"]

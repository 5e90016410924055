"""A target held open: its folders as they were, and what is told of one that is gone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from patcher.change import attributes
from patcher.change.lock import Patience
from patcher.change.place import opened
from patcher.errors import PatcherError


def test_a_folder_that_vanished_is_another_installers_doing(env: Callable[..., Any]) -> None:
    it = env()
    with opened(it.target, alone=True, patience=Patience(seconds=0)) as place:
        shutil.rmtree(it.source.parent / "generation")
        with pytest.raises(PatcherError) as caught:
            place.home(PurePosixPath("transformers/generation/utils.py"))
    assert (caught.value.code, caught.value.message) == ("target-changed", "transformers/generation vanished.")


@pytest.mark.parametrize(("number", "refused"), [(errno.ENOTSUP, False), (errno.EIO, True)])
def test_where_files_have_no_attributes_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, refused: bool
) -> None:
    def fail(_: int) -> list[str]:
        raise OSError(number, os.strerror(number))

    (tmp_path / "file").write_text("")
    monkeypatch.setattr(os, "getxattr", fail, raising=False)
    monkeypatch.setattr(os, "listxattr", fail, raising=False)
    with (tmp_path / "file").open() as file:
        if refused:
            with pytest.raises(OSError, match=os.strerror(number)):
                attributes.read(file.fileno())
        else:
            assert attributes.read(file.fileno()) == ()

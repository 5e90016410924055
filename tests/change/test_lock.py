"""The lock: one alone or several looking; it waits, gives up, and ends with its holder."""

from __future__ import annotations

import errno
import fcntl
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from patcher.change.folder import Folder
from patcher.change.lock import lock
from patcher.errors import PatcherError


def taken(path: Path, *, alone: bool, seconds: float = 0) -> bool:
    """Whether another holder may have it now."""
    code = None
    try:
        with Folder(path) as folder, lock(folder, alone=alone, seconds=seconds):
            pass
    except PatcherError as error:
        code = error.code
    assert code in (None, "locked")
    return code is None


def test_who_may_be_there_together(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        with lock(folder, alone=True, seconds=0):
            assert not taken(tmp_path, alone=True)
            assert not taken(tmp_path, alone=False)
        with lock(folder, alone=False, seconds=0):
            assert taken(tmp_path, alone=False)
            assert not taken(tmp_path, alone=True)
        assert taken(tmp_path, alone=True)
    assert list(tmp_path.iterdir()) == []


def test_it_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder, lock(folder, alone=True, seconds=0):
        began = time.monotonic()
        assert not taken(tmp_path, alone=True, seconds=0.2)
        assert 0.2 <= time.monotonic() - began < 5


def test_it_is_given_up_on_an_error(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        with pytest.raises(KeyboardInterrupt), lock(folder, alone=True, seconds=0):
            raise KeyboardInterrupt
        assert taken(tmp_path, alone=True)


@pytest.mark.parametrize("again", [True, False])
def test_a_folder_that_was_replaced_is_not_the_one_that_is_locked(tmp_path: Path, again: bool) -> None:
    path = tmp_path / "info"
    path.mkdir()
    with Folder(path) as folder:
        shutil.move(path, tmp_path / "old")
        if again:
            path.mkdir()
        with pytest.raises(PatcherError) as caught, lock(folder, alone=True, seconds=0):
            pass
    assert caught.value.code == "target-changed"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_without_locks_one_may_look_but_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(_: int, kind: int) -> None:
        if kind != fcntl.LOCK_UN:
            raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with Folder(tmp_path) as folder:
        with lock(folder, alone=False, seconds=0):
            pass
        with pytest.raises(PatcherError) as caught, lock(folder, alone=True, seconds=0):
            pass
    assert caught.value.code == "no-lock"


def test_another_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with Folder(tmp_path) as folder, pytest.raises(PatcherError) as caught, lock(folder, alone=False, seconds=0):
        pass
    assert caught.value.code == "io-error"

"""A folder held open: looking, replacing, and nothing through links."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.change.files import Image
from patcher.change.folder import Folder
from patcher.errors import PatcherError


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    (tmp_path / "folder").mkdir()
    with Folder(tmp_path / "folder") as opened:
        yield opened


@pytest.fixture
def image() -> Image:
    return Image(data=b"new\n", mode=0o640, uid=os.getuid(), gid=os.getgid(), mtime_ns=1_000_000_000_000_000_007)


def test_what_is_put_is_seen(folder: Folder, image: Image) -> None:
    folder.put("file", image)
    assert folder.look("file") == image
    assert folder.names() == ("file",)


def test_putting_what_is_there_writes_nothing(folder: Folder, image: Image) -> None:
    folder.put("file", image)
    inode = (folder.path / "file").stat().st_ino
    folder.put("file", replace(image, mtime_ns=None))
    assert (folder.path / "file").stat().st_ino == inode


def test_the_umask_takes_nothing_away(folder: Folder, image: Image) -> None:
    old = os.umask(0o077)
    try:
        folder.put("file", replace(image, mode=0o664))
        folder.make("sub").__exit__(None, None, None)
    finally:
        os.umask(old)
    assert (folder.path / "file").stat().st_mode & 0o777 == 0o664
    assert (folder.path / "sub").stat().st_mode == folder.path.stat().st_mode


def test_a_folder_is_nobody_elses_until_it_is_as_it_shall_be(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, real, old = [], os.fchmod, os.umask(0)

    def fchmod(fd: int, mode: int) -> None:
        modes.append(os.fstat(fd).st_mode & 0o777)
        real(fd, mode)

    monkeypatch.setattr(os, "fchmod", fchmod)
    try:
        folder.make("sub").__exit__(None, None, None)
    finally:
        os.umask(old)
    assert modes == [0o700]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize(("uid", "gid"), [(0, 12345), (12345, 0), (12345, 54321)])
def test_a_file_gets_its_owner_and_its_group(folder: Folder, image: Image, uid: int, gid: int) -> None:
    folder.put("file", replace(image, uid=uid, gid=gid))
    found = (folder.path / "file").stat()
    assert (found.st_uid, found.st_gid) == (uid, gid)


def test_a_link_is_seen_with_what_it_leads_to_and_made_again(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "cached").write_bytes(b"cached")
    (folder.path / "file").symlink_to("../cached")
    seen = folder.look("file")
    assert seen is not None
    assert (seen.link, seen.data) == ("../cached", b"cached")
    assert folder.beyond("../cached") == b"cached"
    (folder.path / "file").unlink()
    folder.put("file", seen)
    assert os.readlink(folder.path / "file") == "../cached"  # noqa: PTH115


def test_a_link_that_leads_to_no_file(folder: Folder) -> None:
    (folder.path / "file").symlink_to("nowhere")
    assert folder.look("file") is None
    assert folder.has("file")
    assert folder.beyond("nowhere") is None
    assert folder.beyond("..") is None


def test_replacing_writes_through_no_link(folder: Folder, image: Image, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    for name in ("file", ".file.mps-patcher"):
        (folder.path / name).symlink_to(theirs)
    folder.put("file", image)
    assert theirs.read_bytes() == b"theirs"
    assert folder.look("file") == image
    assert folder.names() == ("file",)


def test_a_reader_sees_the_old_file_or_the_new_one(folder: Folder, image: Image) -> None:
    contents, torn, stop = (b"a" * 100_000, b"b" * 200_000), [], threading.Event()
    folder.put("file", replace(image, data=contents[0]))

    def read() -> None:
        while not stop.is_set():
            if (folder.path / "file").read_bytes() not in contents:
                torn.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        folder.put("file", replace(image, data=contents[number % 2]))
    stop.set()
    reader.join()
    assert not torn


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused(folder: Folder, kind: str) -> None:
    path = folder.path / "file"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(PatcherError) as caught:
        folder.look("file")
    assert caught.value.code == "not-a-file"
    assert folder.beyond("file") is None


def test_a_linked_folder_is_not_entered(folder: Folder, tmp_path: Path) -> None:
    (folder.path / "sub").symlink_to(tmp_path)
    for enter in (folder.inside, folder.make):
        with pytest.raises(PatcherError) as caught:
            enter("sub")
        assert caught.value.code == "linked-folder"


def test_a_folder_is_dropped_only_when_empty(folder: Folder) -> None:
    with folder.make("sub") as sub:
        (sub.path / "theirs").touch()
        folder.drop("sub")
        assert folder.names() == ("sub",)
        sub.remove("theirs")
    folder.drop("sub")
    folder.drop("sub")
    folder.remove("nothing")
    assert folder.names() == ()


def test_a_full_disk_leaves_the_old_file(folder: Folder, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.put("file", image)

    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(PatcherError) as caught:
        folder.put("file", replace(image, data=b"newer"))
    assert caught.value.code == "disk-full"
    assert folder.look("file") == image


def test_a_short_write_is_continued(folder: Folder, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:1]))
    folder.put("file", image)
    assert folder.look("file") == image


def test_a_file_system_that_cannot_sync_folders(folder: Folder, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def only_files(fd: int) -> None:
        if fd == folder.fd:
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", only_files)
    folder.put("file", image)
    assert folder.look("file") == image


@pytest.mark.parametrize("works", [True, False])
def test_on_macos_the_sync_goes_on_to_the_medium(
    folder: Folder, image: Image, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    asked: list[int] = []
    synced: list[int] = []

    def full(fd: int, command: int) -> None:
        assert command == 51
        asked.append(fd)
        if not works:
            raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", full)
    monkeypatch.setattr(os, "fsync", synced.append)
    folder.put("file", image)
    assert len(asked) == 2
    assert synced == ([] if works else asked)

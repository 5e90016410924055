"""Reading a file whole, replacing it in one step with all that belongs to it, and what refusals are called."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.storage import files
from patcher.storage.files import FileImage, read_image, replace_file, same_image, stage

IMAGE = FileImage(data=b"x", mode=0o644, uid=0, gid=0, mtime_ns=5)
EPOCH = 1_500_000_000
ACL, DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file.py"
    path.write_bytes(b"old\n")
    return path


def write(path: Path, data: bytes, **options: Any) -> None:
    """Stages, replaces and syncs, as the engine does."""
    before = read_image(path)
    stage(path, data, **{"like": path, **options})
    replace_file(path, expected=before)
    files.sync_folders([path])


def refusal(work: Callable[..., object], *arguments: Any, **options: Any) -> str:
    with pytest.raises(PatcherError) as caught:
        work(*arguments, **options)
    return caught.value.code


def test_the_digest_is_sha256_in_hex() -> None:
    assert files.digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_an_image_holds_all_that_belongs_to_a_file(file: Path) -> None:
    file.chmod(0o640)
    os.utime(file, ns=(7, 10**18 + 7))
    found = FileImage(data=b"old\n", mode=0o640, uid=os.getuid(), gid=os.getgid(), mtime_ns=10**18 + 7)
    assert read_image(file) == found
    assert found.owner == (0o640, os.getuid(), os.getgid())
    link = file.with_name("link")
    link.symlink_to("file.py")
    assert read_image(link) == found._replace(link="file.py")
    assert read_image(file.with_name("nothing")) is None


@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link", "link to a folder"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "it"
    makers: dict[str, Callable[[], object]] = {
        "folder": path.mkdir,
        "pipe": lambda: os.mkfifo(path),
        "dangling link": lambda: path.symlink_to("gone"),
        "link to a folder": lambda: path.symlink_to(tmp_path),
    }
    makers[kind]()
    assert refusal(read_image, path) == "not-a-file"


@pytest.mark.parametrize("change", [{"data": b"y"}, {"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"link": "elsewhere"}])
def test_images_differ_by_content_mode_and_owner(change: dict[str, Any]) -> None:
    assert not same_image(IMAGE, IMAGE._replace(**change))
    assert same_image(IMAGE, IMAGE._replace(mtime_ns=6))
    assert same_image(None, None)
    assert not same_image(None, IMAGE)
    assert not same_image(IMAGE, None)


def test_of_a_link_only_the_text_and_what_it_leads_to_count() -> None:
    link = IMAGE._replace(link="elsewhere")
    assert same_image(link, link._replace(mode=0o600, uid=1))
    assert not same_image(link, link._replace(data=b"y"))


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_the_mode_is_kept_whatever_the_umask(file: Path, mode: int) -> None:
    file.chmod(mode)
    old = os.umask(0o077)
    try:
        write(file, b"new\n")
    finally:
        os.umask(old)
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"new\n", mode)
    assert list(file.parent.iterdir()) == [file]


def test_mode_and_time_are_those_that_were_or_the_time_is_now(file: Path) -> None:
    file.chmod(0o666)
    write(file, b"new\n", was=IMAGE._replace(mode=0o640, mtime_ns=10**18 + 7))
    assert (stat.S_IMODE(file.stat().st_mode), file.stat().st_mtime_ns) == (0o640, 10**18 + 7)
    os.utime(file, (1, 1))
    write(file, b"newer\n")
    assert file.stat().st_mtime > EPOCH


def test_nobody_may_read_it_before_it_has_its_mode(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes, real, old = [], os.write, os.umask(0)

    def spy(fd: int, data: bytes) -> int:
        modes.append(stat.S_IMODE(os.fstat(fd).st_mode))
        return real(fd, data)

    monkeypatch.setattr(os, "write", spy)
    file.chmod(0o666)
    try:
        write(file, b"new\n")
    finally:
        os.umask(old)
    assert modes == [0o600]


@root_only
@pytest.mark.parametrize(("uid", "gid"), [(0, 12345), (12345, 0), (12345, 54321)])
def test_owner_and_group_are_kept(file: Path, uid: int, gid: int) -> None:
    os.chown(file, uid, gid)
    file.chmod(0o4750)  # chown takes this bit away
    write(file, b"new\n")
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (uid, gid, 0o4750)


@root_only
def test_an_owner_that_cannot_be_kept_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    os.chown(file, 12345, -1)
    monkeypatch.setattr(os, "chown", refuse)
    assert refusal(write, file, b"new\n") == "owner-not-kept"
    assert file.read_bytes() == b"old\n"


def test_attributes_are_kept_and_no_acl_is_gained(file: Path, tmp_path: Path) -> None:
    """One that the folder hands down would let others read what only the owner may."""
    nobody, other = 0xFFFFFFFF, 12345
    entries = [(1, 6, nobody), (2, 7, other), (4, 4, nobody), (16, 7, nobody), (32, 0, nobody)]  # acl(5)
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(file, "user.origin", b"a mirror")
        os.setxattr(tmp_path, DEFAULT_ACL, acl)
    except (AttributeError, OSError) as error:
        pytest.skip(f"no attributes here: {error}")
    write(file, b"new\n")
    assert os.listxattr(file) == ["user.origin"]
    os.setxattr(file, ACL, acl)
    write(file, b"newer\n")
    assert os.getxattr(file, ACL) == acl


def test_where_files_have_no_attributes_there_are_none(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> list[str]:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(os, "listxattr", fail, raising=False)
    write(file, b"new\n")
    assert file.read_bytes() == b"new\n"


@pytest.mark.parametrize("name", ["file.py", ".file.py.mps-patcher"])
def test_nothing_is_written_through_a_link(file: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "theirs").write_bytes(b"theirs\n")
    file.with_name(name).unlink(missing_ok=True)
    file.with_name(name).symlink_to("theirs")
    write(file, b"new\n", like=tmp_path / "theirs")
    assert (tmp_path / "theirs").read_bytes() == b"theirs\n"
    assert (file.read_bytes(), file.is_symlink()) == (b"new\n", False)


def test_a_link_is_made_again(file: Path, tmp_path: Path) -> None:
    (tmp_path / "cached").write_bytes(b"cached")
    before = read_image(file)
    files.stage_link(file, "cached")
    replace_file(file, expected=before)
    assert os.readlink(file) == "cached"  # noqa: PTH115


def meddle(file: Path, deed: str) -> None:
    if deed == "vanishes":
        file.unlink()
    elif deed == "mode":
        file.chmod(0o600)
    elif deed == "link":
        file.rename(file.with_name("moved"))
        file.symlink_to("moved")
    else:
        file.write_bytes(b"theirs\n")


@pytest.mark.parametrize("deed", ["writes", "vanishes", "mode", "link"])
def test_what_another_did_meanwhile_is_left_alone(file: Path, deed: str) -> None:
    before = read_image(file)
    stage(file, b"new\n", like=file)
    meddle(file, deed)
    now = read_image(file)
    assert refusal(replace_file, file, expected=before) == "target-changed"
    assert read_image(file) == now


def test_a_file_that_another_made_meanwhile_is_left_alone(file: Path) -> None:
    stage(file, b"new\n", like=file)
    assert refusal(replace_file, file, expected=None) == "target-changed"
    assert file.read_bytes() == b"old\n"


def test_a_reader_sees_the_old_file_or_the_new_one(file: Path) -> None:
    contents, torn, stop = (b"a" * 100_000, b"b" * 200_000), [], threading.Event()
    file.write_bytes(contents[0])

    def read() -> None:
        while not stop.is_set():
            if file.read_bytes() not in contents:
                torn.append(1)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(100):
        write(file, contents[number % 2])
    stop.set()
    reader.join()
    assert not torn


def test_a_full_disk_leaves_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert refusal(write, file, b"new\n") == "disk-full"
    assert file.read_bytes() == b"old\n"


def test_a_short_write_is_continued(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:1]))
    write(file, b"new\n")
    assert file.read_bytes() == b"new\n"


def test_a_file_is_on_the_disk_before_its_name_and_the_name_before_the_end(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[object] = []
    real = os.fsync

    def sync(fd: int) -> None:
        done.append((stat.S_ISDIR(os.fstat(fd).st_mode) and "folder") or os.fstat(fd).st_size)
        real(fd)

    monkeypatch.setattr(os, "fsync", sync)
    stage(file, b"new data\n", like=file)
    assert done == [len(b"new data\n")]
    replace_file(file, expected=read_image(file))
    files.sync_folders([file, file.with_name("other.py"), file])
    assert done[1:] == ["folder"]


def test_a_file_system_that_cannot_sync_folders(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def only_files(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(fd)

    monkeypatch.setattr(os, "fsync", only_files)
    write(file, b"new\n")
    assert file.read_bytes() == b"new\n"


@pytest.mark.parametrize("works", [True, False])
def test_on_macos_the_sync_goes_on_to_the_medium(file: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
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
    write(file, b"new\n")
    assert len(asked) == 2
    assert synced == ([] if works else asked)


def test_what_is_not_there_is_removed_even_where_nothing_can_be(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.remove_file(file)
    files.remove_file(file)

    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "unlink", read_only)
    files.remove_file(file)
    file.touch()
    assert refusal(files.remove_file, file) == "read-only"


def test_a_folder_has_the_mode_of_the_one_around_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    real, old = os.mkdir, os.umask(0o077)

    def spy(path: Path, mode: int) -> None:
        modes.append(mode)
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", spy)
    tmp_path.chmod(0o775)
    try:
        files.make_folder(tmp_path / "sub")
        (tmp_path / "cut").mkdir(0o700)  # as a run leaves it that is cut off right after that
        files.make_folder(tmp_path / "cut")
    finally:
        os.umask(old)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("sub", "cut")] == [0o775, 0o775]
    assert modes[0] == 0o700


def test_a_folder_that_is_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "sub").symlink_to(tmp_path)
    assert refusal(files.make_folder, tmp_path / "sub") == "linked-folder"


def test_only_an_empty_folder_goes(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "theirs").touch()
    files.remove_folder_if_empty(tmp_path / "sub")
    assert (tmp_path / "sub" / "theirs").exists()
    (tmp_path / "sub" / "theirs").unlink()
    for _ in range(2):
        files.remove_folder_if_empty(tmp_path / "sub")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["-1", "1.5", "now", "0x10", " 1", "1\n", "9223372037", "99999999999", "\u0661"])
def test_what_is_no_number_of_seconds_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert refusal(files.source_date_epoch) == "bad-epoch"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1500000000", EPOCH), ("9223372036", 9223372036), ("", None)])
def test_seconds_are_told_in_nanoseconds(monkeypatch: pytest.MonkeyPatch, text: str, seconds: int | None) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert files.source_date_epoch() == (seconds if seconds is None else seconds * 10**9)


@pytest.mark.parametrize(("given", "written"), [(None, EPOCH), (EPOCH + 9, EPOCH), (EPOCH - 9, EPOCH - 9)])
def test_nothing_that_is_written_is_later_than_source_date_epoch(
    file: Path, monkeypatch: pytest.MonkeyPatch, given: int | None, written: int
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    write(file, b"new\n", was=IMAGE._replace(mtime_ns=given * 10**9) if given else None)
    assert [int(path.stat().st_mtime) for path in (file, file.parent)] == [written, EPOCH]


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, "not-permitted"),
        (errno.EPERM, "not-permitted"),
        (errno.EROFS, "read-only"),
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EIO, "io-error"),
        (errno.ELOOP, "linked-folder"),
        (errno.ENOENT, "target-changed"),
        (errno.EMFILE, "os-error"),
        (None, "os-error"),
    ],
)
def test_every_refusal_of_the_system_has_a_cause_and_a_cure(number: int | None, code: str) -> None:
    with pytest.raises(PatcherError) as caught, files.explained(Path("some/file")):
        raise OSError(number, "system's words")
    assert caught.value.code == code
    assert caught.value.message.startswith("some/file: ")
    assert caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint
    if number == errno.EACCES:
        assert caught.value.message == "some/file: permission denied (EACCES)."
        assert "`mps-patcher run`, which changes no file" in caught.value.hint

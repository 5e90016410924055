"""Images and digests, and what the system's refusals are called."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from patcher.change import files
from patcher.change.files import Image, same
from patcher.errors import PatcherError

IMAGE = Image(data=b"x", mode=0o644, uid=0, gid=0, mtime_ns=5)


def test_the_digest_is_sha256_in_hex() -> None:
    assert files.digest(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_is_read_to_its_end_in_whatever_pieces_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "LIMIT", 10)
    real = os.read
    monkeypatch.setattr(os, "read", lambda fd, size: real(fd, min(size, 4)))
    for size in (0, 3, 9, 10):
        ours, theirs = os.pipe()
        os.write(theirs, b"x" * size)
        os.close(theirs)
        assert files.content(ours) == b"x" * size
        os.close(ours)
    ours, theirs = os.pipe()
    os.write(theirs, b"x" * 11)
    os.close(theirs)  # or a reader that asks for more would wait for ever
    with pytest.raises(OSError, match="File too large") as caught:
        files.content(ours)
    assert caught.value.errno == errno.EFBIG
    os.close(ours)


@pytest.mark.parametrize("change", [{"data": b"y"}, {"mode": 0o600}, {"uid": 1}, {"gid": 1}, {"mtime_ns": 6}])
def test_images_differ_by_all_that_makes_a_file(change: dict[str, object]) -> None:
    assert not same(IMAGE, replace(IMAGE, **change))  # type: ignore[arg-type]
    assert not same(IMAGE, replace(IMAGE, link="elsewhere"))


def test_a_time_that_is_not_known_is_no_difference() -> None:
    assert same(IMAGE, replace(IMAGE, mtime_ns=None))


def test_of_a_link_only_the_text_and_what_it_leads_to_count() -> None:
    link = replace(IMAGE, link="elsewhere")
    assert same(link, replace(link, mode=0o600, uid=1, mtime_ns=6))
    assert not same(link, replace(link, data=b"y"))


def test_no_file_is_only_like_no_file() -> None:
    assert same(None, None)
    assert not same(None, IMAGE)
    assert not same(IMAGE, None)


def test_reading_what_is_not_there_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"bytes")
    assert files.read(tmp_path / "there") == b"bytes"
    with pytest.raises(PatcherError) as caught:
        files.read(tmp_path / "nowhere")
    assert caught.value.code == "target-changed"


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

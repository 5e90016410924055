"""What installers write: the names of their marks, and the few fields that are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patcher.locate import metadata


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("transformers-4.45.1.dist-info", "regular"),
        ("Transformers-4.45.1.dist-info", "regular"),
        ("transformers.egg-link", "editable"),
        ("__editable__.transformers-4.46.0.dev0.pth", "editable"),
        ("transformers-4.45.1-py3.11.egg-info", "legacy"),
        ("transformers.egg-info", "legacy"),
        ("transformers-4.45.1-py3.11.egg", "legacy"),
        ("transformers", None),
        ("transformers.pth", None),
        ("~ransformers-4.45.1.dist-info", None),
        ("sentence_transformers-3.0.dist-info", None),
        ("transformers_stream_generator-0.0.5.dist-info", None),
        ("__editable__.transformers_extra-1.0.pth", None),
        ("__editable__.transformers-1.0.dist-info", None),
    ],
)
def test_marks(name: str, kind: str | None) -> None:
    found = metadata.marks([name])
    told = {"regular": found.regular, "editable": found.editable, "legacy": found.legacy}
    assert [each for each, names in told.items() if names] == ([kind] if kind else [])


def test_headers_end_at_the_blank_line_and_go_on_in_indented_ones(tmp_path: Path) -> None:
    path = tmp_path / "METADATA"
    path.write_bytes(
        b"Name: torch\r\nVERSION: 2.1.0 \r\nLicense: mine\r\n  Version: no\r\nodd\r\n\r\nVersion: body\xff"
    )
    assert metadata.headers(tmp_path / "none", path)["version"] == "2.1.0"
    assert metadata.headers(tmp_path) == {}


def test_the_version_comes_from_the_first_folder_that_tells(tmp_path: Path) -> None:
    for folder, text in (("a", ""), ("b", "Version: 2.2.0\n"), ("c", "Version: 2.3.0\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "torch-2.2.0.egg-info").write_text(text)  # a file, as distutils wrote it
    path = [tmp_path / name for name in ("none", "a", "b", "c")]
    assert metadata.version_of("torch", path) == "2.2.0"
    assert metadata.version_of("torch", path[:2]) is None


@pytest.mark.parametrize("name", ["METADATA", "PKG-INFO", "EGG-INFO/PKG-INFO"])
def test_the_version_is_found_wherever_installers_put_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "torch-2.2.0-py3.11.egg" / name
    path.parent.mkdir(parents=True)
    path.write_text("Version: 2.2.0\n")
    assert metadata.version_of("torch", [tmp_path]) == "2.2.0"


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "INSTALLER")
    assert metadata.installer(tmp_path) is None
    assert metadata.headers(tmp_path / "INSTALLER") == {}


def test_a_file_without_an_end_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "_LIMIT", 10)
    path = tmp_path / "INSTALLER"
    for size, told in ((9, "x" * 9), (10, "x" * 10), (11, None)):
        path.write_bytes(b"x" * size)
        assert metadata.installer(tmp_path) == told


@pytest.mark.parametrize(
    ("content", "told"), [(b"uv\n", "uv"), (b"u\xff\n", "u\N{REPLACEMENT CHARACTER}"), (b" \n", None), (None, None)]
)
def test_installer(tmp_path: Path, content: bytes | None, told: str | None) -> None:
    if content is not None:
        (tmp_path / "INSTALLER").write_bytes(content)
    assert metadata.installer(tmp_path) == told


def test_the_named_version(tmp_path: Path) -> None:
    assert metadata.named_version(tmp_path) is None
    (tmp_path / "transformers-4.45.1.dist-info").mkdir()
    assert metadata.named_version(tmp_path) == "4.45.1"
    (tmp_path / "transformers-4.45.2.dist-info").mkdir()
    assert metadata.named_version(tmp_path) is None


def test_only_a_folder_that_can_be_read_may_be_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "ours" / "mps-patcher").mkdir(parents=True)
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "METADATA").write_text("")
    found = {name: metadata.is_leftover(tmp_path / name) for name in ("file", "gone", "ours", "theirs")}
    assert found == {"file": False, "gone": False, "ours": True, "theirs": False}

"""Searching a tree: installs sound or not, once each, and never a package cache."""

from __future__ import annotations

from pathlib import Path

from patcher.locate import walk


def holding(folder: Path, mark: str = "transformers-4.45.1.dist-info") -> Path:
    (folder / mark).mkdir(parents=True)
    return folder


def test_where_installs_are(tmp_path: Path) -> None:
    top = tmp_path / "top"
    expected = [
        holding(top),
        holding(top / "a" / "site-packages", "transformers-4.30.0-py3.8.egg-info"),
        holding(top / "b", "__editable__.transformers-4.46.0.pth"),
        holding(top / "c" / "d"),
    ]
    holding(top / "src", "transformers.egg-info")  # a source tree
    (top / "e" / "transformers").mkdir(parents=True)
    (top / "e" / "transformers" / "__init__.py").write_text("")
    (top / "again").symlink_to(top / "c")
    assert walk.below(top) == walk.Walk(folders=tuple(expected), unread=())


def test_package_caches_are_left_alone(tmp_path: Path) -> None:
    holding(tmp_path / "uv" / "archive-v0" / "x")
    (tmp_path / "uv" / "CACHEDIR.TAG").write_text("")
    holding(tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "site-packages")
    (tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "info").mkdir()
    (tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "info" / "index.json").write_text("{}")
    kept = holding(tmp_path / "venv" / "lib" / "python3.11" / "site-packages")
    (tmp_path / "venv" / "info").mkdir()
    for name in ("CACHEDIR.TAG", "pyvenv.cfg"):  # uv tags the environments that it makes, too
        (tmp_path / "venv" / name).write_text("")
    assert walk.below(tmp_path).folders == (kept,)


def test_files_without_metadata_are_an_install_that_is_not_sound(tmp_path: Path) -> None:
    """In site-packages; `onnxruntime/transformers`, say, is another package's part."""
    for parent in ("venv/lib/python3.11/site-packages", "venv/lib/python3.11/site-packages/onnxruntime"):
        (tmp_path / parent / "transformers").mkdir(parents=True)
        (tmp_path / parent / "transformers" / "__init__.py").touch()
    assert walk.below(tmp_path).folders == (tmp_path / "venv" / "lib" / "python3.11" / "site-packages",)


def test_a_linked_site_packages_that_leads_out_is_named_as_such(tmp_path: Path) -> None:
    top, out = tmp_path / "top", tmp_path / "out"
    inside = holding(top / "a" / "site-packages")
    for name, real in (
        ("b/site-packages", holding(out / "one")),  # found nowhere else
        ("b/dist-packages", out / "empty"),
        ("b/other", out / "one"),
        ("c/site-packages", inside),  # found where it is
        ("c/gone-packages", out / "gone"),
    ):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).symlink_to(real)
    (out / "empty").mkdir()
    (top / "d-packages").mkdir()
    assert walk.below(top).folders == (inside, top / "b" / "site-packages")
    (tmp_path / "here").symlink_to(top)  # the folder that was asked for may be a link itself
    assert walk.below(tmp_path / "here").folders == tuple(
        tmp_path / "here" / name for name in ("a/site-packages", "b/site-packages")
    )

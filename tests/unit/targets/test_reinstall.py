"""The command that a hint to reinstall ends with; tests/integration/layouts/test_hints.py runs each of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patcher.errors import REINSTALL, PatcherError
from patcher.targets.reinstall import reinstall_explained

INFO = "transformers-4.45.1.dist-info"
PYTHON = Path("/my env/bin/python")


@pytest.fixture
def folder(install: Any, tmp_path: Path) -> Path:
    made: Path = install(tmp_path / "site packages")
    return made


def hint(folder: Path, python: Path | None = PYTHON, text: str = f"So be it. {REINSTALL}") -> str:
    return reinstall_explained(PatcherError("code", "Cause.", text), folder, python, (folder,)).hint


def test_by_the_pip_of_the_environment_or_else_one_that_is_told_of_it(folder: Path) -> None:
    options = "install --force-reinstall --no-deps transformers==4.45.1"
    start = "So be it. Reinstall transformers 4.45.1: "
    assert hint(folder) == f"{start}python3 -m pip --python '{PYTHON}' {options}"
    (folder / "pip").mkdir()
    (folder / "pip" / "__main__.py").touch()
    assert hint(folder) == f"{start}'{PYTHON}' -m pip {options}"


def test_into_a_folder_without_an_interpreter(folder: Path) -> None:
    command = f"python3 -m pip install --target '{folder}' --upgrade --no-deps transformers==4.45.1"
    assert hint(folder, None).endswith(f": {command}")
    (folder / INFO / "mps-patcher").mkdir()
    assert hint(folder, None).endswith(f": rm -r '{folder / INFO / 'mps-patcher'}' && {command}")


def test_by_uv_whose_cache_may_hold_the_same(folder: Path) -> None:
    (folder / INFO / "INSTALLER").write_text("uv")
    for python, place in ((PYTHON, f"--python '{PYTHON}'"), (None, f"--target '{folder}'")):
        command = f"uv cache clean transformers && uv pip install {place} --reinstall --no-deps transformers==4.45.1"
        assert hint(folder, python).endswith(f": {command}")


@pytest.mark.parametrize("installer", ["conda", "debian", "rpm"])
def test_what_pip_must_not_replace_is_told_in_words(folder: Path, installer: str) -> None:
    (folder / INFO / "INSTALLER").write_text(installer)
    assert hint(folder) == f"So be it. Reinstall transformers 4.45.1 with {installer}."


@pytest.mark.parametrize("version", ["4.46.0.dev0", "4.45.1+metal"])
def test_what_no_index_has_is_told_in_words(folder: Path, version: str) -> None:
    (folder / INFO / "METADATA").write_text(f"Name: transformers\nVersion: {version}\n")
    assert hint(folder) == f"So be it. Install transformers {version} again from its source."


def test_where_the_version_is_not_known_no_command_is_named(folder: Path) -> None:
    (folder / INFO).rename(folder / "away")
    assert hint(folder) == f"So be it. {REINSTALL}"
    assert hint(folder, text="Anything else.") == "Anything else."

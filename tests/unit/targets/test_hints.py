"""What a place that holds no transformers was meant to be: each hint is followed, and leads to the install."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.model import NotFound, Target


@pytest.fixture
def near(venv: Any, install: Any, cwd: Path) -> Any:
    """`venv` in the user's folder, not activated, with a transformers."""
    env = venv("venv", parent=cwd)
    install(env.site_packages)
    return env


@pytest.fixture
def follow(look: Any) -> Callable[[NotFound], Target]:
    """Does what the hint of a finding says."""

    def look_again(found: NotFound) -> Target:
        words = shlex.split(found.error.hint.removeprefix("Did you mean ").removesuffix("?"))
        (again,) = look(**{words[0].strip("-").replace("-", "_"): [Path(words[1])]})
        assert isinstance(again, Target), again
        return again

    return look_again


@pytest.mark.parametrize(
    ("option", "named", "meant"),
    [
        ("site_packages", "venv", "--python venv"),
        ("site_packages", ".", "--python venv"),
        ("site_packages", "venv/lib", "--python venv"),
        ("site_packages", "{site}/transformers", "--site-packages {site}"),
        ("python", "{site}", "--site-packages {site}"),
        ("python", "{site}/transformers", "--site-packages {site}"),
        ("python", ".", "--python venv"),
        ("python", "venv/bin", "--python venv"),
    ],
)
def test_a_folder_beside_the_right_one(
    option: str, named: str, meant: str, near: Any, look: Any, follow: Any, cwd: Path
) -> None:
    site = near.site_packages.relative_to(cwd)
    (found,) = look(**{option: [Path(named.format(site=site))]})
    assert found.error.hint == f"Did you mean {meant.format(site=site)}?"
    assert cwd / follow(found).site_packages == near.site_packages


def test_an_image_has_no_interpreter_here(install: Any, look: Any, follow: Any, cwd: Path) -> None:
    site = install(cwd / "image" / "opt" / "app" / "lib" / "python3.12" / "site-packages")
    (found,) = look(site_packages=[Path("image")])
    assert found.error.hint == f"Did you mean --site-packages {site}?"
    assert follow(found).python is None


def test_nothing_is_suggested_where_there_is_nothing(venv: Any, look: Any, cwd: Path) -> None:
    venv("venv", parent=cwd)
    for given in ({"site_packages": [Path("venv")]}, {"python": [cwd]}, {"site_packages": [Path("x" * 300)]}, {}):
        (found,) = look(**given)
        assert "Did you mean" not in found.error.hint


@pytest.mark.parametrize("name", [".venv", "venv", "env"])
def test_an_environment_nearby_that_is_not_active(
    name: str, venv: Any, install: Any, look: Any, follow: Any, cwd: Path
) -> None:
    active, near = venv("active"), venv(name, parent=cwd)
    install(near.site_packages)
    (found,) = look(VIRTUAL_ENV=active.prefix)
    assert (found.error.code, found.error.hint) == ("no-transformers", f"Did you mean --python {near.prefix}?")
    assert follow(found).site_packages == near.site_packages


class TestVariable:
    """MPS_PATCHER_PYTHON comes before all that the environment means, and after what the command line says."""

    @pytest.mark.parametrize("named", ["venv", "venv/bin/python"])
    def test_it_decides(self, named: str, near: Any, venv: Any, look: Any) -> None:
        (found,) = look(MPS_PATCHER_PYTHON=named, VIRTUAL_ENV=venv("active").prefix)
        assert (found.python, found.reason) == (near.python, f"MPS_PATCHER_PYTHON is set to {named}")

    def test_an_option_wins(self, venv: Any, install: Any, look: Any) -> None:
        other = venv("other")
        install(other.site_packages)
        (found,) = look(python=[other.prefix], MPS_PATCHER_PYTHON="venv")
        assert found.python == other.python

    def test_a_wrong_one_is_told(self, look: Any, cwd: Path) -> None:
        (found,) = look(MPS_PATCHER_PYTHON="gone")
        assert found.error.message == f"{cwd / 'gone'} does not exist (MPS_PATCHER_PYTHON is set to gone)."
        (unset,) = look(MPS_PATCHER_PYTHON="", PATH="")
        assert "MPS_PATCHER_PYTHON" not in unset.error.message


def test_a_version_is_that_python_on_path(near: Any, look: Any) -> None:
    version = "{}.{}".format(*sys.version_info)
    (found,) = look(python=[Path(version)], PATH=near.prefix / "bin")
    assert (found.python, found.version) == (near.prefix / "bin" / f"python{version}", "4.45.1")

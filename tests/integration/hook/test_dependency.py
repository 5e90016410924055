"""`mps-patcher[hook]` as a dependency of a project, with real uv, poetry and pip: tool and hook in one environment."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from patcher import __version__

pytestmark = pytest.mark.installers

ROOT = Path(__file__).parents[3]
PROJECT = """
[project]
name = "app"
version = "1"
requires-python = ">=3.11,<4"
dependencies = [{dependencies}]

[tool.uv]
find-links = ["{wheels}"]

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "simple"
url = "https://pypi.org/simple/"
"""
OWN = ("PYTHON", "VIRTUAL_ENV", "CONDA", "POETRY", "UV_", "MPS_PATCHER")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheels of mps-patcher and mps-patcher-hook."""
    folder = tmp_path_factory.mktemp("built")
    for project in (ROOT, ROOT / "patcher" / "hook"):
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", "wheel"]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def poetry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Poetry, in an environment of its own."""
    folder = tmp_path_factory.mktemp("poetry")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run([*pip, "poetry>=2"], check=True)
    return folder / "bin" / "poetry"


@pytest.fixture
def in_project(tmp_path: Path) -> Callable[..., None]:
    """`in_project(*command)` runs it there, as a user whose tools keep their environment in `.venv`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    caches = {"UV_CACHE_DIR": str(tmp_path / "cache"), "POETRY_CACHE_DIR": str(tmp_path / "cache")}
    environ = {**kept, **caches, "UV_LINK_MODE": "hardlink", "POETRY_VIRTUALENVS_IN_PROJECT": "true"}

    def run(*command: object) -> None:
        done = subprocess.run(
            [str(word) for word in command], cwd=tmp_path, env=environ, check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout

    return run


@pytest.fixture
def depends(tmp_path: Path, built: Path, small: Callable[[str], Path]) -> Callable[..., None]:
    """`depends(version, hook=True)` writes the project's pyproject.toml."""

    def write(version: str, *, hook: bool = True) -> None:
        ours = {
            "mps-patcher[hook]": f"mps_patcher-{__version__}",
            "mps-patcher-hook": f"mps_patcher_hook-{__version__}",
        }
        wanted = [f'"{name} @ file://{built}/{file}-py3-none-any.whl"' for name, file in ours.items() if hook]
        wanted.append(f'"transformers @ file://{small(version)}"')
        text = PROJECT.format(dependencies=", ".join(wanted), wheels=built)
        (tmp_path / "pyproject.toml").write_text(text)

    return write


@pytest.fixture
def environment(new: Any, tmp_path: Path) -> Any:
    """That of the project, which is yet to be made."""
    kind = type(new(prefix=tmp_path / "other"))
    return kind(tmp_path / ".venv", tmp_path / "log")


def test_a_project_of_uv(environment: Any, depends: Any, in_project: Any, tmp_path: Path) -> None:
    uv = (sys.executable, "-m", "uv", "sync", "-q", "--python", sys.executable)
    depends("4.45.1")
    in_project(*uv)
    found = (tmp_path / "cache").glob("**/mps_patcher_hook/seen")
    (cached,) = (path for path in found if path.samefile(environment.package / "seen"))
    assert environment.start() == ("patched", "")
    in_project(*uv)
    assert environment.start() == ("patched", "")
    in_project(*uv, "--reinstall-package", "transformers")
    assert environment.start() == ("patched", "")
    depends("4.46.3")
    in_project(*uv)
    assert environment.start() == ("patched", "")
    assert cached.read_bytes() == b""
    assert not cached.with_name("seen.new").exists()
    depends("4.46.3", hook=False)
    in_project(*uv)
    assert not list(environment.site.glob("*hook*"))
    assert environment.start()[1] == ""


def test_a_project_of_poetry(environment: Any, depends: Any, in_project: Any, poetry: Path) -> None:
    depends("4.45.1")
    in_project(poetry, "install")
    assert environment.start() == ("patched", "")
    in_project(poetry, "install")
    assert environment.start() == ("patched", "")
    for version in ("4.46.3", "4.45.1"):
        depends(version)
        in_project(poetry, "lock")
        in_project(poetry, "install")
        assert environment.start() == ("patched", ""), version
    depends("4.45.1", hook=False)
    in_project(poetry, "lock")
    in_project(poetry, "sync")
    assert not list(environment.site.glob("*hook*"))


def test_pip_installs_the_extra(
    environment: Any, built: Path, small: Callable[[str], Path], in_project: Any, new: Any, tmp_path: Path
) -> None:
    new(prefix=tmp_path / ".venv")
    pip = (sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", environment.python)
    in_project(*pip, "install", "--find-links", built, f"mps-patcher[hook]=={__version__}", small("4.45.1"))
    assert environment.start() == ("patched", "")
    in_project(*pip, "install", "--no-deps", small("4.46.3"))
    assert environment.start() == ("patched", "")
    in_project(*pip, "uninstall", "-y", "mps-patcher", "mps-patcher-hook")
    assert not list(environment.site.glob("*hook*"))
    assert environment.start() == ("patched", "")


def test_each_wheel_holds_its_own_files_alone(built: Path) -> None:
    held = {}
    for project in ("mps_patcher", "mps_patcher_hook"):
        with ZipFile(built / f"{project}-{__version__}-py3-none-any.whl") as archive:
            held[project] = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = {f"mps_patcher_hook/{name}" for name in ("__init__.py", "again.py", "seen")}
    assert held["mps_patcher_hook"] == {"mps_patcher_hook.pth", *package}
    assert "patcher/hook/mps_patcher_hook.pth" in held["mps_patcher"]
    assert "patcher/hook/pyproject.toml" not in held["mps_patcher"]

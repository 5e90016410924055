"""The sdist and the wheel of this checkout."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def build(project: Path, folder: Path, *targets: str) -> None:
    """Builds with the backend that pyproject.toml names, from the registry as it was when `.venv` was made."""
    words = [word for target in targets for word in ("-t", target)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder), *words]
    subprocess.run(command, cwd=project, check=True, capture_output=True)


def only(folder: Path, pattern: str) -> Path:
    """The only file of a folder that the pattern means."""
    (found,) = folder.glob(pattern)
    return found


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel."""
    folder = tmp_path_factory.mktemp("dist")
    build(ROOT, folder, "sdist", "wheel")
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    """The wheel."""
    return only(dist, "*.whl")


@pytest.fixture(scope="session")
def wheel_of_sdist(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel that the sdist builds."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(only(dist, "*.tar.gz")) as archive:
        archive.extractall(folder, filter="data")
    build(only(folder, "mps_patcher-*"), folder, "wheel")
    return only(folder, "*.whl")

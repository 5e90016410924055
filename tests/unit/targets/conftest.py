"""Real environments with a transformers (and a torch) that tells on whoever imports it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from patcher.model import NotFound, Target
from patcher.targets.find import TargetOptions, find_targets

VERSION = "python{}.{}".format(*sys.version_info)


@dataclass(frozen=True)
class Env:
    prefix: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return self.prefix / "lib" / VERSION / "site-packages"


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user's environment, with nothing of this run's own Python in it."""
    ours = ("PYTHON", "MPS_PATCHER", "VIRTUAL_ENV", "CONDA", "COVERAGE", "PIP_", "UV_")
    clean = {key: value for key, value in os.environ.items() if not key.startswith(ours)}
    return {**clean, "HOME": str(tmp_path / "home")}


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    """The folder that the user is in."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


Look = Callable[..., tuple[Target | NotFound, ...]]


@pytest.fixture
def look(environ: dict[str, str], cwd: Path) -> Look:
    """`look(python=[...], site_packages=[...], under=[...], PYTHONPATH=...)` finds targets as that user, there."""

    def find(
        python: Sequence[Path] = (), site_packages: Sequence[Path] = (), under: Sequence[Path] = (), **given: object
    ) -> tuple[Target | NotFound, ...]:
        options = TargetOptions(python=tuple(python), site_packages=tuple(site_packages), under=tuple(under))
        return find_targets(options, {**environ, **{name: str(value) for name, value in given.items()}}, cwd)

    return find


@pytest.fixture
def venv(tmp_path: Path) -> Callable[..., Env]:
    """`venv(name, *flags)` is a new virtual environment without pip."""

    def make(name: str = "env", *flags: str, parent: Path = tmp_path, base: Path = Path(sys.executable)) -> Env:
        command = [str(base), "-m", "venv", "--without-pip", *flags, str(parent / name)]
        subprocess.run(command, check=True)
        return Env(parent / name)

    return make


@pytest.fixture
def whole(tmp_path: Path) -> Env:
    """An environment with an interpreter of its own, as conda makes them: no pyvenv.cfg, no link to another one.

    Its standard library is one of links; what this Python has in its own site-packages is left out.
    """
    env, base = Env(tmp_path / "whole"), Path(sys.base_prefix)
    env.site_packages.mkdir(parents=True)
    env.python.parent.mkdir()
    shutil.copy(Path(sys.executable).resolve(), env.python)
    for entry in (path for folder in ("lib", f"lib/{VERSION}") for path in (base / folder).iterdir()):
        link = env.prefix / entry.relative_to(base)
        if not link.exists() and entry.name != "dist-packages":
            link.symlink_to(entry)
    return env


@pytest.fixture(autouse=True)
def alarm(tmp_path: Path) -> Iterator[Path]:
    """A file that appears when a poisoned package is imported; it must not, in any test."""
    path = tmp_path / "imported"
    yield path
    assert not path.exists(), path.read_text()


@pytest.fixture
def poison(alarm: Path) -> Callable[[Path], None]:
    def write(package: Path) -> None:
        package.mkdir(exist_ok=True)
        code = f"open({str(alarm)!r}, 'a').write(__file__)\nraise SystemExit('imported')\n"
        (package / "__init__.py").write_text(code)

    return write


@pytest.fixture
def install(unpacked: Callable[..., Path], poison: Callable[[Path], None]) -> Callable[..., Path]:
    """`install(folder, torch="2.1.0")` puts transformers 4.45.1, and that torch's metadata, there; both poisoned."""

    def put(folder: Path, *, transformers: bool = True, torch: str | None = None) -> Path:
        if transformers:
            shutil.copytree(unpacked(), folder, dirs_exist_ok=True)
            poison(folder / "transformers")
        if torch is not None:
            poison(folder / "torch")
            metadata = folder / f"torch-{torch}.dist-info" / "METADATA"
            metadata.parent.mkdir()
            metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {torch}\n\nVersion: not this\n")
        return folder

    return put

"""What all tests share: real wheels, unpacked as an installer does, and environments with real torch."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from hypothesis import settings
from snapshots import Snapshot, snapshot
from torch_env import ensure, throwaway, wheel

# Enough of transformers for all that reads files: the patched one, two of its callers and its neighbours.
FEW = {
    "transformers/__init__.py",
    "transformers/activations.py",
    "transformers/generation/__init__.py",
    "transformers/generation/stopping_criteria.py",
    "transformers/generation/utils.py",
    "transformers/pytorch_utils.py",
    "transformers/utils/__init__.py",
    "transformers/utils/versions.py",
}
INSTALLER_ROW = "INSTALLER,sha256=zuuue4knoyJ-UwPPXg8fezS7VCrXJQrAP7zeNuwvFQg,4"

# These run in an environment that has torch: `make test` starts them there.
collect_ignore = [] if importlib.util.find_spec("torch") else ["integration/torch"]

# The same inputs in every run, so that a failure is the change's own; `make test-fuzz` looks for new ones.
settings.register_profile("deterministic", derandomize=True, database=None, deadline=None)
settings.load_profile("deterministic")

# A job in the background of a script starts with SIGINT ignored, and its children inherit that: Ctrl-C is tested too.
signal.signal(signal.SIGINT, signal.default_int_handler)

cached_wheel = cache(wheel)


def unpack(archive: Path, site_packages: Path, *, whole: bool) -> None:
    """Installs a wheel as pip does, but for its scripts and bytecode: files, a sorted RECORD and INSTALLER."""
    with ZipFile(archive) as opened:
        names = opened.namelist()
        record = next(name for name in names if name.endswith(".dist-info/RECORD"))
        info = str(PurePosixPath(record).parent)
        chosen = [name for name in names if whole or name in FEW or name.startswith(info)]
        opened.extractall(site_packages, chosen)
        rows = [row for row in opened.read(record).decode().splitlines() if row.split(",")[0] in chosen]
    (site_packages / info / "INSTALLER").write_bytes(b"pip\n")
    lines = sorted([*rows, f"{info}/{INSTALLER_ROW}"])
    (site_packages / record).write_bytes("".join(f"{line}\n" for line in lines).encode())


@pytest.fixture
def tree() -> Callable[[Path], Snapshot]:
    """`tree(folder)` is a picture of everything below it: bytes, modes, owners, times and links."""
    return snapshot


@pytest.fixture(scope="session")
def wheels() -> Callable[[str], Path]:
    """`wheels("4.45.1")` is the path of that transformers wheel. It is shared: never write to it."""
    return cached_wheel


@pytest.fixture
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`unpacked(version="4.45.1", whole=False)` is a new site-packages folder with that transformers and nothing else.

    Only a few of its files are written unless `whole`; RECORD lists exactly those that are there.
    """

    def make(version: str = "4.45.1", *, whole: bool = False) -> Path:
        site_packages = tmp_path_factory.mktemp("env") / "lib" / "python3.11" / "site-packages"
        site_packages.mkdir(parents=True)
        unpack(cached_wheel(version), site_packages, whole=whole)
        return site_packages

    return make


@pytest.fixture
def shortened() -> Callable[[Path], Path]:
    """`shortened(site_packages)` leaves of two files that call torch.isin little more than that; libcst takes seconds
    for the real ones."""

    def shorten(site_packages: Path) -> Path:
        for name in ("stopping_criteria", "utils"):
            text = f"import torch\n\n\ndef {name}(a, b):\n    return torch.isin(a, b)\n"
            (site_packages / "transformers" / "generation" / f"{name}.py").write_text(text)
        return site_packages

    return shorten


@pytest.fixture(scope="session")
def torch_env() -> Path:
    """The interpreter of an environment with torch 2.13.0 and transformers 4.45.1. It is shared: copy, never change."""
    return ensure("current")


@pytest.fixture(scope="session")
def seed_python() -> Path:
    """The interpreter with torch 2.1.0 and transformers 4.45.1, for tests marked `seed`. It is shared."""
    return ensure("seed")


@pytest.fixture
def throwaway_env(tmp_path: Path) -> Callable[..., Path]:
    """`throwaway_env("seed", "4.45.1")` is the interpreter of a new environment whose transformers may be changed.

    Its torch, of `current` or `seed`, is linked in: never change that. With `compiled=True` pip has compiled it all.
    """

    def make(name: str, version: str = "4.45.1", *, compiled: bool = False) -> Path:
        return throwaway(tmp_path / f"{name}-{version}", name, version, compiled=compiled)

    return make


@pytest.fixture(scope="session")
def pythons() -> dict[tuple[int, int], Path]:
    """The interpreters installed here, on PATH or by pyenv, by version from (3, 8) on; perhaps none."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    folders += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    found: dict[tuple[int, int], Path] = {}
    for minor in range(8, 15):
        for python in (folder / f"python3.{minor}" for folder in folders):
            if python.exists() and _answers(python, f"(3, {minor})"):
                found.setdefault((3, minor), python)
    return found


def _answers(python: Path, version: str) -> bool:
    command = [str(python), "-c", "import sys; print(sys.version_info[:2])"]
    return version in subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()

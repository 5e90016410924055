"""torch's released wheels for macOS on arm64: fetched with pip, kept in the cache, read without being unpacked."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from torch_env import cache

RELEASES = (
    "2.0.1", "2.1.2", "2.2.2", "2.3.1", "2.4.1", "2.5.1", "2.6.0", "2.7.1",
    "2.8.0", "2.9.1", "2.10.0", "2.11.0", "2.12.1", "2.13.0", "2.14.1",
)  # fmt: skip
"""The last patch release of each minor one."""
PLATFORMS = ("macosx_11_0_arm64", "macosx_14_0_arm64")
PYTHON = "3.11"
"""Has a wheel of every release."""


def minor(release: str) -> str:
    """'2.1.2' as '2.1'."""
    return ".".join(release.split(".")[:2])


def macos_wheel(release: str) -> Path:
    """The cached wheel of a release; 60 to 130 MB are fetched where it is not there. Raises CalledProcessError."""
    folder = cache() / "wheels"
    pattern = f"torch-{release}-*cp311-*-macosx_*_arm64.whl"
    folder.mkdir(parents=True, exist_ok=True)
    if not list(folder.glob(pattern)):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _download(release, scratch)
            for found in Path(scratch).glob(pattern):
                found.replace(folder / found.name)
    (cached,) = folder.glob(pattern)
    return cached


def _download(release: str, folder: str) -> None:
    """pip compares what it fetches with the registry's digest."""
    platforms = [f"--platform={platform}" for platform in PLATFORMS]
    options = ["--no-deps", "--only-binary=:all:", f"--python-version={PYTHON}", *platforms, f"--dest={folder}"]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", *options]
    subprocess.run([*command, f"torch=={release}"], check=True, stdout=sys.stderr)


def members(wheel: Path, *names: str) -> list[bytes]:
    """The files of a wheel."""
    with ZipFile(wheel) as opened:
        return [opened.read(name) for name in names]

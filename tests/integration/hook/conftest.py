"""Environments with the hook, whose Python is started for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from command import run_here

from patcher.storage.record import record_row

FEW = ("transformers/__init__.py", "transformers/pytorch_utils.py", "transformers/utils/__init__.py")
PROGRAM = """
import importlib.util, pathlib
found = importlib.util.find_spec("transformers")
file = found and pathlib.Path(found.submodule_search_locations[0], "pytorch_utils.py")
print("none" if file is None else "patched" if "mps-patcher" in file.read_text() else "unpatched")
"""
"""A program that looks for transformers first thing, and says what it would import."""
TOOL = """#!/bin/sh
echo called >> '{log}'
exec '{python}' "$@"
"""
"""The tool's interpreter, which writes down that it was called."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment, and what its hook did."""

    prefix: Path
    log: Path

    @property
    def python(self) -> Path:
        return self.prefix / "bin" / "python"

    @property
    def site(self) -> Path:
        (found,) = self.prefix.glob("lib/python3.*/site-packages")
        return found

    @property
    def package(self) -> Path:
        """The hook's."""
        return self.site / "mps_patcher_hook"

    @property
    def calls(self) -> int:
        """How often the hook called the tool."""
        return len(self.log.read_text().splitlines()) if self.log.exists() else 0

    def start(self, *flags: str, program: str = PROGRAM, **options: Any) -> tuple[str, str]:
        """What a start of Python that ends well printed, on standard output and on standard error."""
        done = subprocess.run(
            self.command(*flags, program=program), env=clean(options.pop("env", {})), capture_output=True, text=True,
            check=True, **options,
        )  # fmt: skip
        return done.stdout.strip(), done.stderr.strip()

    def command(self, *flags: str, program: str = PROGRAM) -> list[str]:
        return [str(self.python), *flags, "-c", program]

    def set_up(self) -> None:
        """As the user does; then the tool is one that writes down that it was called."""
        assert run_here("setup", "--python", str(self.python))[0] == 0
        tool = self.log.with_suffix(".sh")
        tool.write_text(TOOL.format(log=self.log, python=sys.executable))
        tool.chmod(0o755)
        (self.package / "tool").write_text(str(tool))

    def edit(self, old: str, new: str) -> None:
        """Changes what the hook does for a transformers that was not seen yet."""
        text = (self.package / "again.py").read_text()
        assert text.count(old) == 1
        (self.package / "again.py").write_text(text.replace(old, new))


def clean(added: dict[str, str]) -> dict[str, str]:
    """A user's environment, with nothing of this run's own Python in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MPS_PATCHER"))}
    return {**kept, **added}


@pytest.fixture
def new(tmp_path: Path) -> Callable[..., Environment]:
    """`new(python, prefix)` is an environment with nothing in it."""

    def make(python: Path | str = sys.executable, prefix: Path = tmp_path / "env") -> Environment:
        subprocess.run([python, "-m", "venv", "--without-pip", prefix], check=True)
        return Environment(prefix, tmp_path / "log")

    return make


@pytest.fixture
def installed(unpacked: Callable[..., Path]) -> Callable[[Environment], None]:
    """`installed(environment)` puts some files of transformers 4.45.1 there, in place of all that there was of it."""

    def install(environment: Environment) -> None:
        for path in environment.site.glob("transformers*"):
            shutil.rmtree(path)
        shutil.copytree(unpacked(), environment.site, dirs_exist_ok=True)

    return install


@pytest.fixture
def hooked(new: Callable[..., Environment], installed: Callable[[Environment], None]) -> Environment:
    """An environment with an unpatched transformers, where the hook was set up."""
    made = new()
    installed(made)
    made.set_up()
    return made


Installer = Callable[..., None]


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest) -> Installer:
    """`installer(environment, "install", ...)` is what pip and uv do there; nothing is fetched."""

    def run(environment: Environment, verb: str, *words: object) -> None:
        start: Sequence[object] = ("-m", "uv", "pip", verb, "--python", environment.python)
        if request.param == "pip":
            start = ("-m", "pip", "--disable-pip-version-check", "--python", environment.python, verb)
        options = (
            ["--no-index", "--no-deps", "--no-compile"]
            if verb == "install"
            else ["-y"]
            if request.param == "pip"
            else []
        )
        command = [sys.executable, *map(str, (*start, *options, *words))]
        subprocess.run(command, check=True, capture_output=True, env=clean({}))

    return run


@pytest.fixture(scope="session")
def small(wheels: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`small(version)` is the wheel of that release, with a few of its files, which requires nothing."""
    folder = tmp_path_factory.mktemp("small")

    @cache  # the same file each time, whose digest a lock file names
    def shrink(version: str) -> Path:
        whole = wheels(version)
        info = f"transformers-{version}.dist-info"
        with ZipFile(whole) as archive:
            files = {name: archive.read(name) for name in (*FEW, f"{info}/WHEEL", f"{info}/METADATA")}
        lines = files[f"{info}/METADATA"].splitlines(keepends=True)
        files[f"{info}/METADATA"] = b"".join(line for line in lines if not line.startswith(b"Requires-Dist"))
        rows = [*(record_row(name, data) for name, data in files.items()), f"{info}/RECORD,,"]
        with ZipFile(folder / whole.name, "w") as made:
            for name, data in {**files, f"{info}/RECORD": "".join(f"{row}\n" for row in rows).encode()}.items():
                made.writestr(name, data)
        return folder / whole.name

    return shrink

"""The command as a user starts it, on layouts of files as they are met; all that is asserted is seen from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from documents import read_document
from rights import drop_all

ROOT = os.geteuid() == 0
TOOL = Path(sys.executable).with_name("mps-patcher")
OURS = ("PYTHON", "VIRTUAL_ENV", "CONDA", "PIP_", "UV_")


@dataclass(frozen=True)
class Told:
    """What one run of the command said."""

    code: int
    out: str
    err: str

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = read_document(self.out)["results"]
        return found

    @property
    def states(self) -> dict[str, str | None]:
        return {result["patch"]: result["state"] for result in self.results}

    @property
    def errors(self) -> list[str]:
        """The code of each result's error."""
        return [result["error"] and result["error"]["code"] for result in self.results]

    @property
    def error(self) -> dict[str, str]:
        """The only error: of the results that have one, or of the whole run."""
        found = [one["error"] for one in self.results if one["error"]] or [read_document(self.out)["error"]]
        assert found == found[:1] * len(found)
        return dict(found[0])


class Tool:
    """`tool("apply", "--site-packages", folder)` runs the command and holds it to what all its answers must be."""

    def __init__(self, environ: Mapping[str, str], cwd: Path) -> None:
        self.environ, self.cwd = dict(environ), cwd

    def __call__(self, *words: object, **options: Any) -> Told:
        """With `powerless`, root is an ordinary user: the owner of root's files, without a right to anybody else's.

        Other options are `cwd` and variables of the environment.
        """
        return self.through((), *words, **options)

    def through(
        self,
        start: tuple[str, ...],
        *words: object,
        powerless: bool = False,
        cwd: Path | None = None,
        **environ: object,
    ) -> Told:
        """The same, but started by another command, which takes it as its last words."""
        done = self._run([*start, TOOL, *map(str, words)], powerless=powerless, cwd=cwd, environ=environ)
        told = Told(done.returncode, done.stdout.decode(), done.stderr.decode())
        _hold(told, json_asked="--json" in words)
        return told

    def raw(self, *words: object) -> bytes:
        """What a run that succeeds prints, byte for byte, such as a diff."""
        done = self._run([TOOL, *map(str, words)], powerless=False, cwd=None, environ={})
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def _run(
        self, command: list[str | Path], *, powerless: bool, cwd: Path | None, environ: Mapping[str, object]
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            command,
            capture_output=True,
            env={**self.environ, **{name: str(value) for name, value in environ.items()}},
            cwd=cwd or self.cwd,
            preexec_fn=drop_all() if powerless and ROOT else None,
            check=False,
        )

    def json(self, *words: object, **options: Any) -> Told:
        """The same with --json."""
        return self(*words, "--json", **options)


def _hold(told: Told, *, json_asked: bool) -> None:
    """No traceback, no raw control character, errors in pairs of lines, or one JSON document that is all there is."""
    if json_asked:
        document = read_document(told.out)
        assert (document["schema"], document["ok"], told.err) == (1, told.code == 0, "")
        errors = [*(one["error"] for one in document["results"]), document.get("error")]
        lines = [line for error in errors if error for line in (error["message"], error["hint"])]
    else:
        lines = [line for line in told.err.splitlines() if not line.startswith("note: ")]
        assert [line.split(":")[0] for line in lines] == ["error", "hint"] * (len(lines) // 2)
    for line in [*lines, *told.out.split("\n")]:
        assert all(char.isprintable() for char in line), line
    assert "Traceback" not in told.out + told.err
    assert "defect of mps-patcher" not in told.out + told.err


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A user's environment, with nothing of this run's own Python in it."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(OURS)}
    return {**clean, "HOME": str(tmp_path / "home"), "NO_COLOR": "1"}


@pytest.fixture
def tool(environ: dict[str, str], tmp_path: Path) -> Tool:
    """See `Tool`; the user is in an empty folder."""
    (tmp_path / "cwd").mkdir()
    return Tool(environ, tmp_path / "cwd")


@pytest.fixture
def site(unpacked: Callable[..., Path]) -> Path:
    """The site-packages of an environment with some files of transformers 4.45.1 and the metadata of torch 2.1.0."""
    return with_torch(unpacked())


@pytest.fixture
def calling(unpacked: Callable[..., Path]) -> Path:
    """The same with a whole transformers 4.50.3, which needs both patches: 2 of its files call torch.isin."""
    return with_torch(unpacked("4.50.3", whole=True))


@pytest.fixture
def torch_in() -> Callable[[Path], Path]:
    """`torch_in(site_packages)` puts the metadata of torch 2.1.0 there."""
    return with_torch


def with_torch(site_packages: Path) -> Path:
    info = site_packages / "torch-2.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0\n")
    return site_packages


@pytest.fixture
def venv(tmp_path: Path) -> Callable[..., Path]:
    """`venv(name, site_packages)` is the prefix of a new environment, whose site-packages that folder becomes."""

    def make(name: str, site_packages: Path, parent: Path = tmp_path) -> Path:
        prefix = parent / name
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
        (own,) = prefix.glob("lib/python3.*/site-packages")
        own.rmdir()
        site_packages.rename(own)
        return prefix

    return make

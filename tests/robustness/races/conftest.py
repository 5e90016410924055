"""Environments that a real pip or uv fills in a moment, mps-patcher as real processes, and what may be there after."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from zipfile import ZIP_STORED, ZipFile

import pytest
from command import results_here
from reliability import write
from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[3]
FEW = (
    "transformers/__init__.py",
    "transformers/generation/__init__.py",
    "transformers/generation/stopping_criteria.py",
    "transformers/pytorch_utils.py",
    "transformers/utils/__init__.py",
)
SECONDS = float(os.environ.get("RACES_SECONDS", "60"))
SEED = int(os.environ.get("RACES_SEED", time.time_ns() % 10**6))
CLEAN = (
    "- after each of them every file was the wheel's that was installed last, or what the journal says we made of it;",
    "  where transformers was uninstalled, no file or folder of it or of mps-patcher was left.",
)
MADE = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"}
"""What installers add to the dist-info."""


def row(name: str, data: bytes) -> str:
    """The row of a file in RECORD, written with the standard library's csv: not with the code that is tested."""
    named = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow((name, f"sha256={named}", len(data)))
    return text.getvalue()


def shrink(archive: Path, folder: Path, texts: dict[str, str]) -> Path:
    """A wheel with a few files of another one, some with these texts, and a RECORD that is right.

    So an install takes a moment.
    """
    small = folder / archive.name
    with ZipFile(archive) as full, ZipFile(small, "w", ZIP_STORED) as made:
        names = full.namelist()
        (record,) = (name for name in names if name.endswith(".dist-info/RECORD"))
        kept = [name for name in names if name in FEW or name.endswith((".dist-info/METADATA", ".dist-info/WHEEL"))]
        files = {name: full.read(name) for name in kept} | {name: text.encode() for name, text in texts.items()}
        rows = []
        for name, data in files.items():
            made.writestr(name, data)
            rows.append(row(name, data))
        made.writestr(record, "\n".join([*rows, f"{record},,", ""]))
    return small


@cache
def content(wheel: Path) -> dict[str, bytes]:
    """The files of a wheel, without RECORD, which installers write anew."""
    with ZipFile(wheel) as opened:
        return {name: opened.read(name) for name in opened.namelist() if not name.endswith("/RECORD")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Venv:
    """An environment of one installer."""

    root: Path
    tool: str

    @property
    def python(self) -> Path:
        return self.root / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        (found,) = self.root.glob("lib/python3.*/site-packages")
        return found

    @property
    def environ(self) -> dict[str, str]:
        more = {"UV_CACHE_DIR": str(self.root.parent / "cache"), "UV_OFFLINE": "1", "UV_LINK_MODE": "copy"}
        return {**os.environ, **more, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": str(ROOT)}

    def installing(self, wheel: Path) -> list[str]:
        """The command that installs this wheel in the place of whatever is there."""
        if self.tool == "pip":
            return [*self._pip, "install", "--no-deps", "--no-index", "--no-compile", "--force-reinstall", str(wheel)]
        return [*self._uv("install"), "--no-deps", "--reinstall", str(wheel)]

    def uninstalling(self) -> list[str]:
        """The command that removes transformers."""
        if self.tool == "pip":
            return [*self._pip, "uninstall", "--yes", "transformers"]
        return [*self._uv("uninstall"), "transformers"]

    @property
    def _pip(self) -> tuple[str, ...]:
        return (sys.executable, "-m", "pip", "--quiet", "--python", str(self.python))

    def _uv(self, command: str) -> tuple[str, ...]:
        return (find_uv_bin(), "pip", command, "--quiet", "--python", str(self.python))

    def call(self, command: list[str]) -> None:
        """An installer's command, which must not fail."""
        done = subprocess.run(command, capture_output=True, text=True, env=self.environ, check=False)
        assert (done.returncode, done.stderr) == (0, ""), (command, done.stdout)

    def patcher(self, *arguments: str) -> list[str]:
        """The command line of mps-patcher on this environment."""
        return [sys.executable, "-m", "patcher", *arguments, "--site-packages", str(self.site_packages)]

    def each(self, command: str) -> list[dict[str, Any]]:
        """The results of a command of ours, in this process."""
        return results_here(command, "--site-packages", str(self.site_packages))

    def ours(self, command: str) -> None:
        """A command of ours, which must not fail."""
        results = self.each(command)
        assert results
        assert [one["error"] for one in results if one["error"]] == []

    def files(self) -> dict[str, bytes]:
        """Every file of transformers, its metadata and whatever else lies beside them, without bytecode."""
        found = (path for path in self.site_packages.rglob("*") if path.is_file() and path.suffix != ".pyc")
        return {str(path.relative_to(self.site_packages)): path.read_bytes() for path in found}

    def names(self) -> list[str]:
        """Whatever is left or came of transformers and its metadata, folders too."""
        found = (path for top in self.site_packages.glob("transformers*") for path in (top, *top.rglob("*")))
        return sorted(f"{path.relative_to(self.site_packages)}{'/' if path.is_dir() else ''}" for path in found)

    def wrong(self, wheel: Path | None) -> list[str]:
        """What is not as it should be once this wheel (None: none) was installed last, patched by us or not.

        Every file is the wheel's, or is what the journal says we made of the wheel's; RECORD tells of both as they are;
        and there is nothing else.
        """
        found = self.files()
        if wheel is None:
            return [f"{name} is there" for name in self.names()]
        meant = content(wheel)
        info = next(name.partition("/")[0] for name in meant if ".dist-info/" in name)
        listed = found.pop(f"{info}/RECORD", b"").decode().splitlines()
        ours = {name: found.pop(name) for name in list(found) if name.startswith(f"{info}/mps-patcher/")}
        after = self._patched(ours, info, meant)
        told = [f"{name} is missing" for name in meant if name not in found]
        told += [f"{name} is there" for name in self.names() if name.partition("/")[0] not in ("transformers", info)]
        for name, data in found.items():
            if name not in meant:
                told += [] if name.partition("/")[2] in MADE else [f"{name} is there"]
            elif hashlib.sha256(data).hexdigest() != after.get(name, hashlib.sha256(meant[name]).hexdigest()):
                told.append(f"{name} is neither the wheel's nor what the journal says of it")
        for name, data in {**found, **ours}.items():
            told += [] if row(name, data) in listed else [f"RECORD does not tell of {name} as it is"]
        told += [f"RECORD lists {one}" for one in listed if not (self.site_packages / one.split(",")[0]).exists()]
        return told

    def _patched(self, ours: dict[str, bytes], info: str, meant: dict[str, bytes]) -> dict[str, str]:
        """By path, the digest that the journal tells of, where it tells of files of this very wheel."""
        if not ours:
            return {}
        folder = f"{info}/mps-patcher"
        told = json.loads(ours[f"{folder}/state.json"])["files"]
        journal = {path: entry for path, entry in told.items() if path != f"{info}/RECORD"}
        for path, entry in journal.items():
            assert entry["original"] == hashlib.sha256(meant[path]).hexdigest()
            assert ours[f"{folder}/{path.replace('/', '.')}.orig"] == meant[path]
        return {path: entry["patched"] for path, entry in journal.items()}


@pytest.fixture(scope="session")
def small(wheels: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`small("4.45.1")` is a wheel with a few files of that transformers, and a RECORD that is right."""
    folder = tmp_path_factory.mktemp("wheels")
    return cache(lambda version: shrink(wheels(version), folder, {}))


@pytest.fixture
def calling(wheels: Callable[[str], Path], tmp_path: Path) -> Path:
    """A small wheel of 4.50.3 with three direct calls in two short files."""
    call = "\n\ndef {}(elements, test_elements):\n    return torch.isin(elements, test_elements)\n"
    one, two = (f"import torch\n{''.join(map(call.format, names))}" for names in (["first"], ["second", "third"]))
    texts = {"transformers/generation/stopping_criteria.py": one, "transformers/generation/utils.py": two}
    return shrink(wheels("4.50.3"), tmp_path, texts)


@pytest.fixture(scope="session")
def listed() -> Callable[[str, bytes], str]:
    """`listed(name, data)` is the row of that file in RECORD."""
    return row


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether this is the whole run, as `make test-races` makes it, and not a short one with RACES_SECONDS."""
    return SECONDS >= 60


@pytest.fixture(scope="session")
def seconds() -> float:
    """How long each of the races lasts."""
    return SECONDS


@pytest.fixture(scope="session")
def seed() -> int:
    """What the random choices begin with: RACES_SEED, or another one each time, which is printed where a test fails."""
    print(f"RACES_SEED={SEED}")
    return SEED


@pytest.fixture(scope="session")
def noted(request: pytest.FixtureRequest, full: bool) -> Iterator[dict[str, list[str]]]:
    """What each race has to tell, by its name; a whole run without a failure is written into docs/reliability.md."""
    lines: dict[str, list[str]] = {}
    yield lines
    if full and set(lines) == {"races", "uv", "pip"} and not request.session.testsfailed:
        installers = "pip and uv while three commands run at a time, on a transformers of a few files:"
        write("races", [*lines["races"], "", installers, "", *lines["uv"], *lines["pip"], *CLEAN])


@pytest.fixture
def venv(tmp_path: Path) -> Callable[[str], Venv]:
    """`venv("uv")` is a new environment of that installer without transformers."""

    def make(tool: str) -> Venv:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / tool)], check=True)
        return Venv(root=tmp_path / tool, tool=tool)

    return make

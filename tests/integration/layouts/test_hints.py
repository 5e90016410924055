"""Every hint that is a command, run to the letter by a shell where it was printed: it ends what it was printed for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import pytest

from patcher.storage.record import record_row

pytestmark = pytest.mark.installers
INFO = "transformers-4.45.1.dist-info"
OTHER = "transformers-4.44.2.dist-info"
SOURCE = "transformers/pytorch_utils.py"
ISIN = "isin_mps_friendly"
KEPT = ("__init__.py", "pytorch_utils.py", "activations.py")
"""The files of transformers that these wheels have: enough to read and to patch."""
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, wheels: Callable[[str], Path]) -> Path:
    """A folder with small wheels of transformers, and of a package that carries its own `transformers`."""
    folder = tmp_path_factory.mktemp("index")
    for release in ("4.44.2", "4.45.1"):
        shrink(wheels(release), folder / wheels(release).name)
    fork(folder / "transformers-4.45.1-py3-none-any.whl", folder / "adapter_transformers-3.2.1-py3-none-any.whl")
    return folder


def shrink(wheel: Path, to: Path) -> None:
    with ZipFile(wheel) as full, ZipFile(to, "w", ZIP_DEFLATED) as small:
        names = [name for name in full.namelist() if ".dist-info/" in name or PurePosixPath(name).name in KEPT]
        names = [name for name in names if ".dist-info/" in name or name.count("/") == 1]
        record = next(name for name in names if name.endswith("/RECORD"))
        for name in names:
            data = full.read(name)
            if name == record:
                rows = [row for row in data.decode().splitlines() if row.split(",")[0] in names]
                data = "".join(f"{row}\n" for row in rows).encode()
            small.writestr(name, data)


def fork(wheel: Path, to: Path) -> None:
    """As adapter-transformers is: other files of an earlier version under the same names."""
    with ZipFile(wheel) as theirs, ZipFile(to, "w") as made:
        info = "adapter_transformers-3.2.1.dist-info"
        init = theirs.read("transformers/__init__.py").replace(b'"4.45.1"', b'"4.26.1"')
        files = {
            "transformers/__init__.py": init,
            f"{info}/METADATA": b"Metadata-Version: 2.1\nName: adapter-transformers\nVersion: 3.2.1\n",
            f"{info}/WHEEL": theirs.read(f"{INFO}/WHEEL"),
        }
        rows = [*(record_row(name, data) for name, data in files.items()), f"{info}/RECORD,,"]
        files[f"{info}/RECORD"] = "".join(f"{row}\n" for row in rows).encode()
        for name, data in files.items():
            made.writestr(name, data)


@dataclass(frozen=True)
class Place:
    """An install of 4.45.1 that one installer made: how to call it, and how to name it to the tool."""

    name: str
    site: Path
    options: tuple[object, ...]
    command: tuple[object, ...]
    """The installer's `install`, with what names the place."""
    environ: dict[str, str]

    def install(self, *words: object) -> None:
        self.run([*map(str, self.command), "--no-deps", *map(str, words)])

    def run(self, command: str | list[str]) -> None:
        """A list of words, or a line of a shell."""
        environ = {**os.environ, **self.environ}
        done = subprocess.run(
            command, shell=isinstance(command, str), capture_output=True, text=True, env=environ, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module", params=["pip", "pip, no pip there", "uv", "pip --target", "uv --target", "shared"])
def made(request: pytest.FixtureRequest, index: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    kind, folder = request.param, tmp_path_factory.mktemp("it's")
    environ = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "PIP_NO_COMPILE": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(index),
        "UV_CACHE_DIR": str(folder / "cache"),
    }
    python, lib = folder / "env" / "bin" / "python", folder / "lib"
    pip, uv = (sys.executable, "-m", "pip"), (BIN / "uv", "pip", "install")
    if kind == "shared":
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        target = ("--target", lib)
        return Place(kind, lib, ("--python", python), (*pip, "install", *target), {**environ, "PYTHONPATH": str(lib)})
    if kind.endswith("--target"):
        start = (*pip, "install") if kind.startswith("pip") else uv
        return Place(kind, lib, ("--site-packages", lib), (*start, "--target", lib), environ)
    subprocess.run([sys.executable, "-m", "venv", *([] if kind == "pip" else ["--without-pip"]), python.parents[1]])
    (site,) = python.parents[1].glob("lib/python3*/site-packages")
    named = ("--python", python)
    installer = (*uv, *named) if kind == "uv" else (*pip, *named, "install")
    return Place(kind, site, named, installer, environ)


@pytest.fixture
def place(made: Place) -> Place:
    """The same, with a fresh install of 4.45.1 and nothing else of transformers."""
    made.site.mkdir(exist_ok=True)
    for path in [*made.site.glob("*ransformers*"), *made.site.glob("bin")]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    cache = Path(made.environ["UV_CACHE_DIR"])
    shutil.rmtree(cache, ignore_errors=True)
    made.install("transformers==4.45.1")
    return made


def fix(site: Path, name: str = SOURCE) -> None:
    """A user's own fix, made in the installed file itself, which may be a hard link into a cache."""
    text = (site / name).read_text()
    assert "test_elements: torch.Tensor | int) -> torch.Tensor:" in text or "def isin_mps_friendly(" in text
    with (site / name).open("a") as file:
        file.write("\n\ndef isin_mps_friendly(elements, test_elements):\n    return elements == test_elements\n")


def damage_state(site: Path) -> None:
    (site / INFO / "mps-patcher" / "state.json").write_text("{")


def unlist_state(site: Path) -> None:
    """As a run leaves it that was cut off before RECORD: no installer knows of what is there."""
    damage_state(site)
    record = site / INFO / "RECORD"
    rows = record.read_text().splitlines(keepends=True)
    record.write_text("".join(row for row in rows if "/mps-patcher/" not in row))


def damage_backup(site: Path) -> None:
    (site / INFO / "mps-patcher" / "transformers.pytorch_utils.py.orig").write_text("")
    with (site / SOURCE).open("a") as file:
        file.write("# edited\n")


SITUATIONS: dict[str, tuple[tuple[str, ...], Callable[[Path], object], tuple[str, ...], str]] = {
    "no package": ((), lambda site: shutil.rmtree(site / "transformers"), ("status",), "no-files"),
    "no METADATA": ((), lambda site: (site / INFO / "METADATA").unlink(), ("status",), "no-metadata"),
    "METADATA empty": ((), lambda site: (site / INFO / "METADATA").write_text(""), ("status",), "broken-metadata"),
    "a fix of the user's": ((), fix, ("apply",), "edited-file"),
    "not parsable": ((), lambda site: (site / SOURCE).write_text("def ("), ("apply", "--force"), "unparsable-source"),
    "not UTF-8": ((), lambda site: (site / SOURCE).write_bytes(b"\xff"), ("apply", "--force"), "unsupported-encoding"),
    "a file is gone": ((), lambda site: (site / SOURCE).unlink(), ("apply",), "file-missing"),
    "no backup": (("apply", "--no-backup"), lambda _: None, ("revert",), "no-backup"),
    "a damaged backup": (("apply",), damage_backup, ("revert", "--force"), "backup-damaged"),
    "a damaged state": (("apply",), damage_state, ("apply",), "state-damaged"),
    "one not in RECORD": (("apply",), unlist_state, ("apply",), "state-damaged"),
}


def command_in(hint: str) -> str:
    """What comes last in the hint, behind its sentence."""
    return hint.rpartition(": ")[2]


WHEREVER = ("no package", "METADATA empty", "a fix of the user's", "no backup", "a damaged state")
"""The situations that are tried with every installer; all of them with pip and uv."""


@pytest.mark.parametrize("name", SITUATIONS)
def test_the_reinstall_that_a_hint_names_ends_it(tool: Any, place: Place, name: str) -> None:
    if name not in WHEREVER and place.name not in ("pip", "uv"):
        pytest.skip("tried with pip and uv")
    first, change, command, code = SITUATIONS[name]
    if first:
        assert tool(*first, *place.options, **place.environ).code == 0
    change(place.site)
    told = tool.json(*command, *place.options, **place.environ)
    assert told.error["code"] == code
    assert "Reinstall transformers 4.45.1: " in told.error["hint"]
    place.run(command_in(told.error["hint"]))
    ends(tool, place)


def ends(tool: Any, place: Place, release: str = "4.45.1") -> None:
    """The release alone is there, as its wheel has it, and can be patched."""
    assert [path.name for path in place.site.glob("transformers-*.dist-info")] == [f"transformers-{release}.dist-info"]
    told = tool.json("apply", ISIN, "--dry-run", *place.options, **place.environ)
    assert (told.code, told.states[ISIN]) == (0, "unpatched" if release == "4.45.1" else "absent")


def test_another_projects_files_over_it(tool: Any, place: Place) -> None:
    place.install(*(["--upgrade"] if place.name == "shared" else []), "adapter-transformers==3.2.1")
    if (place.site / "transformers" / "pytorch_utils.py").exists() and "4.26.1" not in init_of(place):
        shutil.rmtree(place.site / "transformers")  # pip --target leaves what is there alone
        place.install("--upgrade", "adapter-transformers==3.2.1")
    told = tool.json("status", *place.options, **place.environ)
    assert told.error["code"] == "version-mismatch"
    assert "are those of 4.26.1, from adapter-transformers 3.2.1" in told.error["message"]
    place.run(command_in(told.error["hint"]))
    assert not list(place.site.glob("adapter*"))
    ends(tool, place)


def init_of(place: Place) -> str:
    return (place.site / "transformers" / "__init__.py").read_text()


def test_a_folder_of_another_release_copied_over_it(tool: Any, place: Place, index: Path, tmp_path: Path) -> None:
    with ZipFile(index / "transformers-4.44.2-py3-none-any.whl") as archive:
        archive.extractall(tmp_path / "other")
    shutil.copytree(tmp_path / "other" / "transformers", place.site / "transformers", dirs_exist_ok=True)
    told = tool.json("apply", *place.options, **place.environ)
    assert told.error["code"] == "version-mismatch"
    assert "report" not in told.error["hint"]
    place.run(command_in(told.error["hint"]))
    ends(tool, place)


@pytest.mark.parametrize("release", ["4.45.1", "4.44.2"])
def test_the_metadata_of_two_releases(tool: Any, place: Place, index: Path, tmp_path: Path, release: str) -> None:
    with ZipFile(index / "transformers-4.44.2-py3-none-any.whl") as archive:
        archive.extractall(tmp_path / "other")
    shutil.copytree(tmp_path / "other" / OTHER, place.site / OTHER)
    if release == "4.44.2":
        shutil.copytree(tmp_path / "other" / "transformers", place.site / "transformers", dirs_exist_ok=True)
    told = tool.json("status", *place.options, **place.environ)
    assert told.error["code"] == "several-distributions"
    assert f"the files are those of {release} " in told.error["message"]
    place.run(command_in(told.error["hint"]))
    ends(tool, place, release)


def test_the_metadata_of_two_releases_and_the_files_of_neither(tool: Any, place: Place) -> None:
    shutil.copytree(place.site / INFO, place.site / OTHER)
    (place.site / "transformers" / "__init__.py").write_text('__version__ = "4.30.0"\n')
    told = tool.json("status", *place.options, **place.environ)
    assert "it is unknown which" in told.error["message"]
    place.run(command_in(told.error["hint"]))
    place.install("transformers==4.45.1")
    ends(tool, place)

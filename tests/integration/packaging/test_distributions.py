"""The sdist and the wheel: what they hold, what they say of themselves, and that they work."""

from __future__ import annotations

import email.message
import email.parser
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

from patcher import __version__

ROOT = Path(__file__).parents[3]
MAN_PAGE = f"mps_patcher-{__version__}.data/data/share/man/man1/mps-patcher.1"


@pytest.fixture
def metadata(wheel: Path) -> email.message.Message:
    """The METADATA of the wheel."""
    with ZipFile(wheel) as archive:
        data = archive.read(f"mps_patcher-{__version__}.dist-info/METADATA")
    return email.parser.BytesParser().parsebytes(data)


def test_the_sdist_builds_the_same_wheel_byte_for_byte(wheel: Path, wheel_of_sdist: Path) -> None:
    assert wheel.name == wheel_of_sdist.name == f"mps_patcher-{__version__}-py3-none-any.whl"
    assert wheel.read_bytes() == wheel_of_sdist.read_bytes()


def test_the_wheel_holds_every_file_and_nothing_else(wheel: Path) -> None:
    """One import package with the catalogue inside, and the manual page."""
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        f"{prefix}{path.relative_to(ROOT)}"
        for prefix, folder in (("", "patcher"), ("patcher/", "patches"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"patcher/py.typed", "patcher/output.schema.json"} < ours
    ours.remove("patcher/hook/pyproject.toml")  # of a distribution of its own
    assert held == {*ours, MAN_PAGE}


def test_the_metadata_is_what_current_tools_read(metadata: email.message.Message) -> None:
    assert metadata["Metadata-Version"] == "2.4"
    assert metadata["Version"] == __version__
    assert (metadata["License-Expression"], metadata.get_all("License-File")) == ("Apache-2.0", ["LICENSE"])
    assert not [line for line in metadata.get_all("Classifier", []) if line.startswith("License ::")]


def test_every_python_that_the_metadata_names_is_tested_by_the_workflow(metadata: email.message.Message) -> None:
    lines = "\n".join(metadata.get_all("Classifier", []))
    named = re.findall(r"^Programming Language :: Python :: (3\.\d+)$", lines, re.MULTILINE)
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    assert named == workflow["jobs"]["linux"]["strategy"]["matrix"]["python"]
    assert metadata["Requires-Python"] == f">={named[0]}"


def test_the_wheel_works_installed(wheel: Path, unpacked: Callable[..., Path], tmp_path: Path) -> None:
    """The packed tool, in an environment of its own and from another folder, does its whole round."""
    venv, site_packages = tmp_path / "venv", unpacked()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)
    original = (site_packages / "transformers" / "pytorch_utils.py").read_bytes()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> int:
        command = [str(venv / "bin" / "mps-patcher"), *arguments, "--site-packages", str(site_packages)]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode

    assert run("status", "--check") == 4
    assert run("apply") == 0
    assert run("status", "--check") == 0
    assert run("verify", "--static") == 0
    assert run("revert") == 0
    assert (site_packages / "transformers" / "pytorch_utils.py").read_bytes() == original


def test_a_package_of_the_users_called_patches_does_no_harm(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", str(wheel), "packaging"], check=True)
    (tmp_path / "patches").mkdir()
    (tmp_path / "patches" / "__init__.py").write_text("raise ImportError('the package of the user')\n")
    script = (
        "import pathlib, patcher.catalogue as c\n"
        "print(len(c.load_catalogue()))\n"
        "print(pathlib.Path(c.__file__).is_relative_to(pathlib.Path('venv').resolve()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": "."}
    command = [python, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == ["2", "True"]


@pytest.fixture(scope="session")
def twine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twine that the publishing action of PyPI runs, which reads fewer metadata versions than the newest."""
    folder = tmp_path_factory.mktemp("twine")
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
    subprocess.run([*pip, "twine==6.1.0"], check=True)
    return folder / "bin" / "twine"


@pytest.mark.recipes
def test_twine_accepts_both(twine: Path, dist: Path) -> None:
    files = [str(path) for path in dist.iterdir() if path.name != ".gitignore"]
    done = subprocess.run([twine, "check", "--strict", *files], capture_output=True, text=True, check=False)
    assert (done.returncode, len(files)) == (0, 2), done.stdout + done.stderr


@pytest.mark.recipes
@pytest.mark.parametrize("installer", ["pip", "uv"])
@pytest.mark.parametrize("version", [(3, 11), (3, 13), (3, 14)], ids=lambda version: f"3.{version[1]}")
def test_it_installs(
    installer: str, version: tuple[int, int], wheel: Path, pythons: dict[tuple[int, int], Path], tmp_path: Path
) -> None:
    if version not in pythons:
        pytest.skip("this Python is not installed here")
    uv = [sys.executable, "-m", "uv"]
    commands: dict[str, list[list[str]]] = {
        "pip": [[str(pythons[version]), "-m", "venv", "venv"], ["venv/bin/python", "-m", "pip", "-q", "install"]],
        "uv": [[*uv, "venv", "-q", "-p", str(pythons[version]), "venv"], [*uv, "pip", "install", "-q", "-p", "venv"]],
    }
    make, install = commands[installer]
    subprocess.run(make, check=True, cwd=tmp_path)
    subprocess.run([*install, str(wheel)], check=True, cwd=tmp_path)
    told = subprocess.run([tmp_path / "venv/bin/mps-patcher", "-V"], capture_output=True, text=True, check=True)
    assert told.stdout == f"mps-patcher {__version__}\n"
    package = tmp_path / f"venv/lib/python3.{version[1]}/site-packages/patcher"
    for path in ("output.schema.json", "py.typed", "patches/isin_mps_friendly/patch.toml"):
        assert (package / path).is_file()
    assert (tmp_path / "venv/share/man/man1/mps-patcher.1").is_file()

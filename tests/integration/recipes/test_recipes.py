"""docs/environments.md, word by word: each block is run as it stands there, by the real tool, in a new project.

And the README: installed as it says, the tool does what it says.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from documented import code_blocks

pytestmark = pytest.mark.recipes

ROOT = Path(__file__).parents[3]
TOOLS = ("pipx>=1.5", "poetry>=2", "pre-commit>=4", "uv>=0.5")
PROJECT = """\
[project]
name = "app"
version = "1"
requires-python = ">=3.10,<4"
dependencies = ["transformers==4.45.1"]

[tool.poetry]
package-mode = false

[[tool.poetry.source]]
name = "simple"
url = "https://pypi.org/simple/"
"""
"""Of the registry poetry is told to use what pip does: mirrors need not have PyPI's other interface."""
OWN = ("PYTHON", "VIRTUAL_ENV", "CONDA", "POETRY", "PRE_COMMIT", "GIT_", "MAKE", "MFLAGS")


def blocks(heading: str, language: str = "sh") -> list[str]:
    """The code under a heading of the page."""
    return code_blocks("environments.md", heading, language)


@dataclass(frozen=True, kw_only=True)
class Project:
    """A folder, and what a user's shell has."""

    folder: Path
    environ: dict[str, str]

    def run(self, script: str) -> tuple[int, str]:
        """The exit code of a script of the shell's, and all it said."""
        command = ["/bin/bash", "-euo", "pipefail", "-c", script]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def succeed(self, script: str) -> str:
        """What a script said that must end well."""
        code, said = self.run(script)
        assert code == 0, said
        return said

    def source(self, python: str) -> bytes:
        """The file that the environment's interpreter would import, read."""
        script = "import importlib.util as u; print(u.find_spec('transformers').submodule_search_locations[0])"
        return Path(self.succeed(f'{python} -c "{script}"').strip(), "pytorch_utils.py").read_bytes()


@pytest.fixture(scope="session")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Project]:
    """`shell(folder)` is a project there, whose PATH has mps-patcher, in an environment of its own, and the tools."""
    folder = tmp_path_factory.mktemp("tools")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
    kept["PIP_COMPILE"] = "0"  # which takes half of the time
    for name, wanted in (("patcher", [str(ROOT)]), ("tools", TOOLS)):
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        pip = [str(folder / name / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q", "install"]
        subprocess.run([*pip, *wanted], env=kept, check=True)
    (folder / "bin").mkdir()
    for name in (
        "patcher/bin/mps-patcher",
        "tools/bin/uv",
        "tools/bin/pipx",
        "tools/bin/poetry",
        "tools/bin/pre-commit",
    ):
        (folder / "bin" / Path(name).name).symlink_to(folder / name)
    environ = {
        **kept,
        "PATH": f"{folder / 'bin'}:{Path(sys.base_prefix, 'bin')}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
        "POETRY_CACHE_DIR": str(folder / "poetry"),
        "POETRY_VIRTUALENVS_PATH": str(folder / "environments"),
        "UV_PYTHON_DOWNLOADS": "never",
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "tester",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "tester@example.org",
    }
    (folder / "home").mkdir()
    return lambda place: Project(folder=place, environ=dict(environ))


@pytest.fixture
def project(shell: Callable[[Path], Project], tmp_path: Path) -> Iterator[Project]:
    """One that wants a transformers, and has nothing yet."""
    (tmp_path / "requirements.txt").write_text("transformers==4.45.1\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    yield shell(tmp_path)
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize(
    ("heading", "python", "drops"),
    [
        ("pip", ".venv/bin/python", ".venv/bin/pip install -q --force-reinstall --no-deps -r requirements.txt"),
        ("uv", ".venv/bin/python", "uv sync --reinstall-package transformers"),
        pytest.param(
            "poetry",
            "$(poetry env info --executable)",
            "poetry run python -m ensurepip && poetry run python -m pip uninstall -y transformers && poetry install",
            marks=pytest.mark.installers,
        ),
    ],
)
def test_the_words_of_an_installer_patch_and_patch_again(
    project: Project, heading: str, python: str, drops: str
) -> None:
    apply, check = blocks(heading)
    if heading == "pip":
        project.environ["PIP_NO_DEPS"] = "1"  # the rest is downloaded by the others
    assert "isin_mps_friendly  patched" in project.succeed(apply)
    assert b"mps-patcher" in project.source(python)
    project.succeed(check)
    again = project.succeed(apply)
    assert "already patched" in again
    project.succeed(drops)
    assert b"mps-patcher" not in project.source(python)
    assert project.run(check)[0] == 4
    project.succeed(apply)
    project.succeed(check)


def test_the_words_of_conda_but_for_its_own(project: Project) -> None:
    """An environment with an interpreter and a library of its own, no pyvenv.cfg, and a conda-meta."""
    prefix = project.folder / "conda"
    library, heavy = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}", ("test", "site-packages", "__pycache__")
    shutil.copytree(Path(sys.base_prefix, library), prefix / library, ignore=shutil.ignore_patterns(*heavy, "*.a"))
    (prefix / "conda-meta").mkdir()
    (prefix / "conda-meta" / "history").touch()
    (prefix / "bin").mkdir()
    shutil.copy(Path(sys.executable).resolve(), prefix / "bin" / "python")
    install = '"$CONDA_PREFIX/bin/python" -m pip install -q --no-deps --force-reinstall transformers==4.45.1'
    project.environ["CONDA_PREFIX"] = str(prefix)
    project.succeed(f'"$CONDA_PREFIX/bin/python" -m ensurepip && {install}')
    (block,) = blocks("conda")
    update, apply = block.splitlines()
    assert update.startswith("conda env update")
    python = '"$CONDA_PREFIX/bin/python"'
    for _ in range(2):
        assert "isin_mps_friendly  patched" in project.succeed(apply)
        assert b"mps-patcher" in project.source(python)
        project.succeed("mps-patcher status --check")  # CONDA_PREFIX is enough
        project.succeed(install)
        assert project.run("mps-patcher status --check")[0] == 4


def test_the_words_of_the_makefile(project: Project) -> None:
    project.environ["PIP_NO_DEPS"] = "1"
    (makefile,) = blocks("make", "make")
    (project.folder / "Makefile").write_text(makefile)
    project.succeed("make env && make check")
    assert b"mps-patcher" in project.source(".venv/bin/python")
    project.succeed(".venv/bin/pip install -q --force-reinstall --no-deps -r requirements.txt")
    code, said = project.run("make check")
    assert (code != 0, "Error 4" in said) == (True, True)
    project.succeed("make env && make check")


@pytest.mark.parametrize("installer", ["pipx install .", "uv tool install ."])
def test_the_readme_installs_and_patches(project: Project, tmp_path: Path, installer: str) -> None:
    install, use = re.findall(r"(?ms)^```sh\n(.*?)^```$", (ROOT / "README.md").read_text("utf-8"))
    assert installer in install
    checkout, programs = copy_checkout(tmp_path), tmp_path / "programs"
    project.environ.update(PIPX_HOME=str(tmp_path / "pipx"), PIPX_BIN_DIR=str(programs))
    project.environ.update(UV_TOOL_DIR=str(tmp_path / "uv"), UV_TOOL_BIN_DIR=str(programs))
    project.succeed(f"cd {checkout} && {installer}")
    project.environ["PATH"] = f"{programs}:{project.environ['PATH']}"
    assert project.succeed("command -v mps-patcher").strip() == str(programs / "mps-patcher")
    project.succeed("python3 -m venv .venv && .venv/bin/pip install -q --no-deps -r requirements.txt")
    original = project.source(".venv/bin/python")
    status, apply, verify, revert = use.splitlines()
    project.succeed(f"{status}\n{apply}")
    assert b"mps-patcher" in project.source(".venv/bin/python")
    assert project.run(verify)[0] == 3  # there is no torch
    project.succeed(revert)
    assert project.source(".venv/bin/python") == original


def copy_checkout(folder: Path) -> Path:
    """A checkout of what git has here, without its history."""
    checkout = folder / "mps-patcher"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.split(b"\0")
    for name in (os.fsdecode(name) for name in files if name and (ROOT / os.fsdecode(name)).exists()):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, checkout / name)
    return checkout


def test_the_words_of_pre_commit(project: Project, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path)
    (config,) = blocks("pre-commit", "yaml")
    new = "git init -q && git add -A && git commit -q -m new"
    commit = project.succeed(f"cd mps-patcher && {new} && git rev-parse HEAD").strip()
    named = config.replace("MPS_PATCHER_REPOSITORY", str(checkout)).replace("MPS_PATCHER_COMMIT", commit)
    (tmp_path / ".pre-commit-config.yaml").write_text(named)
    (tmp_path / ".gitignore").write_text(".venv\nmps-patcher\n")
    project.succeed("python3 -m venv .venv && .venv/bin/pip install -q --no-deps -r requirements.txt")
    project.succeed("git init -q && git add -A && pre-commit install")
    code, said = project.run("git commit -q -m first")
    assert code
    assert "transformers is patched" in said
    assert "exit code: 4" in said
    assert re.search(r"To fix it:  mps-patcher apply --python \S*\.venv/bin/python$", said, re.MULTILINE)
    project.succeed("mps-patcher apply --python .venv/bin/python")
    assert "Passed" in project.succeed("git commit -q -m first")

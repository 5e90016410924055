"""The CI recipes of docs/automation.md: their steps are run as they stand there, as a runner would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch_env
import yaml
from documented import code_blocks

pytestmark = pytest.mark.installers

ROOT = Path(__file__).parents[3]
REINSTALL = ".venv/bin/pip install --quiet --force-reinstall --no-deps -r requirements.txt"
OWN = ("PYTHON", "VIRTUAL_ENV", "CONDA", "GITHUB_", "CI_")


def recipe(heading: str) -> dict[str, Any]:
    """The only YAML under a heading."""
    (block,) = code_blocks("automation.md", heading, "yaml")
    found: dict[str, Any] = yaml.safe_load(block)
    return found


class Job:
    """A folder with a project that wants transformers, and a package index that has mps-patcher."""

    def __init__(self, folder: Path, wheels: Path) -> None:
        self.folder, self.path = folder, folder / "github-path"
        self.path.touch()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        links = f"{os.environ.get('PIP_FIND_LINKS', '')} {wheels}"
        own = {"RUNNER_TEMP": str(folder / "temp"), "GITHUB_PATH": str(self.path), "PIP_FIND_LINKS": links}
        own["PIP_COMPILE"] = "0"  # which takes half of the time
        self.environ = kept | own
        (folder / "temp").mkdir()
        (folder / "requirements.txt").write_text("transformers==4.45.1\n")

    def run(self, script: str, *options: str) -> int:
        """The exit code of one step, whose PATH is what the steps before it made of it."""
        path = [*reversed(self.path.read_text().split()), str(Path(sys.executable).parent), self.environ["PATH"]]
        command = ["bash", "--noprofile", "--norc", "-e", *options, "-c", script]
        return subprocess.run(
            command, cwd=self.folder, env=self.environ | {"PATH": ":".join(path)}, stdin=subprocess.DEVNULL, check=False
        ).returncode


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool as this checkout makes it."""
    folder = tmp_path_factory.mktemp("wheels")
    torch_env.call([*torch_env.pip(sys.executable), "wheel", "--no-deps", "-w", str(folder), str(ROOT)])
    return folder


@pytest.fixture
def job(tmp_path: Path, wheels: Path) -> Job:
    """One that has not begun."""
    return Job(tmp_path, wheels)


def test_the_steps_of_github_actions(job: Job) -> None:
    steps = [step["run"] for step in recipe("GitHub Actions")["jobs"]["environment"]["steps"] if "run" in step]
    assert [job.run(step) for step in steps] == [0] * 4
    assert job.run(REINSTALL) == 0
    assert job.run(steps[-1]) == 4, "no patch is missing"
    assert [job.run(step) for step in steps[-2:]] == [0, 0]


def test_the_scripts_of_gitlab_ci(job: Job) -> None:
    found = recipe("GitLab CI")
    scripts = {name: "\n".join(found[name]["script"]) for name in ("environment", "check")}
    assert found["stages"] == [found[name]["stage"] for name in scripts]
    assert [job.run(script, "-o", "pipefail") for script in scripts.values()] == [0, 0]
    for folder in found["environment"]["artifacts"]["paths"]:
        assert (job.folder / folder).is_dir()
    assert job.run(REINSTALL) == 0
    assert job.run(scripts["check"], "-o", "pipefail") == 4

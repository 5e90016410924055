"""action.yml, step by step as GitHub's runner runs it, but for setup-python: this Python takes its place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

pytestmark = pytest.mark.recipes

ROOT = Path(__file__).parents[3]
ACTION: dict[str, Any] = yaml.safe_load((ROOT / "action.yml").read_text("utf-8"))
_, INSTALL, RUN = ACTION["runs"]["steps"]
FAILS = (
    "::error title=mps-patcher::transformers 4.45.1 in {folder} fails on Apple GPUs: "
    "IndexError: tuple index out of range%0ATo fix it, run: mps-patcher apply"
)


class Step(NamedTuple):
    """How a step ended."""

    code: int
    annotations: list[str]
    summary: str


class Runner:
    """Runs steps of the action in a job of its own."""

    def __init__(self, temp: Path) -> None:
        self.temp = temp
        self.outputs = {"steps.python.outputs.python-path": sys.executable}

    def __call__(self, step: dict[str, Any], folder: Path, **inputs: str) -> Step:
        """One step, with its `env` filled in; the rest of the inputs are as action.yml has them."""
        assert (step["shell"], "${{" in step["run"]) == ("bash", False), "an expression in a script is an injection"
        known = {f"inputs.{name}": str(declared["default"]) for name, declared in ACTION["inputs"].items()}
        given = {f"inputs.{name.replace('_', '-')}": value for name, value in inputs.items()}
        assert set(given) <= set(known)
        values = {**self.outputs, **known, **given}
        script, summary = folder / "step.sh", folder / "summary.md"
        script.write_text(step["run"])
        summary.touch()
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
        environ |= {"RUNNER_TEMP": str(self.temp), "GITHUB_ACTION_PATH": str(ROOT), "GITHUB_STEP_SUMMARY": str(summary)}
        environ |= {name: re.sub(r"\$\{\{ (.*?) \}\}", lambda m: values[m[1]], v) for name, v in step["env"].items()}
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(script)]
        done = subprocess.run(command, cwd=folder, env=environ, stdout=subprocess.PIPE, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("::")]
        return Step(done.returncode, lines, summary.read_text("utf-8"))


@pytest.fixture(scope="module")
def runner(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """A job in which the action has installed the tool."""
    made = Runner(tmp_path_factory.mktemp("runner"))
    assert made(INSTALL, made.temp).code == 0
    return made


def test_a_check_fails_until_the_patch_is_applied(
    runner: Runner, unpacked: Callable[..., Path], tmp_path: Path
) -> None:
    packages = str(unpacked())
    code, annotations, summary = runner(RUN, tmp_path, site_packages=packages)
    assert (code, annotations) == (4, [FAILS.format(folder=packages)])
    assert "| 4.45.1 | isin_mps_friendly | unpatched | IndexError: tuple index out of range |" in summary
    code, annotations, _ = runner(RUN, tmp_path, command="apply", site_packages=packages)
    assert code == 0
    assert annotations == [
        f"::notice title=mps-patcher::isin_mps_friendly is patched in transformers 4.45.1 in {packages}."
    ]
    code, annotations, summary = runner(RUN, tmp_path, site_packages=packages)
    assert (code, annotations) == (0, [])
    assert "| 4.45.1 | isin_mps_friendly | patched |" in summary


def test_a_function_that_is_not_known_is_not_said_to_be_patched_by_apply(
    runner: Runner, unpacked: Callable[..., Path], tmp_path: Path
) -> None:
    packages = unpacked()
    file = packages / "transformers" / "pytorch_utils.py"
    file.write_text(file.read_text("utf-8").replace("test_elements.shape[0]", "len(test_elements)"), "utf-8")
    code, annotations, summary = runner(RUN, tmp_path, site_packages=str(packages))
    assert code == 4
    (line,) = annotations
    assert "IndexError" in line
    assert "mps-patcher apply" not in line
    assert "| modified |" in summary


def test_edge_cases_are_a_warning(runner: Runner, unpacked: Callable[..., Path], tmp_path: Path) -> None:
    packages = str(unpacked("4.57.6"))
    code, annotations, _ = runner(RUN, tmp_path, site_packages=packages, macos="26")
    assert code == 0
    assert [line.split(" title=")[0] for line in annotations] == ["::warning"]


def test_an_environment_by_its_interpreter(runner: Runner, torch_env: Path, tmp_path: Path) -> None:
    code, annotations, summary = runner(RUN, tmp_path, python=str(torch_env))
    assert (code, [line.split(" title=")[0] for line in annotations]) == (0, ["::warning"])
    assert "isin_mps_friendly" in summary


def test_what_cannot_be_told_is_an_error_in_one_line(runner: Runner, tmp_path: Path) -> None:
    empty = tmp_path / "50%\nnew"
    empty.mkdir()
    code, annotations, _ = runner(RUN, tmp_path, site_packages=str(empty))
    assert code == 3
    (line,) = annotations
    assert line.startswith("::error title=mps-patcher::")
    assert "50%25" in line


@pytest.mark.parametrize("inputs", [{"command": "aply"}, {"macos": "nonsense"}])
def test_a_wrong_input_is_an_error(runner: Runner, tmp_path: Path, inputs: dict[str, str]) -> None:
    code, annotations, summary = runner(RUN, tmp_path, **inputs)
    assert (code, len(annotations), summary) == (2, 1, "")
    assert annotations[0].startswith("::error title=mps-patcher::")


def test_the_job_keeps_its_own_python() -> None:
    """setup-python, which only GitHub has, gives the path of a Python that the tool can run in, and changes no PATH."""
    setup = ACTION["runs"]["steps"][0]
    assert setup["uses"].startswith("actions/setup-python@")
    assert setup["with"] == {"python-version": "3.13", "update-environment": False}

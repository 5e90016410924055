"""Each report is replayed on its releases: its error before the patch, the right answer after it, and all undone.

The device is emulated, under the rules of the torch and the macOS of the report; no Apple GPU is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from torch_env import throwaway

import patcher
from tests.integration.reports.scenario import Scenario
from tests.integration.reports.scenarios import SCENARIOS

pytestmark = pytest.mark.models

ROOT = Path(patcher.__file__).resolve().parent.parent
REPLAYS = [
    pytest.param(scenario, release, id=f"{scenario.name}-on-{release}")
    for scenario in SCENARIOS
    for release in scenario.transformers
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a piece of code on the device; `expected` is what it gave on the CPU, None where it failed."""

    result: object
    expected: object
    error: str | None


class Environment:
    """An environment with a transformers of its own. Who changes it puts it back."""

    def __init__(self, python: Path, *, real_torch: bool) -> None:
        self.python = python
        self.real_torch = real_torch
        (self.site_packages,) = python.parent.parent.glob("lib/python*/site-packages")

    def run(self, command: list[str]) -> None:
        """Runs a command, which must exit with 0, as a user would."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def patcher(self, *words: str) -> list[str]:
        """The command line of `mps-patcher` with these words, on this environment."""
        return [sys.executable, "-m", "patcher", *words, "--python", str(self.python)]

    def replay(self, scenario: Scenario, patches: tuple[str, ...], folder: Path) -> list[Answer]:
        """The answers to the scenario's code and, where it names that, to what is to be called instead; then `apply`;
        then the answer to the last of them again."""
        codes = [folder / f"code{number}.py" for number in range(2 if scenario.instead else 1)]
        for path, code in zip(codes, (scenario.code, scenario.instead or ""), strict=False):
            path.write_text(dedent(code))
        request: dict[str, Any] = {"torch": scenario.torch, "macos": scenario.macos, "pretend": not self.real_torch}
        request |= {"codes": [*map(str, codes)], "patch": self.patcher("apply", *patches)}
        (folder / "request").write_text(json.dumps(request))
        files = [str(folder / "request"), str(folder / "answer")]
        self.run([str(self.python), str(Path(__file__).with_name("replay.py")), str(ROOT / "patcher/selftest"), *files])
        return [Answer(**found) for found in json.loads((folder / "answer").read_text())]

    def files(self) -> dict[str, bytes]:
        """All of transformers and its metadata, without the bytecode that Python writes by itself."""
        found = (path for folder in self.site_packages.glob("transformers*") for path in folder.rglob("*"))
        return {str(path): path.read_bytes() for path in found if path.is_file() and path.suffix != ".pyc"}


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Environment]:
    """`environment("current", "4.45.1")` is made once, for all reports on that release."""

    @cache
    def make(name: str, release: str) -> Environment:
        folder = tmp_path_factory.mktemp("reports") / f"{name}-{release}"
        return Environment(throwaway(folder, name, release), real_torch=name == "seed")

    return make


def prove(scenario: Scenario, environment: Environment, patches: tuple[str, ...], folder: Path) -> None:
    """The report's error, then `apply`, then the right answer; and `revert` leaves the files as they were."""
    before = environment.files()
    try:
        reported, *others, answer = environment.replay(scenario, patches, folder)
    finally:
        environment.run(environment.patcher("revert"))
    assert reported.error
    assert scenario.error in reported.error
    assert all(other.error for other in others), "the patch would change nothing"
    assert answer.error is None
    assert answer.result == (reported.expected if scenario.result is None else scenario.result)
    assert answer.result is not None
    assert environment.files() == before


@pytest.mark.parametrize(("scenario", "release"), REPLAYS)
def test_the_patch_ends_the_reported_error(
    scenario: Scenario, release: str, environment: Callable[[str, str], Environment], tmp_path: Path
) -> None:
    prove(scenario, environment("current", release), scenario.patches, tmp_path)


@pytest.mark.seed
@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SCENARIOS if one.real_torch])
def test_the_patch_ends_it_with_the_torch_of_the_report(
    scenario: Scenario, environment: Callable[[str, str], Environment], tmp_path: Path
) -> None:
    """Nothing is named: the installed torch is enough to judge which patches are needed."""
    prove(scenario, environment("seed", *scenario.transformers), (), tmp_path)


def test_every_report_is_told_apart() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    assert len({scenario.link for scenario in SCENARIOS}) == len(SCENARIOS)


@pytest.mark.parametrize("scenario", [pytest.param(one, id=one.name) for one in SCENARIOS])
def test_the_page_lists_the_report_with_what_it_is_replayed_on(scenario: Scenario) -> None:
    lines = (ROOT / "docs" / "reports.md").read_text("utf-8").splitlines()
    (row,) = [line.split(" | ") for line in lines if line.startswith("| [") and f"({scenario.link})" in line]
    torch = ".".join(scenario.torch.split(".")[:2])
    assert row[2:] == [", ".join(scenario.transformers), f"{torch}, {scenario.macos} |"]

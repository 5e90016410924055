"""The commands of the documents, run to the letter in a project with an unpatched transformers 4.45.1 and no torch.

Left out are those that need torch or a model, and the pages that have tests of their own: environments.md (recipes),
automation.md (recipes, fleet) and container.md (images).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from documented import Command, commands

from patcher.cli import program

FOLLOWED = ("docs/environments.md", "docs/automation.md", "docs/container.md")
RUNNABLE = {"status", "apply", "revert", "explain", "doctor", "help", "version", "template"} & {*program.commands}
TOOL = Path(sys.executable).parent


def is_runnable(command: Command) -> bool:
    """Whether it needs nothing but the project."""
    name = command.words[0] if command.words else ""
    known = name in RUNNABLE or (name == "verify" and "--static" in command.words)
    return known and command.page not in FOLLOWED and not re.search(r"[A-Z]{3}|/opt/|\.\.\.", command.line)


RUN = {command.line: command for command in commands() if is_runnable(command)}


@pytest.fixture
def project(unpacked: Callable[[], Path], tmp_path: Path) -> Path:
    """`~/projects/app`, whose .venv holds transformers."""
    folder = tmp_path / "projects" / "app"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / ".venv")], check=True)
    (site_packages,) = folder.glob(".venv/lib/python*/site-packages")
    shutil.copytree(unpacked(), site_packages, dirs_exist_ok=True)
    return folder


def shell(line: str, project: Path) -> tuple[int, str]:
    """The exit code of a line, and all that it said. `pbpaste` is what macOS has: here it holds an error."""
    kept = {"PATH": f"{TOOL}:{os.environ['PATH']}", "HOME": str(project.parents[1]), "LANG": "C.UTF-8"}
    paste = "pbpaste() { echo 'IndexError: tuple index out of range'; }; "
    command = ["/bin/bash", "-c", paste + line]
    done = subprocess.run(
        command, cwd=project, env=kept, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.mark.parametrize("line", RUN)
def test_a_command_of_the_documents_works(line: str, project: Path) -> None:
    if RUN[line].words[0] in ("verify", "revert"):
        assert shell("mps-patcher apply", project)[0] == 0
    code, said = shell(line, project)
    assert code == (4 if "--check" in line else 0), said
    assert said


def test_commands_of_each_kind_are_run() -> None:
    assert {command.words[0] for command in RUN.values()} >= RUNNABLE - {"help", "version"} | {"verify"}

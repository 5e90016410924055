"""The main job on real transformers with real torch, from a tool environment apart from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
PATCHED = "transformers/pytorch_utils.py"
INT64_ON_OLD_MACOS = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0"


class Tool:
    """mps-patcher as a process of its own, on one environment."""

    def __init__(self, python: Path) -> None:
        self.python = python
        (self.site_packages,) = python.parent.parent.glob("lib/python*/site-packages")

    def run(self, command: str, code: int) -> dict[str, Any]:
        """The one result of a command, which must exit with `code`."""
        line = [sys.executable, "-m", "patcher", *command.split(), "--json", "--python", str(self.python)]
        done = subprocess.run(
            line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        (result,) = json.loads(done.stdout)["results"]
        assert isinstance(result, dict)
        return result

    def files(self) -> dict[str, bytes]:
        """Every file of transformers and its metadata, without the bytecode that Python writes by itself."""
        found = (
            path for part in ("transformers", "transformers-*") for path in self.site_packages.glob(f"{part}/**/*")
        )
        return {
            str(path.relative_to(self.site_packages)): path.read_bytes()
            for path in found
            if path.is_file() and path.suffix != ".pyc"
        }


def details(result: dict[str, Any], status: str) -> dict[str, str]:
    """The details of the checks that ended so, by name."""
    return {check["name"]: check["detail"] for check in result["checks"] if check["status"] == status}


CHECKS = {"source", "bytecode", "contract", "callers", "generate"}


def prove(tool: Tool, options: str = "") -> None:
    result = tool.run(f"verify {options}", 0)
    assert set(details(result, "passed")) == CHECKS
    assert result["device"]["kind"] in ("mps", "emulated-mps")


def go_round(tool: Tool, wheel: Path, rules: tuple[str, ...]) -> None:
    """Apply, prove under each set of rules, apply again, revert; the files are the wheel's before and after."""
    original = tool.files()
    with ZipFile(wheel) as archive:
        assert original[PATCHED] == archive.read(PATCHED)
    assert tool.run("apply", 0)["changed"]
    patched = tool.files()
    for options in rules:
        prove(tool, options)
    assert not tool.run("apply", 0)["changed"]
    assert tool.files() == patched
    assert tool.run("revert", 0)["changed"]
    assert tool.files() == original


def test_on_current_torch(throwaway_env: Callable[[str], Path], wheels: Callable[[str], Path]) -> None:
    tool = Tool(throwaway_env("current"))
    shown = details(tool.run("verify --device emulated --torch 2.6 --macos 13", 1), "failed")
    assert INT64_ON_OLD_MACOS in shown["generate"]
    go_round(tool, wheels("4.45.1"), ("", "--device emulated --torch 2.3 --macos 14"))


@pytest.mark.seed
def test_on_the_pair_of_the_first_report(throwaway_env: Callable[[str], Path], wheels: Callable[[str], Path]) -> None:
    """torch 2.1.0 is really there, so that its own rules are the default and transformers takes its own old paths."""
    tool = Tool(throwaway_env("seed"))
    assert tool.run("status", 0)["target"]["torch"].startswith("2.1.0")
    shown = details(tool.run("verify", 1), "failed")
    assert "IndexError: tuple index out of range" in shown["generate"]
    # Rules newer than the installed torch are none that transformers could believe in.
    go_round(tool, wheels("4.45.1"), ("", "--device emulated --torch 2.1 --macos 14"))

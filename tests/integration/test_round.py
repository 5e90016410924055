"""The main job on real transformers with real torch, from a tool environment apart from it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from documents import read_document

pytestmark = pytest.mark.models

ROOT = Path(__file__).resolve().parents[2]
PATCHED = "transformers/pytorch_utils.py"
INT64_ON_OLD_MACOS = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0"


class Tool:
    """mps-patcher as a process of its own, on one environment."""

    def __init__(self, python: Path) -> None:
        self.python = python
        (self.site_packages,) = python.parent.parent.glob("lib/python*/site-packages")

    def run(self, command: str, code: int) -> dict[str, Any]:
        """The result of `isin_mps_friendly`."""
        result: dict[str, Any] = self.results(command, code)["isin_mps_friendly"]
        return result

    def results(self, command: str, code: int) -> dict[str, dict[str, Any]]:
        """By patch, the results of a command, which must exit with `code`."""
        line = [sys.executable, "-m", "patcher", *command.split(), "--json", "--python", str(self.python)]
        done = subprocess.run(
            line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False
        )
        assert done.returncode == code, done.stdout + done.stderr
        return {result["patch"]: result for result in read_document(done.stdout)["results"]}

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


def test_on_current_torch(throwaway_env: Callable[..., Path], wheels: Callable[[str], Path]) -> None:
    tool = Tool(throwaway_env("current", compiled=True))
    shown = details(tool.run("verify --device emulated --torch 2.6 --macos 13", 1), "failed")
    assert INT64_ON_OLD_MACOS in shown["generate"]
    go_round(tool, wheels("4.45.1"), ("", "--device emulated --torch 2.3 --macos 14"))


NEWEST = "5.24.0"
IMPORTED = """
import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.generation.stopping_criteria import isin_mps_friendly as of_a_caller
from transformers.pytorch_utils import isin_mps_friendly
assert of_a_caller is isin_mps_friendly
print(isin_mps_friendly(torch.tensor([1, 2]), 2).tolist())
sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 32, "vocab_size": 64}
model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=1, eos_token_id=2)).eval()
print(model.generate(torch.tensor([[3, 4]]), max_new_tokens=4, do_sample=False, pad_token_id=0).shape[0])
"""


def test_on_the_newest_release(throwaway_env: Callable[..., Path], wheels: Callable[[str], Path]) -> None:
    """The function is added, all direct calls go through it, and nothing is left of that in the end."""
    tool = Tool(throwaway_env("current", NEWEST))
    original = tool.files()
    assert tool.results("status", 0)["direct_isin"]["state"] == "unpatched"
    assert tool.results("apply isin_mps_friendly direct_isin", 0)["direct_isin"]["changed"]
    for options in ("", "--device emulated --torch 2.6 --macos 13"):
        for result in tool.results(f"verify {options}", 0).values():
            assert set(details(result, "passed")) == CHECKS
    done = subprocess.run([str(tool.python), "-c", IMPORTED], capture_output=True, text=True, check=False)
    assert done.stdout == "[False, True]\n1\n", done.stderr
    assert tool.results("revert", 0)["direct_isin"]["state"] == "unpatched"
    assert tool.files() == original
    with ZipFile(wheels(NEWEST)) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/RECORD")]
        assert not [name for name in names if original[name] != archive.read(name)]


@pytest.mark.seed
def test_on_the_pair_of_the_first_report(throwaway_env: Callable[[str], Path], wheels: Callable[[str], Path]) -> None:
    """torch 2.1.0 is really there, so that its own rules are the default and transformers takes its own old paths."""
    tool = Tool(throwaway_env("seed"))
    found = tool.run("status", 0)
    assert found["target"]["torch"].startswith("2.1.0")
    assert found["effect"]["error"] == "IndexError: tuple index out of range"
    verified = tool.run("verify", 1)
    shown = details(verified, "failed")
    assert set(shown) == {"source", "contract", "generate"}
    assert "IndexError: tuple index out of range (transformers/pytorch_utils.py:" in shown["generate"]
    assert (verified["device"]["torch"], verified["device"]["macos"]) == ("2.1", "13")
    # Rules newer than the installed torch are none that transformers could believe in.
    go_round(tool, wheels("4.45.1"), ("", "--device emulated --torch 2.1 --macos 14"))

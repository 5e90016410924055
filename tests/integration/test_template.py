"""Each template as its user runs it: on the CPU, and on the emulated device with an unpatched transformers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch_env import throwaway

from patcher.catalogue import load_catalogue
from patcher.template import render

pytestmark = pytest.mark.models

SUPPORT = Path(__file__).resolve().parents[1] / "support"
RELEASES = ("4.45.1", "4.44.2")
RULES = (("2.1", "13"), ("2.7", "13"))
ERRORS = {  # what an unpatched release raises under the rules
    ("4.45.1", "2.1"): "IndexError: tuple index out of range",
    ("4.44.2", "2.1"): "NotImplementedError: The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented",
    ("4.45.1", "2.7"): "RuntimeError: isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0.",
    ("4.44.2", "2.7"): "RuntimeError: isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0.",
}


def start(command: list[object], folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """What a command says, with nothing of ours on its path and no network."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PYTORCH"))}
    environ |= {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore", "MPS_PATCHER_CACHE": str(folder / "cache"), **more}
    line = [str(word) for word in command]
    return subprocess.run(line, cwd=folder, env=environ, capture_output=True, text=True, check=False)


def emulated(python: Path, rules: tuple[str, str], *command: object) -> list[object]:
    """The command line that runs a script, unpatched, on the emulated device under these rules of torch and macOS."""
    options = ["--python", python, "--emulate", "--torch", rules[0], "--macos", rules[1], "--unpatched"]
    return [sys.executable, "-m", "patcher", "run", *options, "--", *command]


def out(done: subprocess.CompletedProcess[str]) -> str:
    """What a process that has ended well wrote to standard output."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`python_with("4.45.1")` is the interpreter of an environment with that transformers, made once."""
    return cache(lambda release: throwaway(tmp_path_factory.mktemp("envs") / release, "current", release))


@pytest.fixture(scope="module")
def model(python_with: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Llama and its tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    out(start([python_with("4.45.1"), SUPPORT / "save_model.py", folder], folder))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The user's folder, with both templates in it."""
    for kind, name in (("script", "generate.py"), ("runtime", "mps_runtime_patch.py")):
        (tmp_path / name).write_text(render(kind, load_catalogue()))
    (tmp_path / "prompts").write_text("w5 w9 w11 w7\n\nw8 w9\nw12\n")
    return tmp_path


class TestScript:
    @pytest.mark.parametrize("release", RELEASES)
    def test_it_generates_the_same_on_every_device(
        self, release: str, python_with: Callable[[str], Path], model: Path, folder: Path
    ) -> None:
        python = python_with(release)
        options = ["--model", model, "--prompts", "prompts", "--batch-size", "2", "--max-new-tokens", "12"]
        command = ["generate.py", *options, "--device"]
        done = start([python, *command, "cpu"], folder)
        expected = out(done)
        assert len(expected.splitlines()) == 3
        assert "loaded on cpu as torch.float32" in done.stderr
        for rules in RULES:
            done = start(emulated(python, rules, *command, "auto"), folder)
            assert (out(done), "loaded on mps as torch.float32" in done.stderr) == (expected, True)

    def test_it_reads_standard_input_and_samples(
        self, python_with: Callable[[str], Path], model: Path, folder: Path
    ) -> None:
        command = [python_with("4.45.1"), "generate.py", "--model", model, "--seed", "3", "--prompts", "-"]
        assert len(out(start(["sh", "-c", '"$@" < prompts', "sh", *command], folder)).splitlines()) == 3

    WRONG = (
        ("--model ./nowhere --prompt x", "There is no folder ./nowhere."),
        ("--model no-such-model --prompt x", "no-such-model cannot be loaded: "),
        ("--model damaged --prompt x", "damaged cannot be loaded: "),
        ("--model model --prompt x --device mps", "finds no mps on this machine."),
        ("--model model --prompts blank", "There is no prompt."),
        ("--model model --prompts nowhere", "nowhere cannot be read: "),
        ("--model model --prompt x --chat", "This model has no chat template."),
        ("--model bare --prompts prompts --batch-size 2", "neither a pad token nor an end token"),
        ("--model model --prompt MPS", "Out of memory: MPS backend out of memory (MPS allocated: 8.00 GB)"),
        ("--model model --prompt CPU", "Out of memory: DefaultCPUAllocator: can't allocate memory"),
    )

    def test_an_error_is_a_cause_and_a_hint(
        self, python_with: Callable[[str], Path], model: Path, folder: Path
    ) -> None:
        (folder / "model").symlink_to(model)
        (folder / "blank").write_text(" \n")
        damage(shutil.copytree(model, folder / "damaged"))
        forget_tokens(shutil.copytree(model, folder / "bare"))
        (folder / "wrong.py").write_text(DRIVER)
        lines = out(start([python_with("4.45.1"), "wrong.py", *(line for line, _ in self.WRONG)], folder)).splitlines()
        for (line, cause), ending in zip(self.WRONG, map(json.loads, lines), strict=True):
            first, second = ending.splitlines()
            assert first.startswith("error: "), line
            assert cause in first
            assert second.startswith("hint: "), line

    def test_no_torch(self, folder: Path) -> None:
        done = start([sys.executable, "generate.py", "--model", "x", "--prompt", "x"], folder)
        cause, hint = done.stderr.splitlines()
        assert (done.returncode, done.stdout) == (1, "")
        assert cause.startswith(f"error: torch cannot be imported by {sys.executable}: ")
        assert hint.startswith("hint: ")


# Runs the script once for each command line, in one process, and prints what each ends with. Memory runs out at will.
DRIVER = """
import generate, json, sys
generate.patch_transformers()
import transformers.generation.utils as utils
FULL = {
    "MPS": "MPS backend out of memory (MPS allocated: 8.00 GB)",
    "CPU": "DefaultCPUAllocator: can't allocate memory",
}
def fail(*_, **__):
    raise RuntimeError(FULL[sys.argv[-1]])
utils.GenerationMixin.generate = fail
for line in sys.argv[1:]:
    sys.argv = ["generate.py", *line.split()]
    try:
        generate.main()
    except SystemExit as end:
        print(json.dumps(end.code))
"""


def damage(model: Path) -> None:
    """Cuts the weights off, as an unfinished download."""
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:300])


def forget_tokens(model: Path) -> None:
    """Takes its pad token and its end token away from the tokenizer."""
    for file in (model / "tokenizer_config.json", model / "special_tokens_map.json"):
        settings = json.loads(file.read_text())
        file.write_text(
            json.dumps({name: settings[name] for name in settings if name not in ("pad_token", "eos_token")})
        )


# A user's module that has imported by name, and two scripts: the line stands first, or after everything and a failure.
BY_NAME = """
from torch import isin
from transformers import pytorch_utils
isin_mps_friendly = None
if hasattr(pytorch_utils, "isin_mps_friendly"):
    from transformers.pytorch_utils import isin_mps_friendly
"""
FIRST = """
import sys
class Old:
    "A finder of the protocol that Python 3.12 dropped, as of old releases of six."
    def find_module(self, name, path=None): pass
sys.meta_path.insert(0, Old())
import mps_runtime_patch
import by_name
assert "transformers.generation.utils" not in sys.modules, "it is patched when it comes, and not imported for that"
assert by_name.isin_mps_friendly is mps_runtime_patch.isin_mps_friendly
from rest import *
print(json.dumps(answers()))
"""
LAST = """
import by_name
from rest import *
try:
    answers()
except Exception as error:
    print(f"{type(error).__name__}: {error}".splitlines()[0])
import mps_runtime_patch
held = by_name.isin_mps_friendly
assert held is (mps_runtime_patch.isin_mps_friendly if transformers.__version__ >= "4.45" else None)
print(json.dumps(answers()))
"""
REST = """
import json, sys, torch, transformers, by_name
from transformers.generation import utils
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = torch.tensor([[0, 0, 5, 9], [8, 7, 6, 5], [0, 9, 9, 9]])
RUNS = [
    {"num_beams": 1}, {"num_beams": 3}, {"suppress_tokens": [5, 54], "begin_suppress_tokens": [21]},
    {"eos_token_id": [2, 53, 54, 61], "min_new_tokens": 3},
]
def tokens(device, rows, options):
    "Without a mask: it is inferred."
    inputs = rows.to(device)
    return model.to(device).generate(inputs, max_new_tokens=8, do_sample=False, pad_token_id=0, **options).tolist()
def members(device):
    "torch.isin as packages call it, and as a module has imported it."
    table, some = torch.arange(6).view(2, 3).to(device), torch.tensor([1, 4]).to(device)
    found = [torch.isin(elements=table, test_elements=some), torch.isin(table, some.int(), invert=True)]
    found += [torch.isin(table, 4), torch.isin(table, test_element=4, assume_unique=True), by_name.isin(table, some)]
    return [(one.device.type == device, one.tolist()) for one in found]
def answers():
    "By device, the tokens of one row and of three, and what is a member."
    return {
        device: [[tokens(device, rows, options) for options in RUNS for rows in (ids[1:2], ids)], members(device)]
        for device in ("mps", "cpu")
    }
"""


class TestRuntime:
    @pytest.fixture
    def run(
        self, python_with: Callable[[str], Path], model: Path, folder: Path
    ) -> Callable[[str, str, tuple[str, str]], list[str]]:
        """`run(script, release, rules)` is what the script prints on the emulated device, line by line."""
        for name, text in (("by_name", BY_NAME), ("rest", REST)):
            (folder / f"{name}.py").write_text(text)

        def start_script(script: str, release: str, rules: tuple[str, str]) -> list[str]:
            (folder / "mine.py").write_text(script)
            command = emulated(python_with(release), rules, "mine.py", model)
            return out(start(command, folder, PYTORCH_ENABLE_MPS_FALLBACK="0")).splitlines()

        return start_script

    @pytest.mark.parametrize("rules", RULES, ids=".".join)
    @pytest.mark.parametrize("release", RELEASES)
    def test_imported_last_it_ends_the_error(self, run: Callable[..., list[str]], release: str, rules: Any) -> None:
        error, answers = run(LAST, release, rules)
        assert error.startswith(ERRORS[release, rules[0]])
        self.prove(answers)

    @pytest.mark.parametrize("release", RELEASES)
    def test_imported_first_it_patches_what_comes(self, run: Callable[..., list[str]], release: str) -> None:
        (answers,) = run(FIRST, release, RULES[0])
        self.prove(answers)

    def prove(self, answers: str) -> None:
        """The device's answers are the CPU's."""
        found = json.loads(answers)
        assert found["mps"] == found["cpu"]
        assert len(found["cpu"][0]) == 8

    @pytest.mark.parametrize("line", ["import mps_runtime_patch, torch", "import torch, mps_runtime_patch"])
    def test_without_transformers_and_without_mps_nothing_changes(
        self, line: str, torch_env: Path, folder: Path
    ) -> None:
        (folder / "mine.py").write_text(
            "import os, sys\nsys.modules['transformers'] = None\n"  # as if it were not installed
            f"{line}\nprint(torch.isin is torch._C._VariableFunctions.isin, os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
        )
        assert out(start([torch_env, "mine.py"], folder)) == "True 1\n"

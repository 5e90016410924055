"""What `explain` makes of errors as people paste them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from documents import read_document

from patcher import cli
from patcher.catalogue import load_catalogue
from patcher.explain import explain_error, known_errors, releases, united, who_has_it
from patcher.model import EffectRow, Patch
from patcher.selftest import rules
from tests.integration.reports.scenario import Scenario
from tests.integration.reports.scenarios import SCENARIOS

ROOT = Path(__file__).resolve().parents[2]
ROWS = [(patch, row) for patch in load_catalogue() for row in patch.effects if row.error]
NO_INDEX = "IndexError: tuple index out of range"
NO_KERNEL = (
    "NotImplementedError: The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented for the MPS device."
)
NO_DTYPE = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received dtype:"
OTHER_DTYPE = "Expected elements.dtype() == test_elements.dtype()"
NO_NAME = "cannot import name 'isin_mps_friendly'"
QUOTED_TWICE = "is not currently implemented for the MPS device"
SITE = "/Users/jane/app/.venv/lib/python3.11/site-packages"
LAST = f'  File "{SITE}/transformers/pytorch_utils.py", line 325, in isin_mps_friendly\n    return elements.tile(...)\n'
TRACEBACK = f"""\
The attention mask is not set.
Traceback (most recent call last):
  File "/Users/jane/app/my app.py", line 3, in <module>
    model.generate(ids)
  File "{SITE}/torch/utils/_contextlib.py", line 115, in decorate_context
    return func(*args, **kwargs)
{LAST}"""


def run(*words: str, stdin: str | bytes = "") -> Result:
    return CliRunner().invoke(cli.program, ["explain", *words], input=stdin, prog_name="mps-patcher")


def explained(*words: str, stdin: str | bytes = "") -> str:
    """What is said of a known error, whose own text comes first."""
    result = run(*words, stdin=stdin)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def refused(text: str, code: int = 3) -> str:
    result = run(stdin=text)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


class TestKnown:
    @pytest.mark.parametrize(("patch", "row"), ROWS, ids=lambda one: getattr(one, "name", None))
    def test_every_error_of_the_catalogue(self, patch: Patch, row: EffectRow) -> None:
        said = explained(str(row.error))
        assert said.startswith(f"{row.error}\n\n")
        block = said.split("\n\n  More about it:")[0]
        conditions = who_has_it(row).partition("; ")[2] or "any other package that imports it"
        assert re.search(rf"^    transformers [^;]+; {re.escape(conditions)}$", block, re.MULTILINE)
        assert not row.cures or f"      other cures: {', or '.join(row.cures)}\n" in block
        assert "  To fix it:  mps-patcher apply\n" in said
        assert all(link in said for link in patch.links)

    def test_rows_that_differ_in_transformers_alone_are_one(self) -> None:
        said = explained(OTHER_DTYPE)
        assert said.count("  transformers ") == 1
        assert "    transformers 4.40 or newer; torch 2.4 - 2.7\n" in said

    @pytest.mark.parametrize(
        ("specifiers", "expected"),
        [
            ((">=4.45,<5.1", ">=4.40,<4.45 || >=5.1"), ">=4.40"),
            ((">=4.40,<4.41 || >=4.44,<4.45", ">=4.45,<4.46.2"), ">=4.40,<4.41 || >=4.44,<4.46.2"),
            ((">=4.9,<4.10", ">=4.10,<4.11"), ">=4.9,<4.11"),
            (("<2.4", ">=2.8"), "<2.4 || >=2.8"),
            (("", ">=5.1"), ""),
        ],
    )
    def test_spans_that_touch_are_one(self, specifiers: tuple[str, ...], expected: str) -> None:
        assert united(specifiers) == expected

    @pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
    def test_every_report(self, scenario: Scenario) -> None:
        assert explained(scenario.error).startswith(scenario.error)

    @pytest.mark.parametrize(
        ("text", "start"),
        [
            (rules.NOT_IMPLEMENTED[(2, 6)].format(op="aten::isin.Tensor_Tensor_out"), NO_KERNEL),
            (rules.NOT_IMPLEMENTED[(2, 0)].format(op="aten::isin.Tensor_Scalar_out"), NO_KERNEL[:50]),
            ("aten::isin.Tensor_Tensor_out is not currently implemented", NO_KERNEL),
            (f"{NO_DTYPE} Int", f"RuntimeError: {NO_DTYPE}"),
            (f"{NO_DTYPE} Short", f"RuntimeError: {NO_DTYPE}"),
            (f"pytorch: RuntimeError: {OTHER_DTYPE} to be true, but got false. (Could", f"RuntimeError: {OTHER_DTYPE}"),
            (OTHER_DTYPE, f"RuntimeError: {OTHER_DTYPE}"),
            ("ValueError: Can't infer missing attention mask on `mps` device", "ValueError: Can't infer"),
            ("Can\u2019t infer missing attention mask on mps device", "ValueError: Can't infer"),
            (f"ImportError: {NO_NAME}", f"ImportError: {NO_NAME} from"),
            (f"{NO_NAME} from 'transformers.pytorch_utils' ({SITE}/x.py)", f"ImportError: {NO_NAME} from"),
            ("tuple index out of range", NO_INDEX),
            (NO_KERNEL.replace("currently", "current"), NO_KERNEL),
            (f"app.py:3: UserWarning: {rules.FALLBACK.format(op='aten::isin.Tensor_Tensor_out')}", NO_KERNEL),
        ],
    )  # fmt: skip
    def test_as_people_paste_it(self, text: str, start: str) -> None:
        coloured = f"\x1b[1m\x1b[31m{text[:10]}\x1b[0m{text[10:]}"
        boxed = "\n".join(f"\u2502 {line:<40} \u2502" for line in textwrap.wrap(text, 40))
        for one in (text, f"  {text}\n\n", text.replace(" ", "\n", 3), coloured, boxed, text.upper()):
            said = explained(stdin=one)
            assert said.startswith(start)
        assert explained(*text.split(" ")) == explained(text) == explained(stdin=text)

    def test_two_errors_are_never_taken_for_one(self) -> None:
        keys = [error.key for error in known_errors()]
        assert len(keys) == len({error.text for error in known_errors()})
        assert not [(one, other) for one in keys for other in keys if one != other and one in other]

    def test_the_variable_for_missing_operators_is_said_to_help_only_where_it_does(self) -> None:
        said = {error.text: "FALLBACK=1 avoids it" in explained(error.text) for error in known_errors()}
        assert {text for text, helps in said.items() if helps} == {
            error.text for error in known_errors() if "is not currently implemented" in error.text
        }

    def test_its_warning_is_no_failure(self) -> None:
        said = explained(rules.FALLBACK.format(op="aten::isin.Tensor_Tensor_out"))
        assert "as here, it is only a warning: the CPU computes this, which works but is slower" in said
        assert "FALLBACK=1 avoids it" not in said
        assert "only a warning" not in explained(NO_KERNEL)


class TestTraceback:
    def test_one_of_the_function(self) -> None:
        said = explained(stdin=f"{TRACEBACK}{NO_INDEX}\n")
        assert said.startswith(NO_INDEX)
        assert "Many programs" not in said

    @pytest.mark.parametrize(
        "frame",
        [
            "File ~/.venv/lib/python3.11/site-packages/transformers/pytorch_utils.py:325, in isin_mps_friendly(a, b)\n",
            "~/app/.venv/lib/python3.8/site-packages/transformers/pytorch_utils.py in isin_mps_friendly(a, b)\n",
            "\u2502 /usr/lib/python3/site-packages/transformers/pytorch_utils.py:325 in isin_mps_friendly   \u2502\n",
        ],
        ids=["IPython", "older IPython", "rich"],
    )
    def test_one_of_another_program(self, frame: str) -> None:
        text = f"/x/app.py:3 in <module>\n{frame}--> 325     return elements.tile(...)\n\n{NO_INDEX}"
        assert "Many programs" not in explained(stdin=text)

    def test_the_error_alone_may_be_any_programs(self) -> None:
        assert "Many programs raise this." in explained(NO_INDEX)

    @pytest.mark.parametrize("before", ["", TRACEBACK.replace("325", "9")])
    def test_the_same_error_of_another_program(self, before: str) -> None:
        script = "def f():\n    return (1,)[3]\nf()\n"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        said = refused(f"{before}{done.stderr}")
        assert "Here it does not come from isin_mps_friendly in transformers/pytorch_utils.py" in said
        assert "mps-patcher does not fix it. Look at <string>, line 2." in said

    def test_a_copy_of_the_function_is_not_the_function(self) -> None:
        copy = TRACEBACK.replace("/transformers/pytorch_utils.py", "/TTS/utils/generic_utils.py")
        assert "Look at TTS/utils/generic_utils.py, line 325." in refused(f"{copy}{NO_INDEX}")

    def test_a_call_of_another_package(self) -> None:
        frame = f'  File "{SITE}/trl/trainer/grpo_trainer.py", line 12, in _generate\n    torch.isin(a, b)\n'
        device = f'  File "{SITE}/torch/utils/_device.py", line 77, in __torch_function__\n    return func()\n'
        said = explained(stdin=f"{TRACEBACK}{frame}{device}{NO_KERNEL}")
        assert "It was raised by trl/trainer/grpo_trainer.py, line 12, which calls torch.isin itself." in said
        assert "  To fix it:  mps-patcher run -- SCRIPT\n" in said
        assert "transformers 4" not in said
        assert "    torch older than 2.4\n      other cures: torch 2.9 or newer (needs macOS 14)\n" in said

    def test_an_import_of_another_package_is_repaired_by_apply(self) -> None:
        error = "ImportError: cannot import name 'isin_mps_friendly' from 'transformers.pytorch_utils' (/x/y.py)"
        frame = (
            f'  File "{SITE}/TTS/tts/layers/tortoise/autoregressive.py", line 9, in <module>\n    from transformers\n'
        )
        assert "  To fix it:  mps-patcher apply\n" in explained(stdin=f"{TRACEBACK}{frame}{error}")

    @pytest.mark.parametrize("error", [NO_KERNEL, NO_INDEX])
    def test_an_error_that_was_wrapped_in_another_one(self, error: str) -> None:
        text = f"{TRACEBACK}{error}\n\nDuring handling of the above exception, another exception occurred:\n\n"
        text += 'Traceback (most recent call last):\n  File "/x/app.py", line 9, in <module>\nRuntimeError: failed'
        said = explained(stdin=text)
        assert said.startswith(error)
        assert "To fix it:  mps-patcher apply" in said

    def test_an_error_that_a_log_tells_before_its_traceback(self) -> None:
        said = refused(f'ERROR: tuple index out of range\n  File "/x/app.py", line 9, in <module>\n{NO_INDEX}')
        assert "Look at app.py, line 9." in said

    def test_a_refusal_of_a_copy_of_transformers_is_no_call_of_another_package(self) -> None:
        frame = '  File "/x/vendored/utils.py", line 9, in _prepare\n    raise ValueError\n'
        error = "ValueError: Can't infer missing attention mask on `mps` device. Please provide"
        assert "calls torch.isin itself" not in explained(stdin=f"{frame}{error}")

    def test_any_other_error_of_the_function(self) -> None:
        error = "AttributeError: 'int' object has no attribute 'shape'"
        said = explained(stdin=f"{TRACEBACK}{error}\n")
        assert said.startswith(f"{error}\n")
        assert "    transformers 4.45 - 5.0\n" in said

    def test_nothing_of_the_home_folder_is_repeated(self) -> None:
        frame = '  File "/Users/jane/secret/app.py", line 3, in <module>\n'
        said = explained(stdin=f"{TRACEBACK}{frame}{NO_KERNEL}")
        assert "It was raised by app.py, line 3" in said
        assert "jane" not in said


@pytest.mark.models
class TestRealOnes:
    """Raised by an unpatched transformers 4.45.1 on the emulated device."""

    @pytest.mark.parametrize(
        ("statement", "error", "cure"),
        [
            ("from transformers.pytorch_utils import isin_mps_friendly as f; f(x, x[0])", NO_INDEX, "apply"),
            ("torch.isin(x, x)", NO_KERNEL, "run -- SCRIPT"),
        ],
    )
    def test_a_whole_traceback(self, statement: str, error: str, cure: str, torch_env: Path) -> None:
        code = f"import torch; x = torch.tensor([1, 2], device='mps'); {statement}"
        tool = [sys.executable, "-m", "patcher", "run", "--python", str(torch_env), "--emulate", "--unpatched"]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTORCH_ENABLE_MPS_FALLBACK": "0"}
        done = subprocess.run(
            [*tool, "--torch", "2.1", "-c", code], capture_output=True, text=True, env=environ, check=False
        )
        said = explained(stdin=done.stderr)
        assert said.startswith(error)
        assert "Many programs" not in said
        assert f"  To fix it:  mps-patcher {cure}\n" in said


class TestOthers:
    @pytest.mark.parametrize(
        ("text", "words"),
        [
            (rules.NOT_IMPLEMENTED[(2, 6)].format(op="aten::linalg_qr.out"), "no operator aten::linalg_qr.out"),
            (rules.NOT_IMPLEMENTED[(2, 6)].format(op="aten::linalg_qr.out"), "torch 2.12 and newer have it."),
            (rules.NOT_IMPLEMENTED[(2, 6)].format(op="aten::linalg_eig"), "torch 2.14 does not have it either."),
            (rules.NOT_IMPLEMENTED[(2, 6)].format(op="torchvision::nms"), "A newer torch may have it."),
            (rules.NOT_IMPLEMENTED[(2, 0)].format(op="aten::unique_dim"), "Set PYTORCH_ENABLE_MPS_FALLBACK=1"),
            (rules.FLOAT64, "MPS has no float64"),
            ("Cannot convert a MPS Tensor to float64 dtype", "MPS has no float64"),
            ("TypeError: BFloat16 is not supported on MPS", "On MPS bfloat16 needs torch 2.3"),
            ("MPS BFloat16 is only supported on MacOS 14 or newer", "On MPS bfloat16 needs torch 2.3"),
            (NO_KERNEL.replace("isin", "x").replace("currently", "current"), "Set PYTORCH_ENABLE_MPS_FALLBACK=1"),
            (f"UserWarning: {rules.FALLBACK.format(op='aten::x')}", "hint: It runs on the CPU, which works but"),
            (f"UserWarning: {rules.FALLBACK.format(op='aten::_fft_r2c')}", "torch 2.3 and newer have it."),
            ("RuntimeError: MPS backend out of memory (MPS allocated: 9 GB", "do not fit into the memory"),
            (
                "The attention mask is not set and cannot be inferred from input because pad token is same as eos",
                "hint: Pass the attention_mask",
            ),
            ("The attention mask and the pad token id were not set.", "hint: Pass the attention_mask"),
        ],
    )
    def test_another_error_of_mps(self, text: str, words: str) -> None:
        said = refused(text)
        assert words in said
        assert "mps-patcher does not fix that." in said

    @pytest.mark.parametrize(
        "text",
        [
            "CUDA out of memory",
            "index out of range",
            "IndexError: list index out of range",
            "MPS",
            ".",
            QUOTED_TWICE,
        ],
    )
    def test_an_unknown_one(self, text: str) -> None:
        said = refused(text)
        assert "does not know this error" in said
        assert "mps-patcher doctor" in said

    def test_a_warning_before_a_traceback_is_not_what_failed(self) -> None:
        warning = "The attention mask and the pad token id were not set."
        assert "does not know this error" in refused(f'{warning}\n  File "/x/app.py", line 9, in <module>\nKeyError: 1')

    @pytest.mark.parametrize("text", ["isin", "torch.isin", "`torch.isin()`", "isin_mps_friendly"])
    def test_the_name_of_the_function_alone(self, text: str) -> None:
        assert "hint: Pass the error itself, or its traceback" in refused(text)


class TestInput:
    def test_without_a_text_the_known_errors_are_listed(self) -> None:
        said = explained()
        assert all(f"  {error.text}\n" in said for error in known_errors())
        assert "mps-patcher explain 'IndexError: tuple index out of range'" in said

    def test_bytes_that_are_no_text(self) -> None:
        assert explained(stdin=b"\xff\xfe\x00" + f"{TRACEBACK}{NO_INDEX}".encode()).startswith(NO_INDEX)

    def test_the_words_of_the_command_line_go_before_standard_input(self) -> None:
        assert explained(NO_INDEX, stdin="CUDA out of memory").startswith(NO_INDEX)

    def test_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "my error.log"
        file.write_text(NO_INDEX)
        result = run(str(file))
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.endswith(f"\nhint: To explain what it holds: mps-patcher explain < '{file}'\n")

    def test_there_is_no_json(self) -> None:
        told = read_document(run("--json", NO_INDEX).stdout)
        assert (told["command"], told["error"]["code"]) == ("explain", "usage")


@pytest.mark.parametrize(
    ("specifiers", "words"),
    [
        (">=4.45,<4.46.2", "4.45 - 4.46.1"),
        (">=4.40,<4.41", "4.40"),
        (">=4.40,<4.41 || >=4.44,<4.45", "4.40 or 4.44"),
        (">=4.40,<4.41 || >=4.44,<4.45 || >=5.1", "4.40, 4.44, or 5.1 or newer"),
        ("<14", "older than 14"),
        (">=2.4", "2.4 or newer"),
    ],
)
def test_specifiers_in_words(specifiers: str, words: str) -> None:
    assert releases(specifiers) == words


def test_every_specifier_of_the_catalogue_has_words() -> None:
    for _, row in ROWS:
        assert re.fullmatch(r"(?:[\w-]+ (?:older than )?[\d., \-or]+(?:or newer)?(?:; )?)+", who_has_it(row))


def test_a_text_is_explained_without_the_command_line() -> None:
    found = explain_error(NO_INDEX)
    assert (found.error.text, found.origin, found.is_doubtful, found.is_foreign) == (NO_INDEX, None, True, False)

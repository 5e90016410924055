"""`evaluate` as a command, on small models that the test saves, in an environment with real torch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.models

ROOT = Path(__file__).resolve().parents[2]
SAVE = ROOT / "tests" / "support" / "save_model.py"
ROWS = 14


class Evaluation:
    """The command, in one environment, on one model and one file of scenarios."""

    def __init__(self, python: Path, model: Path, folder: Path) -> None:
        self.python, self.model, self.output = python, model, folder / "results"
        self.scenarios = folder / "scenarios.jsonl"
        self.write([{"id": f"s{n}", "prompt": "w5 w6" + " w7 w8" * (n % 5)} for n in range(ROWS)])

    def write(self, scenarios: list[dict[str, Any]]) -> None:
        self.scenarios.write_text("".join(json.dumps(one) + "\n" for one in scenarios))

    def start(self, *more: str, path: Path = ROOT) -> subprocess.Popen[str]:
        options = {"--python": self.python, "--model": self.model, "--scenarios": self.scenarios}
        options |= {"--output": self.output, "--max-new-tokens": Path("4")}
        words = [str(word) for option in options.items() for word in option]
        return subprocess.Popen(
            [sys.executable, "-m", "patcher", "evaluate", *words, *more],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, dict.fromkeys((path, ROOT))))},
        )

    def run(self, *more: str, code: int = 0, path: Path = ROOT) -> tuple[str, str]:
        """What it prints on standard output and error, with the modules in `path` before all others."""
        with self.start(*more, path=path) as process:
            out, err = process.communicate()
        assert process.returncode == code, out + err
        return out, err

    def refusal(self, *more: str, code: int = 1) -> list[str]:
        """The cause and the hint, the last of what it says."""
        lines = self.run(*more, code=code)[1].splitlines()
        assert [line.partition(":")[0] for line in lines[-2:]] == ["error", "hint"]
        return [line.partition(": ")[2] for line in lines[-2:]]

    def report(self) -> dict[str, Any]:
        report: dict[str, Any] = json.loads((self.output / "report.json").read_text())
        return report

    def lines(self) -> int:
        results = self.output / "results.jsonl"
        return results.read_bytes().count(b"\n") if results.exists() else 0

    def results(self) -> list[dict[str, Any]]:
        """What was measured, without times and memory, which differ from run to run."""
        rows = [json.loads(line) for line in (self.output / "results.jsonl").read_text().splitlines()]
        for row in rows:
            del row["peak_memory"]
            assert all(output.pop("seconds") for output in row["outputs"].values())
        return rows

    def wait_for(self, lines: int, process: subprocess.Popen[str]) -> None:
        """Until so many results are on disk."""
        while self.lines() < lines:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)


def child_of(pid: int) -> int:
    """The one process that this one started."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    (child,) = (int(line.split()[0]) for line in listed.splitlines() if int(line.split()[1]) == pid)
    return child


@pytest.fixture(scope="module")
def saved(torch_env: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`saved("Llama")` is the folder of that model; `saved("Llama", "chat")` has a chat template too."""
    made: dict[tuple[str, ...], Path] = {}

    def save(*words: str) -> Path:
        if words not in made:
            made[words] = tmp_path_factory.mktemp("models") / "-".join(words)
            subprocess.run([torch_env, SAVE, made[words], *words], check=True, capture_output=True)
        return made[words]

    return save


@pytest.fixture
def evaluation(torch_env: Path, saved: Callable[..., Path], tmp_path: Path) -> Evaluation:
    return Evaluation(torch_env, saved("Llama"), tmp_path)


@pytest.fixture(scope="module")
def unbroken(torch_env: Path, saved: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    """An evaluation from beginning to end, in batches of three."""
    done = Evaluation(torch_env, saved("Llama"), tmp_path_factory.mktemp("unbroken"))
    done.said = done.run("--batch-size", "3")  # type: ignore[attr-defined]
    return done


def test_the_cpu_and_the_emulated_device_agree(unbroken: Evaluation) -> None:
    out, err = unbroken.said  # type: ignore[attr-defined]
    assert f"the same tokens as cpu in {ROWS} of {ROWS} scenarios" in out
    assert "The MPS device was emulated" in out
    assert f"{ROWS} of {ROWS} scenarios, " in err
    report = unbroken.report()
    assert (report["scenarios_done"], report["complete"]) == (ROWS, True)
    assert [one["kind"] for one in report["devices"]] == ["cpu", "emulated-mps"]
    assert report["agreement"] == {
        "mps": {"share": 1, "of": ROWS, "ties": 0, "faults": 0, "first_difference_positions": []}
    }
    assert report["by_device"]["cpu"]["tokens_per_second"]["median"] > 0
    assert report["by_device"]["mps"]["tokens_per_second"] is None
    assert report["versions"]["transformers"] == "4.45.1"


def test_every_report_is_written(unbroken: Evaluation) -> None:
    answer = (
        f"mps gives the same tokens as cpu in {ROWS} of {ROWS} scenarios, on an emulated MPS device, so speed is not"
    )
    assert (unbroken.output / "report.md").read_text("utf-8").startswith(f"# {answer} reported\n")
    assert f"<h1>{answer} reported</h1>" in (unbroken.output / "report.html").read_text("utf-8")
    assert "matplotlib" not in unbroken.said[1]  # type: ignore[attr-defined]


def test_without_matplotlib_one_line_says_what_to_install(unbroken: Evaluation, tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError\n")
    page = unbroken.output / "report.html"
    _, err = unbroken.run("--batch-size", "3", "--resume", path=tmp_path)
    assert [line for line in err.splitlines() if "mps-patcher[evaluate]" in line] == [
        "report.html needs matplotlib: install mps-patcher[evaluate], then repeat the command with --resume."
    ]
    assert not page.exists()
    unbroken.run("--batch-size", "3", "--resume")
    assert page.exists()


def test_every_scenario_is_there_in_the_file_s_order(unbroken: Evaluation) -> None:
    rows = [json.loads(line) for line in (unbroken.output / "results.jsonl").read_text().splitlines()]
    assert [(row["index"], row["id"], row["batch"]) for row in rows] == [(n, f"s{n}", n // 3) for n in range(ROWS)]
    for row in rows:
        assert row["prompt_tokens"] == len(row["prompt"].split())
        assert list(row["outputs"]) == ["cpu", "mps"]
        for output in row["outputs"].values():
            assert 1 <= len(output["tokens"]) <= 4
            assert len(output["seconds"]) == 1
            assert output["exact"] is None
        assert row["peak_memory"]["cpu"] > 50e6
        assert row["peak_memory"]["mps"] is None


def test_a_batch_does_not_change_what_is_generated(unbroken: Evaluation, evaluation: Evaluation) -> None:
    evaluation.run("--warmup", "0", "--devices", "cpu")
    alone = [row["outputs"]["cpu"] for row in evaluation.results()]
    assert alone == [row["outputs"]["cpu"] for row in unbroken.results()]
    assert list(evaluation.report()["by_device"]) == ["cpu"]


@pytest.mark.parametrize(("who", "lines"), [("the tool", 1), ("the evaluator", 7)])
def test_a_kill_loses_the_batch_in_hand_alone(
    unbroken: Evaluation, evaluation: Evaluation, who: str, lines: int
) -> None:
    words = ("--batch-size", "3")
    process = evaluation.start(*words)
    evaluation.wait_for(lines, process)
    os.kill(process.pid if who == "the tool" else child_of(process.pid), signal.SIGKILL)
    _, err = process.communicate()
    assert lines <= evaluation.lines() < ROWS
    if who == "the evaluator":
        assert process.returncode == 1
        assert "error: The interpreter that ran the model was killed by SIGKILL." in err
        assert evaluation.report()["complete"] is False
    evaluation.run("--resume", *words)
    assert evaluation.results() == unbroken.results()
    assert evaluation.report()["complete"] is True
    assert f"{ROWS} scenarios" in evaluation.run("--resume", *words)[0]  # and once more there is nothing to do
    assert evaluation.results() == unbroken.results()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_writes_the_report_of_what_there_is(evaluation: Evaluation, number: signal.Signals) -> None:
    process = evaluation.start()
    evaluation.wait_for(2, process)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "error: Interrupted. Results and reports so far are in" in err
    assert "with --resume to continue" in err
    report = evaluation.report()
    assert 2 <= report["scenarios_done"] == evaluation.lines() < ROWS
    assert report["complete"] is False


def test_results_are_neither_written_over_nor_mixed(unbroken: Evaluation) -> None:
    before = unbroken.results()
    assert unbroken.refusal()[0] == f"{unbroken.output} already has the results of an evaluation."
    cause = "has the results of another evaluation: batch_size was 3, and is now 1."
    assert cause in unbroken.refusal("--resume")[0]
    assert unbroken.results() == before


def test_a_device_that_is_not_here(evaluation: Evaluation) -> None:
    cause, _ = evaluation.refusal("--devices", "cpu,mps", code=3)
    assert cause == "There is no MPS device for torch 2.13.0+cpu on this machine; there is: cpu."
    assert not (evaluation.output / "report.json").exists()


def test_sampling_is_repeated_by_its_seed_and_not_compared(unbroken: Evaluation, evaluation: Evaluation) -> None:
    found = []
    for folder in ("first", "second"):
        evaluation.output = evaluation.output.with_name(folder)
        out, _ = evaluation.run("--seed", "1", "--repeat", "2", "--batch-size", "3")
        assert "not compared with cpu, because each device samples with its own random generator" in out
        rows = [json.loads(line) for line in (evaluation.output / "results.jsonl").read_text().splitlines()]
        assert {len(output["seconds"]) for row in rows for output in row["outputs"].values()} == {2}
        found.append([row["outputs"]["cpu"]["tokens"] for row in evaluation.results()])
    assert found[0] == found[1] != [row["outputs"]["cpu"]["tokens"] for row in unbroken.results()]


def test_an_encoder_and_a_decoder(evaluation: Evaluation, saved: Callable[..., Path]) -> None:
    evaluation.model = saved("T5")
    evaluation.run("--batch-size", "4")
    assert evaluation.report()["agreement"]["mps"]["share"] == 1
    assert all(row["outputs"]["cpu"]["tokens"] for row in evaluation.results())


def test_messages_go_through_the_chat_template(evaluation: Evaluation, saved: Callable[..., Path]) -> None:
    messages = [{"role": "system", "content": "w5"}, {"role": "user", "content": "w6 w7"}]
    evaluation.write([{"id": 1, "messages": messages, "expected": "no such answer"}])
    evaluation.model = saved("Llama", "chat")
    evaluation.run()
    (row,) = evaluation.results()
    assert (row["id"], row["prompt"], row["expected"]) == ("1", "system: w5\nuser: w6 w7\nassistant:", "no such answer")
    assert row["outputs"]["cpu"]["exact"] is False
    expected = row["outputs"]["cpu"]["text"]
    evaluation.write([{"id": 1, "messages": messages, "expected": f" {expected}\n"}])
    evaluation.output = evaluation.output.with_name("again")
    evaluation.run()
    assert evaluation.report()["by_device"]["mps"]["exact_match"] == {"share": 1, "of": 1}


def test_messages_without_a_chat_template(evaluation: Evaluation) -> None:
    evaluation.write([{"id": "a", "prompt": "Hi"}, {"id": "b", "messages": [{"role": "user", "content": "Hi"}]}])
    cause, hint = evaluation.refusal()
    assert cause == "Scenario 'b' has messages, but the model's tokenizer has no chat template."
    assert hint.startswith("Write the scenarios with prompt instead of messages")
    assert evaluation.lines() == 0


def test_a_prompt_that_is_too_long(evaluation: Evaluation) -> None:
    evaluation.write([{"id": "a", "prompt": "w9 " * 60}, {"id": "b", "prompt": "w9 " * 61}])
    cause, _ = evaluation.refusal()
    assert cause == "Scenario 'b' has 61 tokens, and with --max-new-tokens 4 exceeds the model's 64 positions."
    assert evaluation.lines() == 0


def test_a_folder_that_holds_no_model(evaluation: Evaluation, tmp_path: Path) -> None:
    for model, what in ((tmp_path, "has no config.json"), (tmp_path / "none", "is not a folder")):
        evaluation.model = model
        assert evaluation.refusal()[0] == f"{model} {what}."
    assert not evaluation.output.exists()


def test_a_model_without_weights(evaluation: Evaluation, saved: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(saved("Llama"), tmp_path / "model", ignore=lambda *_: ["model.safetensors"])
    evaluation.model = tmp_path / "model"
    cause, hint = evaluation.refusal()
    assert cause.startswith("On cpu, loading the model failed: OSError: ")
    assert "model.safetensors" in cause
    assert str(evaluation.output / "evaluation.log") in hint


def test_a_model_without_a_tokenizer(evaluation: Evaluation, saved: Callable[..., Path], tmp_path: Path) -> None:
    shutil.copytree(saved("Llama"), tmp_path / "model", ignore=lambda _, names: [n for n in names if "token" in n])
    evaluation.model = tmp_path / "model"
    cause, hint = evaluation.refusal()
    assert cause.startswith(f"The tokenizer of {evaluation.model} cannot be loaded: ")
    assert "tokenizer.save_pretrained()" in hint


def test_a_bad_line_is_told_before_anything_is_started(evaluation: Evaluation) -> None:
    evaluation.scenarios.write_text('{"id": "a", "prompt": "Hi"}\n{"id": "a", "prompt": "Hi"}\n')
    assert "line 2: the id 'a' is also on line 1" in evaluation.refusal()[0]
    assert not evaluation.output.exists()


@pytest.mark.seed
def test_an_installation_with_the_defect_is_patched_in_memory(seed_python: Path, tmp_path: Path) -> None:
    """Where generate() fails on MPS, under the rules of torch 2.1."""
    model = tmp_path / "model"
    subprocess.run([seed_python, SAVE, model], check=True, capture_output=True)
    (source,) = seed_python.parent.parent.glob("lib/python*/site-packages/transformers/pytorch_utils.py")
    before = source.read_bytes()
    evaluation = Evaluation(seed_python, model, tmp_path)
    evaluation.run("--batch-size", "7")
    report = evaluation.report()
    assert (report["patched"], report["agreement"]["mps"]["share"]) == ("in memory", 1)
    assert source.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--devices", "cpu,tpu"), "'tpu' is not a device. The devices are cpu, mps, cuda, separated by commas."),
        (("--devices", "cpu,cpu"), "'cpu,cpu' names the same device twice."),
        (("--repeat", "0"), "'0' is not a whole number of 1 or more."),
    ],
)
def test_a_wrong_command_line(evaluation: Evaluation, words: tuple[str, ...], cause: str) -> None:
    assert evaluation.refusal(*words, code=2)[0] == f"Invalid value for '{words[0]}': {cause}"

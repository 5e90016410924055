"""What the terminal shows of a report."""

from __future__ import annotations

from pathlib import Path

from evaluations import CPU, EMULATED, difference, options, output, row, simple_rows

from patcher.evaluation.summary import summarize
from patcher.evaluation.table import as_table

FOLDER = Path("results")


def test_two_real_devices() -> None:
    rows = simple_rows(3, batch_size=1)
    rows[1]["differences"]["cuda"] = difference("tie", 3)
    rows[2]["differences"]["cuda"] = difference("fault", 1)
    assert as_table(summarize(options(4, batch_size=1), rows), FOLDER) == (
        "/models/small: 3 of 4 scenarios\n"
        "  greedy search, float32, batches of 1, at most 8 new tokens\n"
        "  cpu: Some CPU\n"
        "  cuda: Some GPU\n"
        "\n"
        "        scenarios/s (p10 - p90)  tokens/s (p10 - p90)  latency p50, p90  peak memory  exact match\n"
        "  cpu   0.5 (0.5 - 0.5)          2 (2 - 2)             2 s, 2 s          0 MB         -\n"
        "  cuda  2 (2 - 2)                8 (8 - 8)             0.5 s, 0.5 s      0 MB         -\n"
        "\n"
        "  cuda: the same tokens as cpu in 1 of 3 scenarios\n"
        "    ties: 1, where rounding decided between two tokens\n"
        "    FAULTS: 1, where one device clearly preferred another token, so one is wrong\n"
        "  cuda: 4 times the scenarios per second of cpu (the median over the batches)\n"
        "  results and report: results"
    )


def test_an_emulated_device_is_called_so_and_has_no_rates() -> None:
    outputs = {"cpu": output(4, 2.0, exact=True), "mps": output(4, 0.5, exact=False)}
    shown = as_table(summarize(options(1, devices=[CPU, EMULATED]), [row(0, 0, outputs)]), FOLDER)
    (line,) = (line for line in shown.splitlines() if line.startswith("  mps (emulated)  "))
    assert line.split() == ["mps", "(emulated)", "-", "-", "-", "-", "0", "of", "1"]
    assert "  mps (emulated): the same tokens as cpu in 1 of 1 scenarios\n" in shown
    assert "\n  The MPS device was emulated on the CPU, which says nothing about the speed of MPS.\n" in shown
    assert "times the scenarios" not in shown


def test_sampling_is_not_compared() -> None:
    shown = as_table(summarize(options(2, seed=7), simple_rows(2)), FOLDER)
    assert "sampling with seed 7" in shown
    assert "cuda: not compared with cpu, because each device samples with its own random generator" in shown


def test_nothing_done() -> None:
    shown = as_table(summarize(options(2), []), FOLDER)
    assert shown.startswith("/models/small: 0 of 2 scenarios\n")

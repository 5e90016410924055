"""The answer in a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import CPU, CUDA, EMULATED, difference, differing, options, output, row, simple_rows

from patcher.evaluation import words
from patcher.evaluation.summary import summarize


def headline(rows: list[dict[str, Any]], /, **changes: Any) -> str:
    return words.headline(summarize(options(**{"rows": len(rows), **changes}), rows))


def test_the_same_and_faster() -> None:
    assert headline(simple_rows(4)) == "cuda gives the same tokens as cpu in 4 of 4 scenarios, and is 4 times as fast"


def test_ties_and_faults_are_told_apart() -> None:
    rows = simple_rows(6)
    rows[1] = differing(1, "tie")
    assert headline(rows) == "cuda gives the same tokens as cpu in 5 of 6 scenarios (1 tie), and is 4 times as fast"
    rows[2] = differing(2, "fault")
    told = "cuda differs from cpu in 2 of 6 scenarios, 1 fault among them, and is 4 times as fast"
    assert headline(rows) == told
    assert words.faults(summarize(options(6), rows[:2])) is None
    assert str(words.faults(summarize(options(6), rows))).startswith("1 fault: ")


def test_of_an_emulated_device_no_speed() -> None:
    rows = [row(0, 0, {"cpu": output(4, 2.0), "mps": output(4, 0.5)})]
    told = "mps gives the same tokens as cpu in 1 of 1 scenarios, on an emulated MPS device, so speed is not reported"
    assert headline(rows, devices=[CPU, EMULATED]) == told


def test_each_of_three_devices() -> None:
    rows = [row(0, 0, {"cpu": output(4, 2.0), "cuda": output(4, 0.5), "mps": output(4, 1.0)})]
    rows[0]["differences"]["mps"] = difference("fault", 0)
    told = (
        "cuda gives the same tokens as cpu in 1 of 1 scenarios, and is 4 times as fast; mps differs from cpu in 1 of 1"
    )
    assert headline(rows, devices=[CPU, CUDA, EMULATED]).startswith(told)


@pytest.mark.parametrize(
    ("rows", "changes", "told"),
    [
        (0, {"rows": 5}, "No scenario is finished"),
        (
            2,
            {"rows": 5},
            "Incomplete, 2 of 5 scenarios are done: cuda gives the same tokens as cpu in 2 of 2 scenarios, and ",
        ),
        (2, {"seed": 1}, "cuda is not compared with cpu, because both sampled, and is 4 times as fast"),
        (4, {"devices": [CPU]}, "cpu did 4 scenarios, 1 a second"),
    ],
)
def test_what_else_there_may_be(rows: int, changes: dict[str, Any], told: str) -> None:
    assert headline(simple_rows(rows), **changes).startswith(told)


def test_tokens_and_control_characters_are_visible() -> None:
    assert words.quoted(" a\n\u202e") == r'" a\n\u202e"'
    assert words.quoted("") == "(end)"
    assert words.visible("a\tb\n\x00\r\x1b\x7f") == "a\tb\n␀␍␛␡"

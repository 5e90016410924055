"""The options of evaluate, and what they become."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from command import run_here

from patcher.evaluation.options import EvaluateOptions
from patcher.evaluation_options import evaluate_options

OPTIONS = (
    "--model", "--scenarios", "--devices", "--max-new-tokens", "--batch-size", "--dtype", "--warmup", "--repeat",
    "--seed", "--output", "--resume", "--python", "--lock-timeout", "--quiet", "--color",
)  # fmt: skip


def parsed(*words: str) -> tuple[EvaluateOptions, dict[str, object]]:
    found: list[tuple[EvaluateOptions, dict[str, object]]] = []

    @click.command()
    @evaluate_options
    def command(evaluation: EvaluateOptions, **others: object) -> None:
        found.append((evaluation, others))

    from patcher.options import OutputOptions

    words = ("--model", "m", "--scenarios", "s.jsonl", *words)
    CliRunner().invoke(command, words, obj=OutputOptions("evaluate", json=False), catch_exceptions=False)
    return found[0]


def test_the_defaults() -> None:
    assert parsed() == (
        EvaluateOptions(model="m", scenarios=Path("s.jsonl"), output=Path("mps-patcher-evaluation")),
        {"python": None, "lock_timeout": 30},
    )


@pytest.mark.parametrize(
    ("words", "name", "value"),
    [
        (("--devices", "mps,cpu"), "devices", ("mps", "cpu")),
        (("--dtype", "auto"), "dtype", "float32"),
        (("--dtype", "bfloat16"), "dtype", "bfloat16"),
        (("--seed", "0"), "seed", 0),
        (("--resume",), "resume", True),
        (("--warmup", "0"), "warmup", 0),
    ],
)
def test_what_is_said(words: tuple[str, ...], name: str, value: object) -> None:
    assert getattr(parsed(*words)[0], name) == value


def test_the_help_has_every_option() -> None:
    code, shown = run_here("evaluate", "-h")
    assert code == 0
    assert [option for option in OPTIONS if option not in shown] == []

"""report.md: what GitHub would make of it, as far as that is decided by fences, ticks and pipes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest
from evaluations import CPU, EMULATED, HOSTILE, differing, hostile_rows, options, output, row, simple_rows

from patcher.evaluation import markdown
from patcher.evaluation.details import read_details
from patcher.evaluation.summary import summarize


def made(rows: list[dict[str, Any]], /, **changes: Any) -> str:
    report = summarize(options(**{"rows": len(rows), **changes}), rows)
    return markdown.as_markdown(report, read_details(report, rows))


def outside_of_fences(text: str) -> list[str]:
    """The lines that are Markdown; a fence is closed by as many ticks, and all are closed at the end."""
    lines, fence = [], ""
    for line in text.splitlines():
        ticks = re.match("`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif ticks:
            fence = ticks[0]
        else:
            lines.append(line)
    assert not fence
    return lines


def test_a_whole_report() -> None:
    rows = [differing(0, "tie"), differing(4, "fault", prompt="Hi", expected="Ho")]
    assert made(rows, rows=3, repeat=2) == (
        "# Incomplete, 2 of 3 scenarios are done: cuda differs from cpu in 2 of 2 scenarios, 1 fault among them, and "
        "is 4 times as fast\n"
        "\n"
        "/models/small: 2 of 3 scenarios, greedy search, float32, batches of 2, at most 8 new tokens\n"
        "\n"
        "**1 fault: one device clearly preferred another token, so one of the two is wrong.**\n"
        "\n"
        "|  | cpu | cuda |\n"
        "|---|---|---|\n"
        "| scenarios/s (p10 - p90) | 0.5 (0.5 - 0.5) | 2 (2 - 2) |\n"
        "| tokens/s (p10 - p90) | 2 (2 - 2) | 8 (8 - 8) |\n"
        "| latency p50, p90 | 2 s, 2 s | 0.5 s, 0.5 s |\n"
        "| peak memory | 0 MB | 0 MB |\n"
        "\n"
        "- cuda: the same tokens as cpu in 0 of 2 scenarios\n"
        "  - ties: 1, where rounding decided between two tokens\n"
        "  - FAULTS: 1, where one device clearly preferred another token, so one is wrong\n"
        "- cuda: 4 times the scenarios per second of cpu (the median over the batches)\n"
        "\n"
        "## Differing scenarios\n"
        "\n"
        "2 differences, faults before ties; results.jsonl has the full outputs.\n"
        "\n"
        "The first differing token is between ⟦ and ⟧.\n"
        "\n"
        "### Fault: `s4`\n"
        "\n"
        "```text\nHi\n```\n"
        "\n"
        "Expected:\n"
        "\n"
        "```text\nHo\n```\n"
        "\n"
        "cpu:\n"
        "\n"
        "```text\na⟦x⟧\n```\n"
        "\n"
        "cuda:\n"
        "\n"
        "```text\na⟦y⟧\n```\n"
        "\n"
        "Token 2 is the first to differ.\n"
        "\n"
        '| score on | \u2068"x"\u2069 (cpu) | \u2068"y"\u2069 (cuda) | distance |\n'
        "|---|---|---|---|\n"
        "| cpu | 1.5000 | 1.0000 | 0.5 |\n"
        "| cuda | 1.0000 | 1.5000 | 0.5 |\n"
        "\n"
        "### Tie: `s0`\n"
        "\n"
        "```text\nHello\n```\n"
        "\n"
        "cpu:\n"
        "\n"
        "```text\na⟦x⟧\n```\n"
        "\n"
        "cuda:\n"
        "\n"
        "```text\na⟦y⟧\n```\n"
        "\n"
        "Token 2 is the first to differ.\n"
        "\n"
        '| score on | \u2068"x"\u2069 (cpu) | \u2068"y"\u2069 (cuda) | distance |\n'
        "|---|---|---|---|\n"
        "| cpu | 1.5000 | 1.0000 | 0.5 |\n"
        "| cuda | 1.0000 | 1.5000 | 0.5 |\n"
        "\n"
        "## What was run\n"
        "\n"
        "|  |  |\n"
        "|---|---|\n"
        "| model | /models/small |\n"
        "| scenarios | 2 of 3, of /data/scenarios.jsonl |\n"
        "| settings | greedy search, float32, batches of 2, at most 8 new tokens |\n"
        "| timed | each batch 2 times, after 1 scenario to warm up |\n"
        "| cpu | Some CPU |\n"
        "| cuda | Some GPU |\n"
        "| python | 3.11.9 |\n"
        "| torch | 2.13.0 |\n"
        "| transformers | 4.45.1 |\n"
        "| platform | Linux |\n"
        "| patches | in memory |\n"
        "| mps-patcher | 1.0.0 |\n"
    )


def test_what_comes_from_the_results_is_code_or_escaped() -> None:
    lines = outside_of_fences(made(hostile_rows(), model="/models/<b>*a*|b"))
    bare = [re.sub(r"(`+).+?(?<!`)\1(?!`)|\\.", "", line) for line in lines]
    assert not [line for line in bare if "<" in line or "`" in line or "*a" in line]
    for line, following in pairwise(bare):
        if line.startswith("|") and following.startswith("|"):
            assert line.count("|") == following.count("|")
    assert "犬" in made(hostile_rows())
    assert "البحر" in made(hostile_rows())


def test_a_fence_is_longer_than_the_ticks_in_it() -> None:
    first, *_, last = markdown.fence(HOSTILE + "````")
    assert (first, last) == ("`````text", "`````")


@pytest.mark.parametrize(
    ("text", "shown"), [("a", "`a`"), ("a`", "`` a` ``"), ("a``b", "```a``b```"), (" a", "`  a `"), ("a\nb", r"`a\nb`")]
)
def test_code_in_a_line(text: str, shown: str) -> None:
    assert markdown.code(text) == shown


def test_an_emulated_device_has_no_rates() -> None:
    rows = [row(0, 0, {"cpu": output(4, 2.0, exact=True), "mps": output(4, 0.5, exact=True)})]
    text = made(rows, devices=[CPU, EMULATED])
    assert "\n|  | cpu | mps (emulated) |\n" in text
    assert "\n| tokens/s (p10 - p90) | 2 (2 - 2) | - |\n" in text
    assert text.count("says nothing about the speed of MPS") == 1
    assert "times the scenarios" not in text


def test_many_differences_are_not_all_shown() -> None:
    text = made([differing(index, "tie") for index in range(10_000)])
    assert "The first 100 of 10,000, faults before ties; results.jsonl has all of them." in text
    assert text.count("\n### ") == 100


def test_nothing_to_show() -> None:
    assert "None: the devices gave the same tokens in every scenario." in made(simple_rows(2))
    assert "were not compared" in made(simple_rows(2), seed=1)
    assert "were not compared" in made([], rows=2)

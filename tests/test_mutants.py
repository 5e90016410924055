"""What is counted of the mutants, and that no reason for one outlives its line."""

from __future__ import annotations

from pathlib import Path

import mutants
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("told", mutants.Reasons.read().told, ids=lambda told: f"{told['file']} {told['function']}")
def test_every_reason_is_of_a_line_that_is_there(told: dict[str, str]) -> None:
    lines = {line.strip() for line in (ROOT / told["file"]).read_text("utf-8").splitlines()}
    assert told["line"] in lines | {"*"}
    assert told["function"].rpartition(".")[2] in "\n".join(lines)
    assert told.get("becomes") != told["line"]
    assert told["why"] != mutants.Reasons.NONE


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('raise E("code", "a few words")', 'raise E("code", "XXa few wordsXX")'),
        ('x.encode("ascii")', 'x.encode("ASCII")'),
        ("zip(a, b, strict=False)", "zip(a, b)"),
    ],
)
def test_what_says_the_same_is_not_counted(one: str, other: str) -> None:
    assert mutants._wordless([one]) == mutants._wordless([other])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('raise E("code", "a few words")', 'raise E("codes", "a few words")'),
        ('x = "a"', 'x = "A"'),
        ("zip(a, b, strict=True)", "zip(a, b)"),
        ('f("a few words", 1)', 'f("a few words", 2)'),
    ],
)
def test_what_says_something_else_is_counted(one: str, other: str) -> None:
    assert mutants._wordless([one]) != mutants._wordless([other])


def test_a_reason_is_of_its_own_line_alone() -> None:
    told = {"file": "a.py", "function": "f", "line": "x = 1", "becomes": "x = 2", "why": "because"}
    reasons = mutants.Reasons([told])

    def why(path: str, function: str, line: str, becomes: str) -> str:
        one = mutants.Mutant(name="", function=function, line=line, becomes=becomes, span=(1, 2), only_words=False)
        return reasons.why(path, one)

    assert why("a.py", "f", "x = 1", "x = 2") == "because"
    for other in (("b.py", "f", "x = 1", "x = 2"), ("a.py", "g", "x = 1", "x = 2"), ("a.py", "f", "x = 2", "x = 2")):
        assert why(*other) == "not looked at"
    assert why("a.py", "f", "x = 1", "x = None") == "not looked at"

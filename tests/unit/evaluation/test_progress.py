"""How far it is: a line now and then in a pipe, a bar on a terminal."""

from __future__ import annotations

import re

import pytest

from patcher.evaluation.progress import BarProgress, LineProgress, Progress, choose_progress


def run(shown: Progress, done: int, total: int) -> None:
    shown.stage("loading the model")
    shown.note("A note.")
    shown.start(done, total)
    for number in range(done, total):
        shown.update(number + 1)
    shown.stop()


def lines(done: int, total: int, seconds: float) -> list[str]:
    """What is shown where each scenario takes so many seconds."""
    said: list[str] = []
    now = iter(range(10**9))
    run(LineProgress(said.append, lambda: next(now) * seconds), done, total)
    return said


def test_a_line_now_and_then() -> None:
    assert lines(0, 90, 1.0) == [
        "Loading the model.",
        "A note.",
        "90 scenarios.",
        "30 of 90 scenarios, 1 a second, 1 min left.",
        "60 of 90 scenarios, 1 a second, 30 s left.",
        "90 of 90 scenarios, 1 a second.",
    ]


def test_a_hundred_thousand_scenarios_are_few_lines() -> None:
    assert len(lines(0, 100_000, 0.01)) == 3 + 1000 // 30 + 1


def test_what_was_done_before_does_not_count_for_the_rate() -> None:
    assert lines(1000, 1040, 1.0)[2:] == [
        "1,000 of 1,040 scenarios are done.",
        "1,030 of 1,040 scenarios, 1 a second, 10 s left.",
        "1,040 of 1,040 scenarios, 1 a second.",
    ]


def test_the_bar_says_all_of_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("FORCE_COLOR", "1"), ("TERM", "xterm"), ("COLUMNS", "100")):
        monkeypatch.setenv(name, value)  # so rich takes this for a terminal
    run(BarProgress(), 2, 5)
    out, err = capsys.readouterr()
    assert out == ""
    assert "A note." in err
    assert "5/5" in re.sub(r"\x1b\[[\d;]*m", "", err)


def test_which_is_shown_where(monkeypatch: pytest.MonkeyPatch) -> None:
    bar = choose_progress(print, quiet=False, terminal=True)
    bar.stop()
    assert type(bar) is BarProgress
    assert type(choose_progress(print, quiet=False, terminal=False)) is LineProgress
    assert type(choose_progress(print, quiet=True, terminal=True)) is Progress
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)  # as where rich is not installed
    assert type(choose_progress(print, quiet=False, terminal=True)) is LineProgress


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run(choose_progress(print, quiet=True, terminal=True), 0, 3)
    assert capsys.readouterr() == ("", "")

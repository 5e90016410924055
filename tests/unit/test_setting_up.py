"""The command setup, from its words to its exit code."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command import results_here, run_here
from engine import Env

SET_UP = "The hook is set up. It applies the patches at the next start of Python, and after each reinstall."


def test_it_sets_up_checks_and_removes(one: Env) -> None:
    site = str(one.target.site_packages)
    found = []
    for words in (["--check"], [], [], ["--check"], ["--remove"], ["--remove"]):
        [result] = results_here("setup", "--site-packages", site, *words)
        error = result["error"] and result["error"]["code"]
        found.append((error, result["changed"], result["note"]))
        assert result["target"]["site_packages"] == site
    assert found == [
        ("no-hook", False, None),
        (None, True, SET_UP),
        (None, False, "The hook is already set up."),
        (None, False, "The hook is set up."),
        (None, True, "The hook is removed; the patches stay."),
        (None, False, "There is no hook."),
    ]


def test_each_target_has_a_line_and_one_that_fails_stops_no_other(
    one: Env, unpacked: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = one.target.site_packages, unpacked("4.46.3")
    where = [f"--site-packages={folder}" for folder in (first, tmp_path, second)]
    code, said = run_here("setup", *where)
    assert code == 3
    assert [line.partition(": ")[0] for line in said.splitlines()] == [str(first), str(second)]
    assert capsys.readouterr().err.startswith(f"error: There is no transformers in {tmp_path} (")
    assert [result["error"] for result in results_here("setup", "--check", *where)][::2] == [None, None]
    assert run_here("setup", "--remove", where[0], where[2])[0] == 0
    assert run_here("setup", "--check", where[0], where[2])[0] == 1


def test_a_line_break_in_a_name_breaks_no_line(one: Env) -> None:
    site = one.target.site_packages.parent.rename(one.target.site_packages.parents[1] / "two\nlines") / "site-packages"
    code, said = run_here("setup", f"--site-packages={site}")
    assert (code, said.splitlines()) == (0, [f"{site}: {SET_UP}".replace("\n", "\\n")])


def test_quiet_says_nothing(one: Env) -> None:
    assert run_here("setup", "-q", f"--site-packages={one.target.site_packages}") == (0, "")


@pytest.mark.parametrize("words", [["--check", "--remove"], ["direct_isin"]], ids=" ".join)
def test_wrong_words(one: Env, words: list[str]) -> None:
    assert run_here("setup", *words, f"--site-packages={one.target.site_packages}", "--json")[0] == 2
    assert not list(one.target.site_packages.glob("*hook*"))

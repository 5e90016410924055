"""The help: headings, examples that are right, exit codes, and no line beyond the terminal."""

from __future__ import annotations

import re
import shlex

import pytest
from click.testing import CliRunner

from patcher import cli, help_text
from patcher.catalogue import load_catalogue

COMMANDS = [name for name, command in cli.program.commands.items() if not command.hidden]


def told(*arguments: str) -> str:
    """The help that a command line prints, at 80 columns."""
    result = CliRunner().invoke(cli.program, list(arguments), prog_name="mps-patcher")
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def sections(text: str) -> list[str]:
    return re.findall(r"^([A-Z][A-Za-z ]+):$", text, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_it_all(command: str) -> None:
    found = sections(told(command, "-h"))
    expected = ["Patches", "Options", "Target options", "Global options", "Examples", "Exit codes"]
    assert found == [one for one in expected if one in found]
    assert found[-3:] == ["Global options", "Examples", "Exit codes"]


def test_of_the_program() -> None:
    text = told("-h")
    assert sections(text) == ["Commands", "Global options", "Examples", "Exit codes"]
    listed = re.findall(r"^  (\w+) ", text.partition("Commands:\n")[2].partition("\n\n")[0], re.MULTILINE)
    assert listed == COMMANDS
    assert "..." not in text.partition("Commands:\n")[2]
    assert text.endswith('\neval "$(_MPS_PATCHER_COMPLETE=zsh_source mps-patcher)"\n')


@pytest.mark.parametrize("command", ["status", "apply", "verify", "revert", "run"])
def test_the_patches_are_named(command: str) -> None:
    for patch in load_catalogue():
        assert f"\n  {patch.name} " in told(command, "-h")


@pytest.mark.parametrize("command", ["status", "apply", "verify", "revert"])
def test_options_stand_where_they_belong(command: str) -> None:
    text = told(command, "-h")
    target, everywhere = text.index("\nTarget options:"), text.index("\nGlobal options:")
    for option in ("--python", "--site-packages", "--under", "--lock-timeout"):
        assert target < text.index(f"\n  {option}") < everywhere
    for option in ("--json", "-q, --quiet", "-v, --verbose", "--color", "-V, --version", "-h, --help"):
        assert everywhere < text.index(f"\n  {option}")


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_it_fits_the_terminal(command: str | None, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = help_text.show_help(cli.program.make_context("mps-patcher", ["status"]), command).splitlines()
    whole = [line for line in lines if re.match(r' *(mps-patcher|eval "\$\(_MPS)', line)]  # what is typed is not broken
    assert max(len(line) for line in lines if line not in whole) <= max(
        41, min(columns, 100)
    )  # 41: the names of the dtypes
    assert max(map(len, whole)) <= max(columns, 76)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_as_a_command(command: str) -> None:
    assert told("help", command) == told(command, "-h")
    assert told("help") == told("-h")


def test_the_bare_program_shows_it_and_is_wrong() -> None:
    """As with uv and ruff: a script whose command is empty must not go on."""
    result = CliRunner().invoke(cli.program, [], prog_name="mps-patcher")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", told("-h"))


EXAMPLES = [example for rows in help_text._EXAMPLES.values() for example, _ in rows]


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_a_right_command_line(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    for name, command in cli.program.commands.items():
        monkeypatch.setattr(command, "callback", lambda command=name, **_: called.append(command))
    tool, name, *words = shlex.split(example)
    result = CliRunner().invoke(cli.program, [name, *words], prog_name=tool)
    assert (tool, result.exit_code, called) == ("mps-patcher", 0, [name]), result.output


def test_every_command_has_examples_and_exit_codes() -> None:
    assert set(help_text._EXAMPLES) == set(help_text._EXIT_CODES) == {"mps-patcher", *COMMANDS}

"""The manual page."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click

from patcher.cli import program

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "mps-patcher.1").read_text("utf-8")


def test_the_page_is_what_the_help_says() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "man_page.py")]
    assert subprocess.run(command, capture_output=True, check=True).stdout.decode() == PAGE, "run `make man`"


def test_the_page_has_every_command_and_option() -> None:
    context = click.Context(program, **program.context_settings)
    sections = dict(section.split("\n", 1) for section in PAGE.split("\n.SH ")[1:])
    for name, command in program.commands.items():
        if command.hidden:
            continue
        options = [option for item in command.get_params(context) for option in item.opts if option.startswith("--")]
        assert not [option for option in options if option.replace("-", "\\-") not in sections[name.upper()]]


def test_no_text_of_the_help_is_a_request_of_roff() -> None:
    requests = {line.split()[0] for line in PAGE.splitlines() if line.startswith((".", "'"))}
    assert requests == {".TH", ".SH", ".SS", ".PP", ".TP", ".B", ".nf", ".fi"}

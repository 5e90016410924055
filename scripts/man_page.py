"""Prints the manual page, docs/mps-patcher.1, made from the help of the commands."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from patcher import __version__
from patcher.cli import program

SUMMARY = "repair the membership test of transformers for Apple GPUs"


class RoffFormatter(click.HelpFormatter):
    """What click makes the help with, but in the language of man: what the help shows is what the page shows."""

    def __init__(self) -> None:
        super().__init__(width=10_000)  # man wraps

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """The command line, as the first paragraph."""
        del prefix
        self.write(f".PP\n.B {escaped(prog)}\n{escaped(args)}\n")

    def write_heading(self, heading: str) -> None:
        """The heading of a section."""
        self.write(f".SS {escaped(heading)}\n")

    def write_paragraph(self) -> None:
        """The gap before a paragraph, which every paragraph here brings along."""

    def write_text(self, text: str) -> None:
        """Paragraphs; one that begins with the mark `\\b` keeps its lines."""
        for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
            first, _, rest = paragraph.strip().partition("\n")
            text = f".nf\n{escaped(rest)}\n.fi" if first == "\b" else filled(paragraph)
            self.write(f".PP\n{text}\n")

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """A list of terms, each with its text."""
        del col_max, col_spacing
        for term, text in rows:
            self.write(f".TP\n.B {escaped(term)}\n{filled(text)}\n")

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """A heading and what stands below it."""
        self.write_heading(name)
        yield

    @contextmanager
    def indentation(self) -> Iterator[None]:
        """Nothing: man indents."""
        yield


def filled(text: str) -> str:
    """A paragraph of roff, in lines of 80 columns."""
    return escaped(textwrap.fill(" ".join(text.split()), 76, break_on_hyphens=False, break_long_words=False))


def escaped(text: str) -> str:
    """The text, safe from roff: a hyphen stays the one that can be pasted, and no line is a request."""
    text = text.replace("\\", r"\e").replace("-", r"\-").replace('"', r"\(dq")
    return re.sub(r"(?m)^(?=[.'])", r"\\&", text)


def help_of(command: click.Command, context: click.Context) -> str:
    """The help of a command in roff."""
    formatter = RoffFormatter()
    command.format_help(context, formatter)
    return formatter.getvalue()


def page() -> str:
    """The whole page: the help of the program, then of each command in the order of use."""
    context = click.Context(program, info_name="mps-patcher", **program.context_settings)
    parts = [
        f'.TH MPS\\-PATCHER 1 "" "mps\\-patcher {__version__}" "User Commands"\n',
        f".SH NAME\nmps\\-patcher \\- {escaped(SUMMARY)}\n",
        f".SH DESCRIPTION\n{help_of(program, context)}",
    ]
    for name, command in program.commands.items():
        if not command.hidden:
            inner = click.Context(command, info_name=name, parent=context)
            parts.append(f".SH {escaped(name.upper())}\n{help_of(command, inner)}")
    return re.sub(r"(?m)^(\.SH .*\n)\.PP\n", r"\1", "".join(parts))


if __name__ == "__main__":
    print(page(), end="")

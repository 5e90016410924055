"""Text for a terminal: colours, widths and wrapping. Prints nothing.

The text carries ANSI colours; whoever prints it strips them where they are not wanted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple, TextIO

from patcher.errors import one_line
from patcher.model import State

COLORS = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "bold": 1, "dim": 2}
STATE_COLORS = {State.PATCHED: "green", State.MODIFIED: "red", State.ABSENT: "dim"}
"""Others are yellow."""
WIDEST = 110
"""Longer lines are hard to read, however wide the terminal is."""
NARROWEST_COLUMN = 30
"""A column that would be narrower is put below what stands before it."""
_COMMAND = re.compile(r"`[^`]*`")
_SPACE = "\x00"
"""Stands for a space that no line may be broken at; no text holds it, since one_line makes it visible."""


class TextStyle(NamedTuple):
    """How a text is laid out."""

    verbose: bool = False
    """Also files and digests."""
    width: int | None = None
    """Columns to wrap sentences at; None leaves lines whole, which is right for pipes."""
    is_unfinished: bool = False
    """Whether more checks of the last target follow: the text ends with the last of those it has."""


def stream_width(stream: TextIO | None) -> int | None:
    """The columns to wrap at on that stream; None where it is no terminal."""
    if not (stream and stream.isatty()):
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return min(int(columns), WIDEST)
    try:
        return min(os.get_terminal_size(stream.fileno()).columns or 80, WIDEST)
    except (OSError, ValueError):
        return 80


def paint(text: str, color: str) -> str:
    """The text in one of COLORS."""
    return f"\033[{COLORS[color]}m{text}\033[0m"


def wrap(text: str, width: int | None, *, whole: Iterable[str] = ()) -> list[str]:
    """The lines of a sentence, at least one; words, commands in backquotes and the texts of `whole` are not broken."""
    text = one_line(text)
    if width is None:
        return [text]
    import textwrap  # only a terminal needs it

    for kept in (*_COMMAND.findall(text), *whole):
        text = text.replace(kept, kept.replace(" ", _SPACE))
    lines = textwrap.wrap(text, max(width, 20), break_long_words=False, break_on_hyphens=False)
    return [line.replace(_SPACE, " ") for line in lines] or [""]


def sentence(text: str, style: TextStyle, indent: int = 2, *, whole: Iterable[str] = ()) -> Iterator[str]:
    """The lines of a sentence, each behind so many spaces."""
    width = None if style.width is None else style.width - indent
    return (f"{' ' * indent}{line}" for line in wrap(text, width, whole=whole))


def column(before: str, indent: int, details: Iterable[str], style: TextStyle) -> Iterator[str]:
    """A line that begins with `before`, which takes `indent` columns, and its details beside it.

    Where that would leave too little of a terminal's width, they stand below it.
    """
    is_narrow = style.width is not None and style.width - indent < NARROWEST_COLUMN
    at = 6 if is_narrow else indent
    lines = [line for detail in details for line in sentence(detail, style, at)] or [""]
    if is_narrow:
        yield before.rstrip()
        yield from (line.rstrip() for line in lines if line.strip())
    else:
        yield f"{before}{lines[0][at:]}".rstrip()
        yield from (line.rstrip() for line in lines[1:])

"""report.md: the report as GitHub renders it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from patcher.errors import one_line
from patcher.evaluation import words
from patcher.evaluation.details import Details, Differing

Document = dict[str, Any]


def as_markdown(report: Document, details: Details) -> str:
    """The text of report.md. What comes from the results is code, or escaped."""
    return "\n".join(_lines(report, details)) + "\n"


def _lines(report: Document, details: Details) -> Iterator[str]:
    yield from (f"# {words.headline(report)}", "", escape(words.subject(report)), "")
    if faults := words.faults(report):
        yield from (f"**{faults}**", "")
    yield from (*_table(words.device_table(report)), "")
    for device in report["devices"][1:]:
        yield from (_item(sentence) for sentence in words.comparison(report, device))
    if any(map(words.is_emulated, report["devices"])):
        yield f"- {words.EMULATED}"
    yield from ("", "## Differing scenarios", "", *_differences(report, details))
    yield from ("## What was run", "")
    yield from _table([("", ""), *((name, escape(value)) for name, value in words.conditions(report))])


def _differences(report: Document, details: Details) -> Iterator[str]:
    yield from (words.differences_told(report, details.differences, len(details.differing)), "")
    if details.differing:
        yield from ("The first differing token is between ⟦ and ⟧.", "")
    for differing in details.differing:
        yield from _differing(differing)


def _differing(differing: Differing) -> Iterator[str]:
    yield from (f"### {differing.kind.capitalize()}: {code(differing.id)}", "")
    yield from (*fence(words.visible(differing.prompt)), "")
    if differing.expected is not None:
        yield from ("Expected:", "", *fence(words.visible(differing.expected)), "")
    for side in differing.sides:
        text = f"{words.visible(side.before)}⟦{side.marked()}⟧{words.visible(side.after)}"
        yield from (f"{side.device}:", "", *fence(text), "")
    yield from (f"Token {differing.position + 1:,} is the first to differ.", "")
    (corner, *tokens, distance), *rows = differing.table()
    yield from (*_table([(corner, *map(escape, tokens), distance), *rows]), "")


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    head, *others = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    yield from (head, "|" + "---|" * len(rows[0]), *others)


def _item(sentence: str) -> str:
    text = sentence.lstrip()
    return f"{sentence[: len(sentence) - len(text)]}- {text}"


def escape(text: str) -> str:
    """The text without meaning to Markdown and HTML; pipes are left to the table."""
    return re.sub(r"([\\`*_\[\]<>#~&$])", r"\\\1", text)


def code(text: str) -> str:
    """The text as code inside a line."""
    ticks = "`" * (_longest_run(text) + 1)
    line = one_line(text)
    return (
        f"{ticks} {line} {ticks}" if line.startswith(("`", " ")) or line.endswith(("`", " ")) else ticks + line + ticks
    )


def fence(text: str) -> Iterator[str]:
    """The text as a block of code."""
    ticks = "`" * max(3, _longest_run(text) + 1)
    yield from (f"{ticks}text", text, ticks)


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)

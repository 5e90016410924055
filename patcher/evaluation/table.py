"""What report.json says, in some lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patcher.errors import one_line
from patcher.evaluation import words

Document = dict[str, Any]


def as_table(report: Document, folder: Path) -> str:
    """A table of the devices, a sentence for each comparison, and where all of it lies."""
    table = _columns([("", *words.HEAD), *_device_rows(report)])
    where = f"  results and report: {one_line(str(folder))}"
    return "\n".join([*_headline(report), "", *table, "", *_comparisons(report), where])


def _headline(report: Document) -> Iterator[str]:
    yield f"{one_line(report['model'])}: {words.done_of_all(report)} scenarios"
    yield f"  {words.settings(report)}"
    for device in report["devices"]:
        yield f"  {device['name']}: {one_line(device['label'])}"


def _device_rows(report: Document) -> Iterator[tuple[str, ...]]:
    for device in report["devices"]:
        yield (words.device_name(device), *words.device_cells(report["by_device"][device["name"]]))


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _comparisons(report: Document) -> Iterator[str]:
    for device in report["devices"][1:]:
        yield from (f"  {sentence}" for sentence in words.comparison(report, device))
    if any(map(words.is_emulated, report["devices"])):
        yield f"  {words.EMULATED}"

"""The reports that are made from a folder of results."""

from __future__ import annotations

from pathlib import Path

from patcher.evaluation.results import Document, read_options, read_rows, write_json
from patcher.evaluation.summary import summarize

REPORT = "report.json"


def write_reports(folder: Path) -> Document:
    """Writes every report of what the folder holds, complete or not, and returns the document of report.json."""
    report = summarize(read_options(folder), read_rows(folder))
    write_json(folder / REPORT, report)
    return report

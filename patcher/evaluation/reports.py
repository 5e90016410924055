"""The reports that are made from a folder of results."""

from __future__ import annotations

import json
from pathlib import Path

from patcher.evaluation.results import Document, read_options, read_rows
from patcher.evaluation.summary import summarize

REPORT = "report.json"


def write_reports(folder: Path) -> Document:
    """Writes every report of what the folder holds, complete or not, and returns the document of report.json."""
    report = summarize(read_options(folder), read_rows(folder))
    path = folder / REPORT
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(report, indent=2) + "\n", "utf-8")
    part.replace(path)
    return report

"""The reports that are made from a folder of results."""

from __future__ import annotations

from pathlib import Path

from patcher.evaluation.charts import draw_charts
from patcher.evaluation.details import read_details
from patcher.evaluation.markdown import as_markdown
from patcher.evaluation.page import as_page
from patcher.evaluation.results import Document, read_options, read_rows, write_json, write_text
from patcher.evaluation.summary import summarize

REPORT, MARKDOWN, PAGE = "report.json", "report.md", "report.html"


def write_reports(folder: Path) -> Document:
    """Writes every report of what the folder holds, complete or not, and returns the document of report.json.

    The results are read twice, line by line. Without matplotlib there is no report.html.
    """
    report = summarize(read_options(folder), read_rows(folder))
    write_json(folder / REPORT, report)
    details = read_details(report, read_rows(folder))
    write_text(folder / MARKDOWN, as_markdown(report, details))
    try:
        write_text(folder / PAGE, as_page(report, details, draw_charts(report, details)))
    except ImportError:
        (folder / PAGE).unlink(missing_ok=True)  # of fewer results, when matplotlib was here
    return report

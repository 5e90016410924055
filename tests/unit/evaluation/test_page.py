"""report.html, parsed; tests/integration/browser opens it."""

from __future__ import annotations

import re
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from evaluations import (
    CPU,
    EMULATED,
    HOSTILE,
    differing,
    hostile_rows,
    options,
    output,
    row,
    simple_rows,
    write_folder,
)

from patcher.evaluation.charts import draw_charts
from patcher.evaluation.details import read_details
from patcher.evaluation.page import as_page
from patcher.evaluation.reports import write_reports
from patcher.evaluation.summary import summarize
from patcher.evaluation.words import visible

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Page(HTMLParser):
    """The elements of a page, its text by element, and whether each is closed by its own end."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
            self.texts.setdefault(tag, []).append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in {*self._open}:
            self.texts[tag][-1] += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def made(rows: list[dict[str, Any]], /, **changes: Any) -> str:
    report = summarize(options(**{"rows": len(rows), **changes}), rows)
    details = read_details(report, rows)
    return as_page(report, details, draw_charts(report, details))


@pytest.fixture(scope="module")
def text() -> str:
    return made(hostile_rows(), rows=8)


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_the_answer_is_the_title_and_the_first_heading(page: Page) -> None:
    answer = (
        "Incomplete, 6 of 8 scenarios are done: cuda differs from cpu in 2 of 6 scenarios, 1 fault among them, and is"
    )
    assert page.texts["title"] == page.texts["h1"] == [f"{answer} 4 times as fast"]
    named = {
        attributes.get("name"): attributes["content"]
        for tag, attributes in page.elements
        if tag == "meta" and "content" in attributes
    }
    assert named["viewport"] == "width=device-width, initial-scale=1"
    assert ("html", {"lang": "en"}) in page.elements


def test_faults_stand_before_all_else(text: str) -> None:
    assert text.index('class="fault box"') < text.index("<h2>")
    assert text.index('<article class="fault">') < text.index('<article class="tie">')
    assert 'class="fault box"' not in made(simple_rows(2))


def test_what_comes_from_the_results_is_text(page: Page) -> None:
    assert page.count("script") == page.count("b") == page.count("i") == 0
    assert page.texts["pre"][0] == page.texts["pre"][1] == visible(HOSTILE)
    assert page.texts["pre"][2:4] == [visible(HOSTILE) + "<i>", visible(HOSTILE) + "``"]
    assert page.texts["mark"] == ["<i>", "``"] * 2


def test_nothing_is_loaded_from_anywhere(text: str, page: Page) -> None:
    references = {"src", "href", "xlink:href", "srcset", "data", "action", "poster"}
    found = [value for _, attributes in page.elements for name, value in attributes.items() if name in references]
    assert found
    assert not [value for value in found if not value.startswith("#")]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert page.count("style") == 1
    assert not re.search(r"@import|url\((?!#)|https?:", text)
    assert "default-src 'none'" in text


def test_every_id_is_there_once_and_every_reference_has_one(text: str, page: Page) -> None:
    ids = Counter(attributes["id"] for _, attributes in page.elements if "id" in attributes)
    assert {name for name, count in ids.items() if count > 1} == set()
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_charts_have_words_and_the_page_s_colors(text: str, page: Page) -> None:
    charts = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert [chart["aria-label"].partition(":")[0].partition(",")[0] for chart in charts] == [
        "Scenarios per second",
        "Tokens per second",
        "How many scenarios finished within a time. 10th",
        "Agreement with cpu",
    ]
    assert "cuda: 4 same, 1 tie, 1 fault." in charts[3]["aria-label"]
    drawn = re.findall(r"(?:fill|stroke): ([^;\"]+)", "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL)))
    assert {
        color for color in drawn if color not in ("none", "currentColor") and not color.startswith("var(--")
    } == set()
    variables = {color for color in drawn if color.startswith("var")}
    assert {"var(--device-1)", "var(--device-2)", "var(--same)", "var(--tie)", "var(--fault)"} <= variables
    style = page.texts["style"][0]
    for color in variables:
        assert style.count(f"{color[4:-1]}:") == 2, "one for light, one for dark"


def test_equal_results_make_an_equal_page(text: str) -> None:
    assert made(hostile_rows(), rows=8) == text


def test_an_emulated_device_has_no_rates() -> None:
    rows = [row(0, 0, {"cpu": output(4, 2.0), "mps": output(4, 0.125)})]
    text = made(rows, devices=[CPU, EMULATED])
    page = Page(text)
    labels = [attributes["aria-label"] for tag, attributes in page.elements if tag == "svg"]
    assert not [label for label in labels[:3] if "mps" in label]
    assert labels[3].endswith("mps (emulated): 1 same, 0 ties, 0 faults.")
    assert text.count("says nothing about the speed of MPS") == 1
    assert "var(--device-2)" not in "".join(re.findall(r"<svg.*?</svg>", text, re.DOTALL))


def test_many_differences_are_not_all_shown() -> None:
    text = made([differing(index, "tie", prompt="x" * 5000) for index in range(10_000)])
    assert Page(text).count("article") == 100
    assert "The first 100 of 10,000, faults before ties; results.jsonl has all of them." in text
    assert len(text) < 1e6


@pytest.mark.parametrize(
    ("rows", "changes", "charts"),
    [(0, {"rows": 5}, 0), (3, {"seed": 1}, 3), (3, {"devices": [CPU]}, 3)],
    ids=["nothing done", "sampling", "one device"],
)
def test_charts_are_left_out_where_there_is_nothing_to_show(rows: int, changes: dict[str, Any], charts: int) -> None:
    assert Page(made(simple_rows(rows), **changes)).count("svg") == charts


def test_the_user_s_matplotlibrc_changes_nothing(text: str) -> None:
    import matplotlib

    with matplotlib.rc_context({"text.usetex": True, "font.size": 40}):
        assert made(hostile_rows(), rows=8) == text
        assert matplotlib.rcParams["font.size"] == 40


def test_all_reports_are_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, hostile_rows())
    write_reports(folder)
    assert {path.name for path in folder.glob("report.*")} == {"report.json", "report.md", "report.html"}
    assert Page((folder / "report.html").read_text("utf-8")).count("article") == 2


def test_without_matplotlib_no_page_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path, hostile_rows())
    write_reports(folder)
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    (folder / "report.md").unlink()
    write_reports(folder)
    assert {path.name for path in folder.glob("report.*")} == {"report.json", "report.md"}

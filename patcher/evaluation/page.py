"""report.html: the report as a page that needs nothing else, and asks nothing of anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

from patcher.evaluation import words
from patcher.evaluation.charts import Chart
from patcher.evaluation.details import Details, Differing, Side

Document = dict[str, Any]
STYLE = Path(__file__).with_name("page.css")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The browser loads nothing and runs nothing, whatever a model wrote."""


def as_page(report: Document, details: Details, charts: Iterable[Chart]) -> str:
    """The text of report.html. What comes from the results is escaped."""
    return "\n".join((*_head(report), *_body(report, details, charts), "</html>", ""))


def _head(report: Document) -> Iterator[str]:
    yield from ("<!doctype html>", '<html lang="en">', "<head>", '<meta charset="utf-8">')
    yield f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(words.headline(report))}</title>"
    yield from ("<style>", STYLE.read_text("utf-8").rstrip(), "</style>", "</head>")


def _body(report: Document, details: Details, charts: Iterable[Chart]) -> Iterator[str]:
    yield from ("<body>", "<main>", f"<h1>{escape(words.headline(report))}</h1>")
    yield f'<p class="subject"><bdi>{escape(words.subject(report))}</bdi></p>'
    if faults := words.faults(report):
        yield f'<p class="fault box"><strong>{escape(faults)}</strong> <a href="#differing">See them below.</a></p>'
    yield from ("<section>", "<h2>Devices</h2>", *_table(words.device_table(report), "Devices"))
    yield from (*_comparisons(report), *_charts(charts), "</section>")
    yield from ('<section id="differing">', "<h2>Differing scenarios</h2>")
    yield f"<p>{escape(words.differences_told(report, details.differences, len(details.differing)))}</p>"
    for differing in details.differing:
        yield from _differing(differing)
    yield from ("</section>", "<section>", "<h2>What was run</h2>", "<dl>")
    yield from (
        f"<dt>{escape(name)}</dt><dd><bdi>{escape(value)}</bdi></dd>" for name, value in words.conditions(report)
    )
    yield from ("</dl>", "</section>", "</main>", "</body>")


def _comparisons(report: Document) -> Iterator[str]:
    sentences = [one for device in report["devices"][1:] for one in words.comparison(report, device)]
    if any(map(words.is_emulated, report["devices"])):
        sentences.append(words.EMULATED)
    if sentences:
        items = (f"<li{' class=more' if one.startswith(' ') else ''}>{escape(one.strip())}</li>" for one in sentences)
        yield from ("<ul>", *items, "</ul>")


def _charts(charts: Iterable[Chart]) -> Iterator[str]:
    yield '<div class="charts">'
    for chart in charts:
        svg = chart.svg.replace("<svg ", f'<svg role="img" aria-label="{escape(chart.text)}" ', 1)
        yield from (f'<figure id="{chart.name}">', f"<h3>{escape(chart.title)}</h3>", svg)
        yield from (f"<figcaption>{escape(chart.text)}</figcaption>", "</figure>")
    yield "</div>"


def _differing(differing: Differing) -> Iterator[str]:
    yield f'<article class="{differing.kind}">'
    yield f'<h3><span class="kind">{differing.kind}</span> <bdi>{_text(differing.id)}</bdi></h3>'
    yield from _block("prompt", _text(differing.prompt))
    if differing.expected is not None:
        yield from _block("expected", _text(differing.expected))
    yield '<div class="sides">'
    for side in differing.sides:
        yield from _block(side.device, _marked(side))
    yield from ("</div>", f"<p>Token {differing.position + 1:,} is the first to differ.</p>")
    yield from (*_table(differing.table(), "Scores"), "</article>")


def _block(label: str, content: str) -> Iterator[str]:
    yield f'<div><h4>{escape(label)}</h4><pre dir="auto" tabindex="0">{content}</pre></div>'


def _marked(side: Side) -> str:
    return f"{_text(side.before)}<mark>{escape(side.marked())}</mark>{_text(side.after)}"


def _text(text: str) -> str:
    return escape(words.visible(text))


def _table(rows: Sequence[Sequence[str]], label: str) -> Iterator[str]:
    """A table that scrolls by itself where it is wider than the page."""
    head, *others = rows
    yield f'<div class="scroll" role="region" aria-label="{escape(label)}" tabindex="0"><table>'
    yield "<thead><tr>" + "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head) + "</tr></thead>"
    yield "<tbody>"
    for name, *cells in others:
        yield (
            f'<tr><th scope="row">{escape(name)}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        )
    yield "</tbody></table></div>"

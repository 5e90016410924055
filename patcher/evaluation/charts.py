"""The charts of report.html, drawn by matplotlib, as SVG to stand inside a page.

A chart takes its colours from the page: text and axes are `currentColor`, the rest CSS variables. Text stays text.
Equal input gives equal bytes. Texts in a chart are ours, never a user's.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from patcher.evaluation.details import Details
from patcher.evaluation.words import counted, device_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Document = dict[str, Any]
WIDTH = 4.4
"""In inches of 72 units: so on a phone of 360 pixels a text of 12 units has about 11 pixels."""
TEXT, FAINT = "#010101", "#010102"
DEVICES, KINDS = ("#020201", "#020202", "#020203"), ("#030301", "#030302", "#030303")
PAGE = {
    TEXT: "currentColor",
    FAINT: "var(--faint)",
    **{color: f"var(--device-{number})" for number, color in enumerate(DEVICES, 1)},
    **dict(zip(KINDS, ("var(--same)", "var(--tie)", "var(--fault)"), strict=True)),
}
"""What each colour that matplotlib draws with becomes in the page."""
STYLE: dict[Any, object] = {
    "axes.edgecolor": FAINT, "axes.labelcolor": TEXT, "axes.spines.right": False, "axes.spines.top": False,
    "font.size": 12, "grid.color": FAINT, "grid.linewidth": 0.4, "svg.fonttype": "none",
    "svg.hashsalt": "mps-patcher", "text.color": TEXT, "xtick.color": FAINT, "xtick.labelcolor": TEXT,
    "ytick.color": FAINT, "ytick.labelcolor": TEXT, "legend.frameon": False, "axes.axisbelow": True,
}  # fmt: skip


class Chart(NamedTuple):
    """One chart."""

    name: str
    """Of its element in the page."""
    title: str
    text: str
    """The same in words."""
    svg: str


def draw_charts(report: Document, details: Details) -> Iterator[Chart]:
    """The charts that there are numbers for. Needs matplotlib."""
    rates = {
        device["name"]: report["by_device"][device["name"]]
        for device in report["devices"]
        if report["by_device"][device["name"]]["scenarios_per_second"]
    }
    colors = {device["name"]: color for device, color in zip(report["devices"], DEVICES, strict=False)}
    for what in ("scenarios", "tokens") if rates else ():
        yield _rate_chart({name: found[f"{what}_per_second"] for name, found in rates.items()}, what, colors)
    if details.percentiles:
        yield _latency_chart(details.percentiles, colors)
    judged = {
        device_name(device): found for device in report["devices"][1:] if (found := report["agreement"][device["name"]])
    }
    if judged:
        yield _agreement_chart(judged, report["devices"][0]["name"])


def _rate_chart(rates: dict[str, Document], what: str, colors: dict[str, str]) -> Chart:
    def draw(axes: Axes) -> None:
        for place, (name, rate) in enumerate(rates.items()):
            axes.barh(place, rate["median"], color=colors[name], height=0.6)
            axes.hlines(place, rate["p10"], rate["p90"], color=TEXT, linewidth=1.5)
            right = max(rate["median"], rate["p90"])
            axes.annotate(f"{rate['median']:.3g}", (right, place), (6, 0), textcoords="offset points", va="center")
        axes.margins(x=0.15)
        axes.set_xlim(left=0)
        axes.locator_params(axis="x", nbins=5)
        axes.set_xlabel(f"{what} per second")
        _name_rows(axes, list(rates))

    title = f"{what.capitalize()} per second"
    told = [f"{name} {rate['median']:.3g} ({rate['p10']:.3g} to {rate['p90']:.3g})" for name, rate in rates.items()]
    text = f"{title}, the median over the batches (10th to 90th percentile): {'; '.join(told)}."
    return Chart(f"rate-{what}", title, text, _svg(f"rate-{what}", 0.7 + 0.5 * len(rates), draw))


def _latency_chart(percentiles: dict[str, tuple[float, ...]], colors: dict[str, str]) -> Chart:
    def draw(axes: Axes) -> None:
        for name, dashes in zip(percentiles, ("-", "--", "-."), strict=False):
            found = percentiles[name]
            axes.plot((found[0], *found), (0, *range(101)), dashes, color=colors[name], linewidth=2, label=name)
        axes.set_xlabel("seconds")
        axes.set_ylabel("% of scenarios")
        axes.set_ylim(0, 102)
        axes.set_xlim(left=0)
        axes.grid(visible=True)
        axes.figure.legend(loc="outside upper left", ncols=3)

    told = [f"{name} {found[10]:.3g}, {found[50]:.3g}, {found[90]:.3g} s" for name, found in percentiles.items()]
    text = f"How many scenarios finished within a time. 10th, 50th and 90th percentile: {'; '.join(told)}."
    return Chart("latency", "Latency", text, _svg("latency", 3.0, draw))


def _agreement_chart(judged: dict[str, Document], first: str) -> Chart:
    def draw(axes: Axes) -> None:
        for place, found in enumerate(judged.values()):
            left = 0
            for number, kind, color in zip(_counts(found), ("same", "tie", "fault"), KINDS, strict=True):
                label = None if place else kind
                axes.barh(place, number, left=left, color=color, height=0.6, label=label)
                left += number
        axes.set_xlabel("scenarios")
        axes.margins(x=0)
        axes.locator_params(axis="x", nbins=5, integer=True)
        _name_rows(axes, list(judged))
        axes.figure.legend(loc="outside upper left", ncols=3)

    told = [f"{name}: {_told(*_counts(found))}" for name, found in judged.items()]
    title = f"Agreement with {first}"
    text = f"{title}, in scenarios: {'; '.join(told)}."
    return Chart("agreement", title, text, _svg("agreement", 1.1 + 0.5 * len(judged), draw))


def _told(same: int, ties: int, faults: int) -> str:
    return f"{same:,} same, {counted(ties, 'tie')}, {counted(faults, 'fault')}"


def _counts(found: Document) -> tuple[int, int, int]:
    return found["of"] - found["ties"] - found["faults"], found["ties"], found["faults"]


def _name_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def _svg(name: str, height: float, draw: Callable[[Axes], None]) -> str:
    """An svg element, `height` in inches; the ids in it begin with the name, so that no two charts share one."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update(STYLE)
        figure, written = Figure(figsize=(WIDTH, height), layout="constrained"), io.StringIO()
        draw(figure.add_subplot())
        figure.savefig(written, format="svg", transparent=True)
    svg = written.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</defs>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"| font-family: [^;"]*;', "", svg[svg.index("<svg") :])
    svg = re.sub(r'(?<= id="|ef="#)|(?<=url\(#)', f"{name}-", svg)
    return re.sub("#0[1-3]0[1-3]0[1-3]", lambda found: PAGE[found[0]], svg).strip()

"""report.html as headless Chromium shows it: at two widths, light and dark."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import browser
import pytest
from browser import Opened
from evaluations import CPU, CUDA, EMULATED, hostile_rows, output, row, write_folder

from patcher.evaluation.page import POLICY
from patcher.evaluation.reports import write_reports

pytestmark = pytest.mark.browser

PROBE = """() => {
  const luminance = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
      .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
  };
  const behind = (element) => {
    const color = element ? getComputedStyle(element).backgroundColor : "rgb(255, 255, 255)";
    return color.endsWith(", 0)") ? behind(element.parentElement) : color;
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const color = element instanceof SVGElement ? style.fill : style.color;
    const both = [luminance(color), luminance(behind(element))].sort((one, other) => other - one);
    return (both[0] + 0.05) / (both[1] + 0.05);
  };
  const hasText = (element) => [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const all = [...document.body.querySelectorAll("*")].filter((element) => !element.closest("script"));
  const texts = all.filter(hasText);
  const root = document.documentElement;
  return {
    width: innerWidth,
    scrolls: root.scrollWidth,
    background: behind(document.body),
    beyond: all.filter((element) => !element.closest(".scroll, pre, svg"))
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 0.5)
      .map((element) => element.outerHTML),
    faint: texts.filter((element) => contrast(element) < 4.5).map((element) => element.outerHTML),
    texts: texts.length,
    charts: [...document.querySelectorAll("svg")].map((chart) => {
      const drawn = chart.getBoundingClientRect();
      const letters = [...chart.querySelectorAll("text")].map((text) => text.getBoundingClientRect());
      return {
        width: drawn.width,
        height: drawn.height,
        letters: Math.min(...letters.map((letter) => letter.height)),
        outside: letters.filter((one) => one.left < drawn.left - 1 || one.right > drawn.right + 1).length,
      };
    }),
    sides: [...document.querySelectorAll(".sides")].map((one) => new Set([...one.children]
      .map((side) => side.getBoundingClientRect().top)).size),
    unwrapped: [...document.querySelectorAll("pre")].filter((text) => text.scrollWidth > text.clientWidth).length,
    loaded: performance.getEntriesByType("resource").map((entry) => entry.name),
  };
}"""
DARK, LIGHT = "rgb(20, 23, 27)", "rgb(255, 255, 255)"


@pytest.fixture(scope="session", autouse=True)
def chromium() -> None:
    browser.install_chromium()


def hostile(folder: Path) -> Path:
    """Both kinds of differences, and texts of all sorts; one word is too long for any line."""
    rows = hostile_rows()
    rows[0]["prompt"] += "\n" + "x" * 1500
    rows[1]["id"] = "y" * 300
    rows[1]["differences"]["cuda"]["reference"]["text"] = "w" * 300
    return write_folder(folder, rows, rows=8, model="/models/" + "z" * 200)


def three_devices(folder: Path) -> Path:
    """Rates of four digits and of thousandths."""
    seconds = {"cpu": 1234.5, "cuda": 0.00123, "mps": 1.0}
    outputs = {name: output(200, each, exact=True) for name, each in seconds.items()}
    return write_folder(folder, [row(index, index, outputs) for index in range(9)], devices=[CPU, CUDA, EMULATED])


def opened(folder: Path, tmp_path: Path, width: int, scheme: str, *, policy: str = "") -> Opened:
    """The report; by itself it forbids the script that looks at it."""
    write_reports(folder)
    page = (folder / "report.html").read_text("utf-8")
    assert page.count(POLICY) == 1
    changed = policy or POLICY + " 'unsafe-inline'; script-src 'unsafe-inline'"
    return browser.open_page(page.replace(POLICY, changed), tmp_path, width=width, scheme=scheme, probe=PROBE)


@pytest.mark.parametrize("make", [hostile, three_devices])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_report_is_readable(make: Any, scheme: str, width: int, tmp_path: Path) -> None:
    found, console = opened(make(tmp_path / "results"), tmp_path, width, scheme)
    assert found["width"] == width
    assert found["scrolls"] <= width
    assert found["beyond"] == []
    assert found["unwrapped"] == 0
    assert found["background"] == (DARK if scheme == "dark" else LIGHT)
    assert found["texts"] > 40
    assert found["faint"] == []
    assert len(found["charts"]) == 4
    for chart in found["charts"]:
        assert chart["width"] > 250
        assert chart["height"] > 60
        assert chart["letters"] > 10
        assert chart["outside"] == 0
    assert found["loaded"] == []
    assert console == []


@pytest.mark.parametrize(("width", "lines"), [(360, 2), (1280, 1)])
def test_outputs_stand_side_by_side_where_there_is_room(width: int, lines: int, tmp_path: Path) -> None:
    found, _ = opened(hostile(tmp_path / "results"), tmp_path, width, "light")
    assert found["sides"] == [lines, lines]


def test_the_page_s_policy_lets_no_script_run(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="Content Security Policy"):
        opened(hostile(tmp_path / "results"), tmp_path, 1280, "light", policy=POLICY)

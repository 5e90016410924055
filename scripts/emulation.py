"""Compare the table of kernels with what others say of MPS, and write docs/emulation.md.

    python scripts/emulation.py              write the page
    python scripts/emulation.py --check      exit 1 if the page is not what would be written

What it reads lies in scripts/evidence and in patcher/selftest/kernels.tsv: no network, no torch.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from patcher.selftest import kernels
from scripts.agreement import Compared, compare_lists, compare_reports
from scripts.mps_evidence import Listing, Report, read_listings, read_reasons

PAGE = ROOT / "docs" / "emulation.md"
TEXT = ROOT / "scripts" / "evidence" / "emulation.md"
UNEXPLAINED = "Not explained."
READ_FROM = {
    "2.2+": "a commit between the branches of 2.2 and 2.3",
    "2.6": "the sources of 2.6.0, as Debian packs them",
}
WHEEL = "the wheel"


def write_page() -> str:
    compared, reports = compare_lists(), compare_reports()
    differ = [one for one in compared if not one.agrees]
    parts = {
        "operators": f"{_count_operators():,}",
        "lists": list_releases(compared),
        "agreement": percent(len(compared) - len(differ), len(compared)),
        "differences": list_differences(differ),
        "reports": list_reports(reports),
        "count": str(len(reports)),
        "agreeing": str(sum(agrees for _, agrees in reports)),
    }
    return TEXT.read_text("utf-8").format(**parts)


def list_releases(compared: list[Compared]) -> str:
    """A row a release: how many OpInfos were compared, how many agree, how many were left out."""
    rows = []
    listings = read_listings()
    for release in dict.fromkeys(one.release for one in listings):
        here = [one for one in compared if one.listing.release == release]
        agree, left = sum(one.agrees for one in here), _count_left(listings, release, here)
        lacking = sum(one.listing.letter == "u" for one in here)
        source = READ_FROM.get(release, WHEEL)
        rows.append((release, len(here), lacking, agree, percent(agree, len(here)), left, source))
    return table(("torch", "OpInfos", "listed", "agree", "", "left out", "read from"), rows)


def _count_left(listings: list[Listing], release: str, compared: list[Compared]) -> int:
    return sum(one.release == release and one.letter != "-" for one in listings) - len(compared)


def list_differences(differ: list[Compared]) -> str:
    """A row a reason, with its OpInfos and the releases in which they differ."""
    releases: dict[str, list[str]] = {}
    for one in differ:
        releases.setdefault(one.listing.key, []).append(one.listing.release)
    rows = []
    for reason in read_reasons():
        rows.append((reason.text, "; ".join(_name(key, releases.pop(key)) for key in reason.opinfos if key in releases)))
    if releases:
        rows.append((UNEXPLAINED, "; ".join(_name(key, found) for key, found in sorted(releases.items()))))
    return table(("why", "OpInfos"), [row for row in rows if row[1]])


def _name(key: str, releases: list[str]) -> str:
    return f"`{key}` {releases[0]}" + (f" - {releases[-1]}" if len(releases) > 1 else "")


def list_reports(reports: list[tuple[Report, bool]]) -> str:
    rows = [
        (f"`{one.operator}`", one.torch, _more(one), f"[{_thread(one.url)}]({one.url}), {one.date}", "yes" if agrees else "**no**")
        for one, agrees in reports
    ]
    return table(("operator", "torch", "also said", "where", "agrees"), rows)


def _more(report: Report) -> str:
    said = [f"added in {report.added}"] if report.added else []
    said += [f"lacking in {report.still}"] if report.still else []
    return ", ".join(said + (["runs on the CPU"] if report.message == "fallback" else []))


def _thread(url: str) -> str:
    """'pytorch#141287' for an issue or a pull request."""
    *_, repository, _, number = url.split("/")
    return f"{repository}#{number}"


def _count_operators() -> int:
    lines = Path(kernels.TABLE).read_text("utf-8").splitlines()
    return Counter(line.startswith("#") for line in lines)[False]


def percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %"


def table(head: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def main(arguments: list[str]) -> int:
    page = write_page()
    if arguments == ["--check"]:
        is_same = PAGE.exists() and PAGE.read_text("utf-8") == page
        print("docs/emulation.md is up to date." if is_same else "docs/emulation.md is not; write it with `make emulation`.")
        return 0 if is_same else 1
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

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

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from patcher.selftest import kernels
from scripts.agreement import Compared, compare_lists, compare_reports
from scripts.mps_evidence import Listing, Report, read_listings, read_reasons

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "emulation.md"
TEXT = ROOT / "scripts" / "evidence" / "emulation.md"
UNEXPLAINED = "Not explained."
READ_FROM = {
    "2.2+": "a commit between the branches of 2.2 and 2.3",
    "2.6": "the sources of 2.6.0, as Debian packs them",
    "2.7+": "a commit between the branches of 2.7 and 2.8",
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
    """A row a release: the OpInfos that its list names, the other ones, and how many of each agree."""
    rows = []
    listings = read_listings()
    for release in dict.fromkeys(one.release for one in listings):
        here = [one for one in compared if one.listing.release == release]
        listed, others = ([one for one in here if one.listing.letter == letter] for letter in "u.")
        together = percent(sum(one.agrees for one in here), len(here))
        left = _count_left(listings, release, here)
        rows.append((release, _of(listed), _of(others), together, left, READ_FROM.get(release, WHEEL)))
    return table(("torch", "listed: agree", "not listed: agree", "together", "left out", "read from"), rows)


def _of(compared: list[Compared]) -> str:
    return f"{sum(one.agrees for one in compared)} of {len(compared)}"


def _count_left(listings: list[Listing], release: str, compared: list[Compared]) -> int:
    return sum(one.release == release and one.letter != "-" for one in listings) - len(compared)


def list_differences(differ: list[Compared]) -> str:
    """A row a reason, with its OpInfos and the releases in which they differ."""
    releases: dict[str, list[str]] = {}
    for one in differ:
        releases.setdefault(one.listing.key, []).append(one.listing.release)
    explained = [(one.text, [key for key in one.opinfos if key in releases]) for one in read_reasons()]
    known = {key for _, keys in explained for key in keys}
    explained.append((UNEXPLAINED, sorted(releases.keys() - known)))
    rows = [(text, "; ".join(_name(key, releases[key]) for key in keys)) for text, keys in explained if keys]
    return table(("why", "OpInfos"), rows)


def _name(key: str, releases: list[str]) -> str:
    return f"`{key}` {releases[0]}" + (f" - {releases[-1]}" if len(releases) > 1 else "")


def list_reports(reports: list[tuple[Report, bool]]) -> str:
    rows = [
        (f"`{one.operator}`", one.torch, _more(one), _where(one), "yes" if said else "**no**") for one, said in reports
    ]
    return table(("operator", "torch", "also said", "where", "agrees"), rows)


def _where(report: Report) -> str:
    """A link such as 'pytorch#141287', and the day."""
    *_, repository, _, number = report.url.split("/")
    return f"[{repository}#{number}]({report.url}), {report.date}"


def _more(report: Report) -> str:
    said = [f"added in {report.added}"] if report.added else []
    said += [f"lacking in {report.still}"] if report.still else []
    return ", ".join(said + (["runs on the CPU"] if report.message == "fallback" else []))


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
        print("docs/emulation.md is up to date." if is_same else "docs/emulation.md is stale: run `make emulation`.")
        return 0 if is_same else 1
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

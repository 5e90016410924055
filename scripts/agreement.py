"""How far the table of kernels agrees with PyTorch's MPS tests and with public reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from patcher.selftest.kernels import Kernel, asked_on_mps, find_kernel
from scripts.mps_evidence import Listing, Opinfo, Report, Version, read_listings, read_opinfos, read_reports, to_version

COMPOSITE = ("explicit", "composite")


class Compared(NamedTuple):
    """What a list says of an OpInfo, beside what the table says."""

    listing: Listing
    lacking: tuple[str, ...]
    """The operators that the OpInfo's samples ask for and that the release has nothing for."""
    agrees: bool


def compare_lists() -> list[Compared]:
    """Without the OpInfos of which a list says nothing, and those that fail because MPS has no float64."""
    opinfos = read_opinfos()
    said = (one for one in read_listings() if one.letter in "u.")
    compared = (_compare(listing, opinfos[listing.key]) for listing in said)
    return [one for one in compared if one.agrees or one.listing.letter == "." or not opinfos[one.listing.key].double]


def _compare(listing: Listing, opinfo: Opinfo) -> Compared:
    """A state between two releases ("2.2+") agrees if either of them does."""
    major, minor = to_version(listing.release)
    releases = [(major, minor), (major, minor + 1)] if listing.release.endswith("+") else [(major, minor)]
    lacking = [find_lacking(opinfo, release) for release in releases]
    listed = listing.letter == "u"
    return Compared(listing, lacking[0], any(bool(names) == listed for names in lacking))


def find_lacking(opinfo: Opinfo, torch: Version) -> tuple[str, ...]:
    """What an error of the emulated device would name."""
    lacking = (kernel for kernel in _asked_by(opinfo, torch) if kernel.status == "missing")
    return tuple(sorted({kernel.asked.removeprefix("aten::") for kernel in lacking}))


def _asked_by(opinfo: Opinfo, torch: Version) -> Iterator[Kernel]:
    """What MPS is asked for: what a composite operator is made of only where MPS has no kernel for the whole."""
    parts: dict[str, list[str]] = {}
    for token in opinfo.operators:
        whole, _, part = token.rpartition(">")
        parts.setdefault(whole, []).append(part)
    left = parts.pop("", [])
    while left:
        operator = left.pop()
        asked = find_asked(operator, torch)
        yield from asked
        if any(kernel.status in COMPOSITE for kernel in asked):
            left += parts.pop(operator, [])


def compare_reports() -> list[tuple[Report, bool]]:
    return [(report, agrees(report)) for report in read_reports()]


def agrees(report: Report) -> bool:
    """Whether the table lacks the operator where the report does, and has it from the release that it says on."""
    lacks = [report.torch, report.still] if report.still else [report.torch]
    statuses = {find(report.operator, to_version(torch)).status for torch in lacks}
    if report.added:
        major, minor = to_version(report.added)
        statuses.add(find(report.operator, (major, minor - 1)).status)
        if find(report.operator, (major, minor)).status == "missing":
            return False
    return statuses <= ({"missing", "fallback"} if report.message == "fallback" else {"missing"})


def find(operator: str, torch: Version) -> Kernel:
    """Of "isin.Tensor_Tensor"; what is not aten's is unknown."""
    return find_kernel(*_split(operator), torch)


def find_asked(operator: str, torch: Version) -> list[Kernel]:
    """What MPS is asked for in its place, which is itself but for `kernels.ON_MPS`."""
    return [find_kernel(*name, torch) for name in asked_on_mps(*_split(operator))]


def _split(operator: str) -> tuple[str, str]:
    name, _, overload = operator.partition(".")
    return name if "::" in name else f"aten::{name}", overload

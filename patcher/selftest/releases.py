"""Releases of torch and of macOS: which runs on which, and how they are written.

[B] is a string or tag in the released macOS wheel. Nothing here was seen on Apple hardware.
"""

from __future__ import annotations

from typing import Dict, Tuple, TypeVar

Version = Tuple[int, int]
Anything = TypeVar("Anything")

NEWEST_TORCH: Version = (2, 14)  # the newest release that the evidence was gathered for

OLDEST_MACOS: Dict[Version, Version] = {
    # [B] the platform tag of the released wheels
    (2, 0): (12, 3),
    (2, 6): (13, 0),
    (2, 9): (14, 0),
}

USUAL_MACOS: Dict[Version, int] = {
    # What is taken where nobody names a macOS. [B] below 13.3 MPS has no cumsum of int64 before torch 2.9 (limits.tsv),
    # which generate() calls, so nobody runs it there
    (2, 0): 13,
    (2, 9): 14,
}

NEWEST_MINOR = 99  # of a macOS that is named without one, such as 13

KNOWN_MACOS = (12, 13, 14, 15, 26)  # the releases since MPS; none was numbered 16 to 25


def oldest_macos(torch: Version) -> Version:
    """The oldest macOS that a release of torch runs on."""
    return since(OLDEST_MACOS, torch)


def usual_macos(torch: Version) -> Version:
    """The macOS to take for a release of torch where none is named."""
    return since(USUAL_MACOS, torch), NEWEST_MINOR


def parse_macos(version: str) -> Version:
    """'13.2' as (13, 2); '13' is the newest 13."""
    return parse_version(version) if "." in version else (int(version), NEWEST_MINOR)


def parse_version(version: str) -> Version:
    """'2.1.0+cpu' or '13' as (2, 1) or (13, 0)."""
    parts = version.split("+")[0].split(".")
    return int(parts[0]), int("".join(c for c in (parts[1] if len(parts) > 1 else "0") if c.isdigit()) or 0)


def show(version: Version) -> str:
    """(2, 1) as '2.1', (13, 0) and the newest 13 as '13'."""
    return "%d" % version[0] if version[0] >= 10 and version[1] in (0, NEWEST_MINOR) else "%d.%d" % version


def since(table: Dict[Version, Anything], version: Version) -> Anything:
    """What a table has for a version: the entry of the newest that is no newer."""
    return table[max(first for first in table if first <= max(version, min(table)))]

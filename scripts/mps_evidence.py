"""The evidence that the table of kernels is compared with: the files of scripts/evidence, and what each says.

Nothing here reads a wheel or the network.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent / "evidence"
Version = tuple[int, int]


class Opinfo(NamedTuple):
    """What PyTorch's samples of one OpInfo reach on a CPU, as scripts/opinfo.py prints it."""

    key: str
    dtype: str
    double: bool
    """A tensor of float64 or complex128 came up, which MPS has not."""
    operators: tuple[str, ...]


class Listing(NamedTuple):
    """What the MPS tests of one release say of an OpInfo: a letter that the head of mps_lists.tsv explains."""

    key: str
    dtype: str
    release: str
    letter: str


class Report(NamedTuple):
    """One report of an operator without a kernel; the head of mps_reports.toml explains the names."""

    url: str
    operator: str
    torch: str
    by: str
    message: str
    date: str
    added: str = ""
    still: str = ""


class Reason(NamedTuple):
    """Why the table and the lists differ on some OpInfos."""

    text: str
    opinfos: tuple[str, ...]


def read_opinfos() -> dict[str, Opinfo]:
    """By key."""
    cells = (line.split("\t") for line in _lines("opinfo-2.13.tsv"))
    found = (Opinfo(key, dtype, double == "float64", tuple(names.split())) for key, dtype, double, names in cells)
    return {one.key: one for one in found}


def read_listings() -> list[Listing]:
    head, *lines = _lines("mps_lists.tsv")
    _, _, *releases = head.split("\t")
    cells = (line.split("\t") for line in lines)
    return [
        Listing(key, dtype, release, letter)
        for key, dtype, *letters in cells
        for release, letter in zip(releases, letters, strict=True)
    ]


def read_reports() -> list[Report]:
    return [Report(**report) for report in _tables("mps_reports.toml", "report")]


def read_reasons() -> list[Reason]:
    return [Reason(reason["text"], tuple(reason["opinfos"])) for reason in _tables("reasons.toml", "reason")]


def _tables(name: str, of: str) -> list[dict[str, Any]]:
    tables: list[dict[str, Any]] = tomllib.loads((FOLDER / name).read_text("utf-8"))[of]
    return tables


def to_version(release: str) -> Version:
    """'2.10.0', '2.10' and '2.10+', which is a state after that release's branch, as (2, 10)."""
    major, minor = release.rstrip("+").split(".")[:2]
    return int(major), int(minor)


def _lines(name: str) -> list[str]:
    return [line for line in (FOLDER / name).read_text("utf-8").splitlines() if not line.startswith("#")]

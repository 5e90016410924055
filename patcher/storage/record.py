"""dist-info/RECORD, row by row (PEP 376, PEP 627). A row that is not ours keeps its very bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache


def record_row(path: str, data: bytes) -> str:
    """The row of a file with this content, without a line end: its path, `sha256=` and its size."""
    written = io.StringIO()
    end = "\r\n"  # csv quotes what holds a character of the line end, and a path must stay in one row
    csv.writer(written, lineterminator=end).writerow((path, f"sha256={_digest(data)}", len(data)))
    return written.getvalue().removesuffix(end)


def find_rows(record: bytes, paths: frozenset[str]) -> dict[str, str]:
    """The first row of each of `paths` that has one, without its line end."""
    found: dict[str, str] = {}
    for path, row in _rows(record):
        if path in paths:
            found.setdefault(path, row.rstrip("\r\n"))
    return found


def is_recorded(row: str, data: bytes) -> bool | None:
    """Whether a row is of a file with this content; None where it has no SHA-256 to tell by."""
    try:
        fields = next(csv.reader(io.StringIO(row, newline="")), [])
    except csv.Error:
        return None
    kind, _, value = (fields[1] if len(fields) > 1 else "").partition("=")
    return value.rstrip("=") == _digest(data) if kind == "sha256" else None


def update_record(record: bytes, rows: Mapping[str, str], folder: str, added: Iterable[str]) -> bytes:
    """RECORD with other `rows` (path -> row) for files that it lists, and `added` as all rows that it has of `folder`.

    `folder` ends with a slash. The rows of `added` come before the first of `rows`, so that a last line without a line
    end stays as it is. A file that RECORD does not list stays unlisted.
    """
    kept: list[str] = []
    at: dict[str, int] = {}
    for path, row in _rows(record):
        if not path.startswith(folder):
            if path in rows:
                at.setdefault(path, len(kept))
            kept.append(row)
    first = min(at.values(), default=0)
    end = _end_of(kept[first]) if kept else "\n"
    for path, number in at.items():
        kept[number] = rows[path] + kept[number][len(kept[number].rstrip("\r\n")) :]
    kept[first:first] = [row + end for row in added]
    return "".join(kept).encode("utf-8", "surrogateescape")


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


@lru_cache(maxsize=4)
def _rows(record: bytes) -> tuple[tuple[str, str], ...]:
    """The rows with their line ends, each behind its path. A quoted field may hold line ends of its own.

    Remembered, for one command asks several times, and RECORD has thousands.
    """
    lines = io.StringIO(record.decode("utf-8", "surrogateescape"), newline="")
    return tuple((_path_in(row), row) for row in (lines if b'"' not in record else _joined(lines)))


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """The lines of each row in one, as the reader of csv takes them, which is what installers read RECORD with."""
    held: list[str] = []

    def given() -> Iterator[str]:
        for line in lines:
            held.append(line)
            yield line

    reader = csv.reader(given())
    while True:
        try:
            is_end = next(reader, None) is None
        except csv.Error:  # a field that is too long for it
            is_end = False
        if held:
            yield "".join(held)
            held.clear()
        if is_end:
            return


def _path_in(row: str) -> str:
    """A row's first field, with `/` between folders; the line as it is where it is no row at all."""
    if not row.startswith('"'):
        return row.partition(",")[0].replace("\\", "/")
    try:
        return next(csv.reader(io.StringIO(row, newline="")))[0].replace("\\", "/")
    except csv.Error:
        return row


def _end_of(row: str) -> str:
    """How a row ends: a last one whose quote is never closed may have several line ends, of which the first counts."""
    ends = row[len(row.rstrip("\r\n")) :]
    return next((end for end in ("\r\n", "\r", "\n") if ends.startswith(end)), "\n")

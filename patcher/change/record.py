"""dist-info/RECORD, row by row (PEP 376, PEP 627). A row that is not ours keeps its very bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence


def row(path: str, data: bytes) -> str:
    """The row of a file with this content, without a line end: its path, `sha256=` and its size."""
    named = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    written = io.StringIO()
    end = "\r\n"  # csv quotes what holds a character of the line end, and a path must stay in one row
    csv.writer(written, lineterminator=end).writerow((path, f"sha256={named}", len(data)))
    return written.getvalue().removesuffix(end)


def find(record: bytes, path: str) -> str | None:
    """The first row of `path`, without its line end; None where there is none."""
    for raw in _rows(record):
        if _path(raw) == path:
            return _split(raw)[0]
    return None


def follow(record: bytes, files: Mapping[str, str], ours: str, added: Mapping[str, bytes]) -> bytes:
    """RECORD after a change: the row of each of `files` (path -> new row) follows, our own files are listed.

    `ours` is the folder (with its slash) whose rows are replaced by rows for `added`; they stand before the first row
    of the files, so that a last line without a line end stays as it is. A file that RECORD does not list stays
    unlisted.
    """
    rows = [raw for raw in _rows(record) if not _path(raw).startswith(ours)]
    listed = _first_rows(rows, files)
    first = min(listed.values(), default=0)
    end = _end(rows[first]) if rows else "\n"
    for path, at in listed.items():
        rows[at] = files[path] + _split(rows[at])[1]
    rows[first:first] = [row(name, data) + end for name, data in added.items()]
    return "".join(rows).encode("utf-8", "surrogateescape")


def restore(record: bytes, files: Mapping[str, str], ours: str) -> bytes:
    """RECORD as it was before `follow`: our rows go, and each of `files` (path -> its old row) gets its old row back.

    Whatever else changed since stays. A RECORD without a row of ours was written anew by an installer since: it is
    returned as it is.
    """
    rows = list(_rows(record))
    others = [raw for raw in rows if not _path(raw).startswith(ours)]
    if len(others) < len(rows):
        for path, at in _first_rows(others, files).items():
            others[at] = files[path] + _split(others[at])[1]
    return "".join(others).encode("utf-8", "surrogateescape")


def _first_rows(rows: Sequence[str], paths: Iterable[str]) -> dict[str, int]:
    """Where the first row of each path stands, for those that have one."""
    wanted = set(paths)
    found: dict[str, int] = {}
    for at, raw in enumerate(rows):
        if (path := _path(raw)) in wanted:
            found.setdefault(path, at)
    return found


def _rows(record: bytes) -> Iterator[str]:
    """The rows with their line ends. A quoted field may hold line ends of its own."""
    held: list[str] = []
    is_quoted = False
    for line in io.StringIO(record.decode("utf-8", "surrogateescape"), newline=""):
        held.append(line)
        is_quoted ^= line.count('"') % 2 == 1
        if not is_quoted:
            yield "".join(held)
            held = []
    if held:
        yield "".join(held)


def _path(raw: str) -> str:
    """A row's first field, with `/` between folders; the line as it is where it is no row at all."""
    if not raw.startswith('"'):
        return raw.partition(",")[0].replace("\\", "/")
    try:
        return next(csv.reader(io.StringIO(raw, newline="")))[0].replace("\\", "/")
    except csv.Error:
        return raw


def _split(raw: str) -> tuple[str, str]:
    text = raw.rstrip("\r\n")
    return text, raw[len(text) :]


def _end(raw: str) -> str:
    """How a row ends; a row that is quoted up to the end of the file may hold ends of lines before that."""
    return next((end for end in ("\r\n", "\r", "\n") if raw.endswith(end)), "\n")

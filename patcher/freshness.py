"""Whether the bytecode of a module can run anything but its source: judged from the files, when nothing can be run."""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import os
import warnings
from enum import Enum
from pathlib import Path

HEADER_BYTES = 16
"""Magic number, flags, and either mtime and size of the source or its hash (PEP 552)."""

SINCE_3_11 = 3450
"""The first magic number of Python 3.11; see the table in CPython's `importlib/_bootstrap_external.py`."""


class Freshness(Enum):
    """What one .pyc file means for the code that runs next."""

    FRESH = "it was made from this source, or Python makes it anew"
    STALE = "it was made from another source, and Python would run it"
    UNKNOWN = "Python would run it, and only the Python that made it can tell what it was made from"


def bytecode_of(source: Path) -> tuple[Path, ...]:
    """The .pyc files beside `source`, of whatever interpreter and optimisation level."""
    found = [*(source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")]
    return tuple(sorted(path for path in found if path.is_file()))


def stale(source: Path) -> bool:
    """Whether some bytecode beside `source` would run instead of it."""
    data, status = source.read_bytes(), source.stat()
    return any(judge(path.read_bytes(), data, status) is Freshness.STALE for path in bytecode_of(source))


def judge(pyc: bytes, source: bytes, status: os.stat_result) -> Freshness:
    """What `pyc` means beside `source`, whose stat is `status`. See PEP 552 for the header's fields."""
    if len(pyc) < HEADER_BYTES:
        return Freshness.FRESH  # Python refuses it, and compiles
    flags = int.from_bytes(pyc[4:8], "little")
    if flags & 0b1:
        return _by_hash(pyc, source, checked=bool(flags & 0b10))
    mtime, size = (int.from_bytes(pyc[at : at + 4], "little") for at in (8, 12))
    if (mtime, size) != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF):
        return Freshness.FRESH
    return _by_content(pyc, source)


def _by_hash(pyc: bytes, source: bytes, *, checked: bool) -> Freshness:
    magic = int.from_bytes(pyc[:4], "little")
    if checked or _imp.source_hash(magic, source) == pyc[8:HEADER_BYTES]:
        return Freshness.FRESH
    return Freshness.STALE if _hashes_as_ours(pyc) else Freshness.UNKNOWN


def _hashes_as_ours(pyc: bytes) -> bool:
    """Whether the Python that made it has our hash: SipHash-1-3 took the place of SipHash-2-4 there in Python 3.11."""
    newer = (int.from_bytes(magic[:2], "little") >= SINCE_3_11 for magic in (pyc, importlib.util.MAGIC_NUMBER))
    return len(set(newer)) == 1


def _by_content(pyc: bytes, source: bytes) -> Freshness:
    """By time and size it is of this source. For our own Python's, the code inside is compared too."""
    if pyc[:4] != importlib.util.MAGIC_NUMBER:
        return Freshness.UNKNOWN
    try:
        held = marshal.loads(pyc[HEADER_BYTES:])  # noqa: S302 - code is compared, never run
    except (EOFError, ValueError, TypeError, MemoryError):  # of damaged lengths too
        return Freshness.STALE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
        try:
            levels = [compile(source, "", "exec", dont_inherit=True, optimize=level) for level in (0, 1, 2)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return Freshness.STALE  # nothing can have been made from this
    return Freshness.FRESH if held in levels else Freshness.STALE

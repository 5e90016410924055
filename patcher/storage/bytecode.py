"""The .pyc files of a module: what they mean for the code that runs next, and their removal.

A changed source loses them all: an unchecked-hash .pyc runs without a look at the source, and a timestamp proves
nothing where a file system or an installer rounds times. Python makes them anew.
"""

from __future__ import annotations

import _imp
import importlib.util
import marshal
import os
import warnings
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path

from patcher.errors import PatcherError
from patcher.storage.files import explained, remove_file, sync_folder

HEADER_BYTES = 16
"""Magic number, flags, and either time and size of the source or its hash (PEP 552)."""
_SINCE_3_11 = 3450
"""The first magic number of Python 3.11; see the table in CPython's `importlib/_bootstrap_external.py`."""


class PycStatus(Enum):
    """What one .pyc file means for the code that runs next."""

    FRESH = "up to date, or Python would compile it again"
    STALE = "compiled from another source, and Python would run it"
    UNKNOWN = "Python would run it, and only the Python that compiled it can tell from which source"


def pyc_files(source: Path, prefixes: Iterable[Path] = ()) -> tuple[Path, ...]:
    """The .pyc files of the module at `source`, of whatever interpreter and optimisation level.

    They lie in `__pycache__`, beside the source (a legacy .pyc would come to life if the source went), and below each
    of `prefixes` (`sys.pycache_prefix`). A folder that is a link is not followed.
    """
    return tuple(sorted(path for folder in _cache_folders(source, prefixes) for path in _pycs_in(folder, source.stem)))


def remove_pycs(source: Path, prefixes: Iterable[Path] = ()) -> None:
    """Deletes them durably. RECORD's rows of .pyc files have no digest and are right without the file.

    Raises PatcherError: `bytecode-not-removed`; `linked-folder` where `__pycache__` is a link.
    """
    if (source.parent / "__pycache__").is_symlink():
        message = f"{source.parent / '__pycache__'} is a link, and may contain bytecode that would run."
        raise PatcherError("linked-folder", message, "Remove the link, then run the command again.")
    found = pyc_files(source, prefixes)
    for path in found:
        try:
            remove_file(path)
        except PatcherError as error:
            cause = f"Cannot remove old bytecode, which might run: {error.message}"
            raise PatcherError("bytecode-not-removed", cause, error.hint) from error
    for folder in {path.parent for path in found}:
        sync_folder(folder)


def judge_pycs(source: Path, prefixes: Iterable[Path] = ()) -> dict[Path, PycStatus]:
    """Every .pyc file of the module, and what it means."""
    found = pyc_files(source, prefixes)
    if not found:
        return {}
    with explained(source):
        data, status = source.read_bytes(), source.stat()
    return {path: judge_pyc(_readable(path), data, status) for path in found}


def has_stale_pyc(source: Path, prefixes: Iterable[Path] = ()) -> bool:
    """Whether some bytecode of the module would run instead of its source."""
    return PycStatus.STALE in judge_pycs(source, prefixes).values()


def _readable(path: Path) -> bytes:
    """What Python reads of a .pyc; it goes on to the source where that fails, as if there were none."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def cache_prefixes(known: Path | None) -> tuple[Path, ...]:
    """The folders that hold bytecode apart from its source: the interpreter's, and that of our own environment."""
    named = os.environ.get("PYTHONPYCACHEPREFIX")
    return tuple(dict.fromkeys(path.absolute() for path in (known, Path(named) if named else None) if path))


def judge_pyc(pyc: bytes, source: bytes, status: os.stat_result) -> PycStatus:
    """What `pyc` means beside `source`, whose stat is `status`. See PEP 552 for the header's fields."""
    if len(pyc) < HEADER_BYTES:
        return PycStatus.FRESH  # Python refuses it, and compiles
    flags = int.from_bytes(pyc[4:8], "little")
    if flags & 0b1:
        return _judge_hash(pyc, source, checked=bool(flags & 0b10))
    mtime, size = (int.from_bytes(pyc[at : at + 4], "little") for at in (8, 12))
    if (mtime, size) != (int(status.st_mtime) & 0xFFFFFFFF, status.st_size & 0xFFFFFFFF):
        return PycStatus.FRESH
    return _judge_code(pyc, source)


def _cache_folders(source: Path, prefixes: Iterable[Path]) -> Iterator[Path]:
    yield source.parent
    if not (source.parent / "__pycache__").is_symlink():
        yield source.parent / "__pycache__"
    for folder in dict.fromkeys((source.parent.absolute(), source.parent.resolve())):
        # as importlib.util.cache_from_source: the source folder's path, by each of its names
        yield from (prefix / folder.relative_to(folder.anchor) for prefix in prefixes)


def _pycs_in(folder: Path, stem: str) -> Iterator[Path]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - names are all that is asked
    except OSError:
        return
    yield from (folder / name for name in names if name.startswith(f"{stem}.") and name.endswith(".pyc"))


def _judge_hash(pyc: bytes, source: bytes, *, checked: bool) -> PycStatus:
    magic = int.from_bytes(pyc[:4], "little")
    if checked or _imp.source_hash(magic, source) == pyc[8:HEADER_BYTES]:
        return PycStatus.FRESH
    return PycStatus.STALE if _hashes_as_ours(pyc) else PycStatus.UNKNOWN


def _hashes_as_ours(pyc: bytes) -> bool:
    """Whether the Python that made it has our hash: SipHash-1-3 took the place of SipHash-2-4 there in Python 3.11."""
    newer = (int.from_bytes(magic[:2], "little") >= _SINCE_3_11 for magic in (pyc, importlib.util.MAGIC_NUMBER))
    return len(set(newer)) == 1


def _judge_code(pyc: bytes, source: bytes) -> PycStatus:
    """By time and size it is of this source. For our own Python's, the code inside is compared too."""
    if pyc[:4] != importlib.util.MAGIC_NUMBER:
        return PycStatus.UNKNOWN
    try:
        held = marshal.loads(pyc[HEADER_BYTES:])  # noqa: S302 - code is compared, never run
    except (EOFError, ValueError, TypeError, MemoryError):  # of damaged lengths too
        return PycStatus.STALE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
        try:
            levels = [compile(source, "", "exec", dont_inherit=True, optimize=level) for level in (0, 1, 2)]
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return PycStatus.STALE  # nothing can have been made from this
    return PycStatus.FRESH if held in levels else PycStatus.STALE

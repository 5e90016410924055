"""What we meant for a target, as it stands in `dist-info/mps-patcher/`: one JSON, and a back-up of each changed file.

The JSON is the intent of a whole transaction and is written before any file changes. What is true is read from the
files. Nothing in it is believed before it is checked, and nothing is guessed: a state file that is damaged, or of a
newer schema, is refused.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from patcher import __version__
from patcher.change import record
from patcher.errors import PatcherError
from patcher.locate import metadata

FOLDER = metadata.OURS
STATE = "state.json"
SCHEMA = 1
_BACKUP = re.compile(r"[0-9a-f]{64}\.orig")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One changed file."""

    path: str
    """Relative to site-packages, with `/`."""
    patches: tuple[str, ...]
    """The patches that `after` holds, in the order they were applied."""
    before: str
    """sha256 in hex of the file as we found it: the back-up's content."""
    after: str
    """sha256 in hex of the file as we meant to leave it."""
    mode: int
    mtime_ns: int
    link: str | None
    """The text of the symbolic link that the file was, where it was one."""
    brought_by: str | None = None
    """The patch that needed this one and brought it along, where nothing else asked for it."""
    former: str | None = None
    """sha256 in hex of the file as another version of this tool had left it, where this one brings that up to date."""

    @property
    def backup(self) -> str:
        """The back-up's name in `mps-patcher/`. It says what must be inside."""
        return backup_name(self.before)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """RECORD as we found it. Our rows can be told from the others, so its bytes need no copy."""

    before: str
    """sha256 in hex of RECORD as we found it: the proof that putting the rows back was exact."""
    rows: tuple[tuple[str, str], ...]
    """(path, its row without the line end) of each changed file that RECORD lists."""
    mode: int
    mtime_ns: int
    link: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The intent of one transaction."""

    files: tuple[Entry, ...]
    record: Record | None
    """None where the distribution had no RECORD."""


def backup_name(before: str) -> str:
    """What the back-up with this content is called."""
    return f"{before}.orig"


def is_ours(name: str) -> bool:
    """Whether a file of this name in our folder is one that we wrote: the state file or a back-up."""
    return name == STATE or _BACKUP.fullmatch(name) is not None


def encode(ledger: Ledger) -> bytes:
    """The state file: the same bytes for the same ledger, with no time, user or path of this machine in it."""
    document = {"schema": SCHEMA, "tool": f"mps-patcher {__version__}", **asdict(ledger)}
    for entry, written in zip(ledger.files, document["files"], strict=True):
        written["backup"] = entry.backup
    if document["record"] is not None:
        document["record"]["rows"] = dict(document["record"]["rows"])
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def decode(data: bytes, at: object) -> Ledger:
    """The ledger in a state file; `at` is its path, for messages.

    Raises PatcherError: `state-newer` for a later schema than ours, `state-damaged` for all else that is not as
    `encode` writes it, such as a path that leads out of the target, or a row of RECORD of a file that is not ours.
    """
    try:
        document = json.loads(data, object_pairs_hook=_object)
        schema = document["schema"]
        _require(type(schema) is int)
        if schema > SCHEMA:
            raise _newer(at)
        _require(schema == SCHEMA)
        files = tuple(_entry(value) for value in _list(document["files"]))
        paths = {entry.path for entry in files}
        _require(len(files) > 0 and len(paths) == len(files))
        return Ledger(files=files, record=None if document["record"] is None else _record(document["record"], paths))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(f"{at} is not as we wrote it ({type(error).__name__}).") from error


def damaged(message: str) -> PatcherError:
    """The refusal to work with a ledger that cannot be trusted."""
    hint = "Reinstall transformers of the same version (pip install --force-reinstall --no-deps), then apply again."
    return PatcherError("state-damaged", message, hint)


def _newer(at: object) -> PatcherError:
    return PatcherError("state-newer", f"{at} was written by a newer mps-patcher.", "Update mps-patcher.")


def _entry(value: Any) -> Entry:
    entry = Entry(
        path=_path(value["path"]),
        patches=tuple(_text(name) for name in _list(value["patches"])),
        before=_digest(value["before"]),
        after=_digest(value["after"]),
        mode=_number(value["mode"], 0, 0o7777),
        mtime_ns=_number(value["mtime_ns"], -(2**63), 2**63 - 1),
        link=_link(value["link"]),
        brought_by=_link(value.get("brought_by")),
        former=None if value.get("former") is None else _digest(value["former"]),
    )
    _require(value["backup"] == entry.backup)
    return entry


def _record(value: Any, paths: set[str]) -> Record:
    """RECORD as it was found; `paths` are those of the files, and no other row is ours to put back."""
    _require(value["rows"].keys() <= paths)
    return Record(
        before=_digest(value["before"]),
        rows=tuple((_path(path), _row(row, path)) for path, row in value["rows"].items()),
        mode=_number(value["mode"], 0, 0o7777),
        mtime_ns=_number(value["mtime_ns"], -(2**63), 2**63 - 1),
        link=_link(value["link"]),
    )


def _path(value: Any) -> str:
    path = PurePosixPath(_text(value))
    _require(str(path) == value and not path.is_absolute() and ".." not in path.parts and "\0" not in value)
    _require(path.parts != ())
    return str(path)


def _row(value: Any, path: str) -> str:
    """A row of that path, and of nothing else."""
    _require(record.find(_text(value).encode("utf-8", "surrogateescape"), path) == value)
    return _text(value)


def _link(value: Any) -> str | None:
    _require(value is None or (_text(value) != "" and "\0" not in value))
    return None if value is None else _text(value)


def _digest(value: Any) -> str:
    _require(_DIGEST.fullmatch(_text(value)) is not None)
    return _text(value)


def _number(value: Any, least: int, most: int) -> int:
    _require(type(value) is int and least <= value <= most)
    return int(value)


def _text(value: Any) -> str:
    """Text that can be written, and be a file's name: half a surrogate pair is neither (UnicodeEncodeError)."""
    _require(isinstance(value, str))
    os.fsencode(value)
    value.encode("utf-8", "surrogateescape")
    return str(value)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, in which no key stands twice: which of the two would be meant?"""
    found = dict(pairs)
    _require(len(found) == len(pairs))
    return found


def _list(value: Any) -> list[Any]:
    _require(isinstance(value, list))
    return list(value)


def _require(right: bool) -> None:
    if not right:
        raise ValueError

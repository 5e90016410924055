"""`dist-info/mps-patcher/`: the originals, and state.json, which says what was asked for; files say what is true."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

from patcher import __version__
from patcher.errors import REINSTALL, PatcherError

FOLDER = "mps-patcher"
STATE = "state.json"
SCHEMA = 2
_DIGEST = re.compile(r"[0-9a-f]{64}")


class JournalEntry(NamedTuple):
    """One file that was changed."""

    original: str
    """sha256 in hex of the file as it was: the backup's content."""
    patched: str | None
    """sha256 in hex of the file as it was meant to be; None for RECORD, which lists the journal itself."""
    link: str | None = None
    """The text of the symbolic link that the file was, where it was one."""


class Journal(NamedTuple):
    """What was asked for in a target, and the files that it changed."""

    requested: tuple[str, ...]
    """Names of patches, sorted; those that they require are not among them unless asked for too."""
    files: Mapping[PurePosixPath, JournalEntry] = MappingProxyType({})
    """By their paths relative to site-packages."""


def backup_name(path: PurePosixPath) -> str:
    """The name of a file's backup in our folder: its path with dots for slashes."""
    return f"{'.'.join(path.parts)}.orig"


def encode_journal(journal: Journal) -> bytes:
    """The state file: the same bytes for the same journal, with no time, user or path of this machine in it."""
    import json

    files = {
        str(path): {"original": entry.original, "patched": entry.patched, "link": entry.link}
        for path, entry in sorted(journal.files.items())
    }
    document = {"schema": SCHEMA, "tool": f"mps-patcher {__version__}", "requested": journal.requested, "files": files}
    return json.dumps(document, indent=1).encode("ascii") + b"\n"


def decode_journal(data: bytes, at: Path, package: str) -> Journal:
    """The journal in the state file `at`, whose files lie in `package` or are RECORD beside it.

    Raises PatcherError: `state-newer` for a later schema than ours, `state-damaged` for whatever does not read as ours.
    """
    import json  # where nothing is patched there is none to read

    try:
        document = json.loads(data)
        if document["schema"] > SCHEMA:
            raise state_newer(at)
        _require(document["schema"] == SCHEMA)
        record = PurePosixPath(at.parent.parent.name, "RECORD")
        files = {_path(path, package, record): _entry(value) for path, value in document["files"].items()}
        requested = document["requested"]
        _require(isinstance(requested, list) and all(isinstance(name, str) for name in requested))
        return Journal(requested=tuple(requested), files=files)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise state_damaged(f"{at} is damaged ({type(error).__name__}).") from error


def state_damaged(message: str) -> PatcherError:
    """The refusal to work with a journal that cannot be relied on."""
    return PatcherError("state-damaged", message, REINSTALL)


def state_newer(at: Path) -> PatcherError:
    """The refusal to work on what a newer version of this tool wrote."""
    return PatcherError("state-newer", f"{at} was written by a newer version of mps-patcher.", "Upgrade mps-patcher.")


def _path(text: str, package: str, record: PurePosixPath) -> PurePosixPath:
    path = PurePosixPath(text)
    inside = path.parts[:1] == (package,) and ".." not in path.parts and path.suffix == ".py"
    _require(str(path) == text and (inside or path == record) and _is_path(text))
    return path


def _entry(value: Any) -> JournalEntry:
    original, patched, link = value["original"], value["patched"], value["link"]
    _require(all(_DIGEST.fullmatch(text) for text in (original, *([patched] if patched is not None else []))))
    _require(link is None or (link != "" and _is_path(link)))
    return JournalEntry(original=original, patched=patched, link=link)


def _is_path(text: str) -> bool:
    return b"\0" not in os.fsencode(text)  # ValueError or TypeError for what no file can be called


def _require(right: bool) -> None:
    if not right:
        raise ValueError

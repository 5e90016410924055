"""The folder of an evaluation: its options, and a line for each scenario that is done.

    options.json    what was asked for, on which devices and with which versions
    results.jsonl   one JSON document a scenario, in the order of the file; all of a batch are written at once
    evaluation.log  what the libraries said

A kill may cut the last line, or the last batch; both are cut off when the evaluation goes on.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from patcher.errors import PatcherError
from patcher.storage.lock import LockTimeout, wait_for_lock

OPTIONS, RESULTS, LOG = "options.json", "results.jsonl", "evaluation.log"
UNCOMPARED = ("tool", "patched")
"""What may be another when an evaluation goes on: the fixed function is the same, wherever it comes from."""

Document = dict[str, Any]


@contextmanager
def open_results(folder: Path, *, resume: bool, timeout: LockTimeout) -> Iterator[int]:
    """A file descriptor that appends to the results, and holds their lock; whoever inherits it holds it too.

    Raises PatcherError: `results-exist` where there are results and `resume` is not said; `locked` where another
    evaluation writes them, after waiting for it in vain.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / RESULTS, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
    try:
        wait_for_lock(descriptor, folder, fcntl.LOCK_EX, timeout)
        if os.fstat(descriptor).st_size and not resume:
            hint = "Continue it with --resume, or name another folder with --output."
            raise PatcherError("results-exist", f"{folder} already has the results of an evaluation.", hint)
        yield descriptor
    finally:
        os.close(descriptor)


def start_or_resume(folder: Path, descriptor: int, options: Document) -> int:
    """How many scenarios are done, once all that is not whole is cut off; `options` are kept where there are none yet.

    Raises PatcherError `other-evaluation` where the results are of another model, file, device, version or option.
    """
    if os.fstat(descriptor).st_size == 0:
        write_json(folder / OPTIONS, options)
        return 0
    if different := _differences(read_options(folder), options):
        key, was, is_now = different[0]
        cause = f"{folder} has the results of another evaluation: {key} was {was}, and is now {is_now}."
        raise PatcherError("other-evaluation", cause, "Name another folder with --output, or use the same options.")
    done, size = _whole(folder, options["batch_size"], options["scenarios"]["rows"])
    os.ftruncate(descriptor, size)
    return done


def read_options(folder: Path) -> Document:
    """What was asked for. Raises PatcherError `results-damaged` where that cannot be read."""
    try:
        options: Document = json.loads((folder / OPTIONS).read_bytes())
    except (OSError, ValueError) as error:
        cause = f"{folder} has results, but no {OPTIONS} for them."
        raise PatcherError("results-damaged", cause, "Start again in another folder.") from error
    return options


def read_rows(folder: Path) -> Iterator[Document]:
    """The results, one at a time, up to the first line that is not whole."""
    return (row for row, _ in _rows(folder))


def _rows(folder: Path) -> Iterator[tuple[Document, int]]:
    """Each result, and the length of its line in bytes."""
    with (folder / RESULTS).open("rb") as file:
        for index, line in enumerate(file):
            try:
                row = json.loads(line)
                if not line.endswith(b"\n") or row["index"] != index:
                    return
            except (ValueError, KeyError, TypeError):
                return
            yield row, len(line)


def _whole(folder: Path, batch_size: int, rows: int) -> tuple[int, int]:
    """How many results stand in whole batches, and the bytes that they take."""
    done = size = position = 0
    for row, length in _rows(folder):
        position += length
        count = row["index"] + 1
        if count % batch_size == 0 or count == rows:
            done, size = count, position
    return done, size


def _differences(was: Document, now: Document) -> list[tuple[str, str, str]]:
    was, now = _flat(was), _flat(now)
    keys = [key for key in {**now, **was} if key.split(".")[0] not in UNCOMPARED and key != "scenarios.path"]
    return [(key, _shown(was.get(key)), _shown(now.get(key))) for key in keys if was.get(key) != now.get(key)]


def _flat(options: Document) -> Document:
    """The options with those of `scenarios` and `versions` under dotted names, and each device as its name and kind."""
    flat: Document = {}
    for key, value in options.items():
        if isinstance(value, dict):
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    flat["devices"] = ", ".join(f"{one['name']} ({one['label']})" for one in options.get("devices", ()))
    return flat


def _shown(value: object) -> str:
    return "not set" if value is None else str(value)


def write_json(path: Path, document: Document) -> None:
    """Writes the document in one step: what is there is never half of it."""
    write_text(path, json.dumps(document, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Writes the text in one step."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8")
    part.replace(path)

"""Loss of power at every instant of `apply` and `revert`: what a file system may leave then, replayed.

The system calls of a real process are recorded with what they write. A model of a disk then says, for every prefix of
them, what may be there after the power went: of each folder the names as they were last synced and any number of the
later changes in their order, folders independent of each other; of each file what was last synced, half of the rest,
or all of it, with the old or the new mode and time. Every such state is laid down and looked at: every file whole, no
old bytecode, the state a true one, and `apply` and `revert` repair it. When the command has ended, none may differ
from what it said that it did.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from fault_target import (
    FaultTarget,
    Lost,
    check_repaired,
    check_whole,
    record_calls,
    set_up,
)
from syscalls import Call

MARK = "/."


@dataclass(frozen=True, slots=True)
class Content:
    """What a disk keeps of a file."""

    data: bytes
    mode: int
    mtime_ns: int | None


@dataclass(slots=True, eq=False)
class File:
    """A file: how programs see it, and how it was last synced. A folder is one without content."""

    now: Content | None
    synced: Content | None

    def left(self) -> tuple[Content | None, ...]:
        """What may be there after a loss of power."""
        if self.now is None or self.synced is None or self.now == self.synced:
            return (self.now,)
        more = self.now.data[len(self.synced.data) :]
        half = replace(self.now, data=self.synced.data + more[: len(more) // 2])
        return (self.now, self.synced, half, replace(self.now, mode=self.synced.mode))


Change = tuple[tuple[str, File | None], ...]
"""Names that change in one step, and what they name then."""


@dataclass(slots=True)
class Names:
    """The names in one folder: as they were last synced, and what changed since."""

    synced: dict[str, File | None]
    changes: list[Change] = field(default_factory=list)

    def after(self, count: int) -> dict[str, File | None]:
        """The names once this many of the changes are there."""
        names = dict(self.synced)
        for change in self.changes[:count]:
            names.update(change)
        return names


class Disk:
    """The folders that a command changes, as the calls leave them."""

    def __init__(self, calls: Sequence[Call]) -> None:
        """Reads what is there now under every name that the calls are about."""
        self.folders: dict[str, Names] = {}
        for path in {path for call in calls for path in (call.path, call.to) if path and path.startswith("/")}:
            folder, _, name = path.rpartition("/")
            self.folders.setdefault(folder, Names(synced={})).synced[name] = _found(Path(path))

    def find(self, path: str) -> File | None:
        """What a program sees under the path."""
        folder, _, name = path.rpartition("/")
        names = self.folders[folder]
        return names.after(len(names.changes)).get(name)

    def change(self, *pairs: tuple[str, File | None]) -> None:
        """Changes names, those of one folder in one step."""
        for folder in dict.fromkeys(path.rpartition("/")[0] for path, _ in pairs):
            here = tuple((path.rpartition("/")[2], file) for path, file in pairs if path.rpartition("/")[0] == folder)
            self.folders[folder].changes.append(here)

    def do(self, call: Call) -> None:
        """One call."""
        file = self.find(call.path)
        match call.name:
            case "openat":
                self.change((call.path, File(now=Content(b"", 0o600, None), synced=Content(b"", 0o600, None))))
            case "mkdir":
                if not file:
                    self.change((call.path, File(now=None, synced=None)))
            case "unlink" | "rmdir":
                if file:
                    self.change((call.path, None))
            case "rename":
                self.change((call.path, None), (str(call.to), file))
            case "fsync" if call.path in self.folders:
                names = self.folders[call.path]
                names.synced, names.changes = names.after(len(names.changes)), []
            case "write" | "chmod" | "utimensat" | "fsync" if file:
                if file.now:
                    _alter(file, file.now, call)
            case _:
                raise Lost(f"a call that the disk does not know: {call.name} {call.path}")

    def left(self) -> Iterator[dict[str, Content | None]]:
        """Every state that may be there after a loss of power: path -> content, None where there is nothing."""
        folders = list(self.folders)
        for counts in product(*(range(len(self.folders[folder].changes) + 1) for folder in folders)):
            named = {
                f"{folder}/{name}": file
                for folder, count in zip(folders, counts, strict=True)
                for name, file in self.folders[folder].after(count).items()
            }
            yield from _contents(named)


def _found(path: Path) -> File | None:
    if not path.exists():
        return None
    seen = path.stat()
    content = None if path.is_dir() else Content(path.read_bytes(), seen.st_mode & 0o7777, seen.st_mtime_ns)
    return File(now=content, synced=content)


def _alter(file: File, now: Content, call: Call) -> None:
    match call.name:
        case "write":
            file.now = replace(now, data=now.data[: call.offset] + (call.data or b""))
        case "chmod":
            file.now = replace(now, mode=call.value)
        case "utimensat":
            file.now = replace(now, mtime_ns=call.value)
        case _:
            file.synced = now


def _contents(named: dict[str, File | None]) -> Iterator[dict[str, Content | None]]:
    """All ways in which the files that bear these names may have lost what was not synced."""
    files = list({id(file): file for file in named.values() if file}.values())
    for contents in product(*(file.left() for file in files)):
        by_file = dict(zip(map(id, files), contents, strict=True))
        state: dict[str, Content | None] = {}
        for path, file in named.items():
            above = named.get(path.rpartition("/")[0], path)
            if file and above is None:  # its folder is not there
                continue
            content = by_file.get(id(file))
            state[path + MARK if file and content is None else path] = content
        yield state


def lay_down(state: dict[str, Content | None]) -> None:
    """Makes the disk stand so."""
    folders = {path.removesuffix(MARK) for path in state if path.endswith(MARK)}
    for folder in sorted(folders):
        Path(folder).mkdir(exist_ok=True)
    for name, content in sorted(state.items(), reverse=True):
        path = Path(name)
        if name.endswith(MARK) or name in folders:
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        if content:
            path.write_bytes(content.data)
            path.chmod(content.mode)
            if content.mtime_ns is not None:
                os.utime(path, ns=(content.mtime_ns, content.mtime_ns))


def replay(target: FaultTarget, verb: str, every: int = 1) -> tuple[int, int]:
    """All losses of power during one command: how many prefixes of its calls there are, and how many states.

    With `every`, only each so manieth prefix is looked at, and the last one.
    """
    record_calls(target, verb)
    set_up(target, verb)
    calls = target.cold(verb, lambda *_: None).calls
    target.results("revert" if verb == "apply" else "apply")
    set_up(target, verb)
    disk, seen = Disk(calls), set()
    for number in range(len(calls) + 1):
        ended = number == len(calls)
        for state in disk.left() if ended or number % every == 0 else ():
            key = frozenset(state.items())
            if key not in seen or ended:
                seen.add(key)
                check_state(target, f"power lost after {number} calls of {verb}", state, verb if ended else None)
        if number < len(calls):
            disk.do(calls[number])
    return len(calls) + 1, len(seen)


def check_state(target: FaultTarget, what: str, state: dict[str, Content | None], ended: str | None) -> None:
    """One state."""
    lay_down(state)
    check_whole(target, what)
    if ended:
        states = {result["state"] for result in target.results("status")}
        if states != {"patched" if ended == "apply" else "unpatched"}:
            raise Lost(f"{what}: it said that it was done, and now status says {states}")
    check_repaired(target, what, apply_first=len(state) % 2 == 0)

"""Reading a package: of its thousands of Python files, those in which a name is mentioned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patcher.edit import mentioned_name, whole_word
from patcher.model import Patch
from patcher.storage.files import SUFFIX, FileImage, digest, explained, image_of, read_image, temp_name
from patcher.storage.record import record_row


class Scan(NamedTuple):
    """What was found below a package's folder."""

    images: dict[PurePosixPath, FileImage]
    """The Python files that count, by their paths relative to site-packages."""
    linked_folders: tuple[Path, ...]
    """Folders that are links, with Python in them; what is behind them was not read."""
    leftovers: tuple[Path, ...]
    """Temporary files of ours."""
    is_as_listed: bool = False
    """Whether all Python files that RECORD lists are there, and every other one is known to be as it says."""


Seen = dict[str, tuple[PurePosixPath, ...]]
"""Of installs that were scanned: by what RECORD says of all but scripts, those in which a name is mentioned."""


def scan_package(site_packages: Path, package: str, catalogue: Sequence[Patch], listed: bytes | None = None) -> Scan:
    """The files of a package that the patches are about, and those in which a name of theirs is mentioned.

    With the content of RECORD in `listed`, it also finds out whether all others are as that says. Raises PatcherError
    where the system refuses to read.
    """
    searched, always = _mention(catalogue), {str(site_packages / patch.file) for patch in catalogue}
    images: dict[PurePosixPath, FileImage] = {}
    linked: list[Path] = []
    leftovers: list[Path] = []
    rows = set((listed or b"").splitlines())
    missing = _python_files(rows, package)
    start, buffer, is_as_listed = len(str(site_packages)) + 1, bytearray(_BUFFER), listed is not None
    with explained(site_packages / package):
        for entry in _entries_below(site_packages / package):
            if entry.name.endswith(".py") and entry.is_file():
                found = _search(entry, None if entry.path in always else searched, buffer)
                if isinstance(found, FileImage):
                    images[PurePosixPath(entry.path[start:])] = found
                elif is_as_listed:
                    is_as_listed = _row(entry.path[start:], buffer, found) in rows
                if missing:
                    missing.discard(os.fsencode(entry.path[start:]))
            elif entry.name.endswith(SUFFIX):
                leftovers.append(Path(entry.path))
            elif entry.is_symlink() and _holds_python(entry.path):
                linked.append(Path(entry.path))
    return Scan(images, tuple(sorted(linked)), tuple(sorted(leftovers)), is_as_listed and not missing)


def scan_like(site_packages: Path, package: str, catalogue: Sequence[Patch], record: bytes, seen: Seen) -> Scan:
    """The same for one of many installs: what was found in one holds for all with the same RECORD, but for scripts.

    Of these only the files that count are read. An install of which another file is not as RECORD says is no example.
    """
    key = digest(_without_scripts(record))
    if paths := seen.get(key):
        found = {path: read_image(site_packages / path) for path in paths}
        temporary = (temp_name(site_packages / path) for path in paths)
        leftovers = tuple(path for path in temporary if os.path.lexists(path))
        return Scan({path: image for path, image in found.items() if image}, (), leftovers)
    scan = scan_package(site_packages, package, catalogue, record)
    if scan.is_as_listed and not (scan.linked_folders or scan.leftovers):
        seen[key] = tuple(scan.images)
    return scan


def _without_scripts(record: bytes) -> bytes:
    """RECORD less the rows of what lies outside: a script begins with the path of its environment's interpreter."""
    first, *others = (b"\n" + record).split(b"\n../")
    return first + b"".join(b"\n" + other.partition(b"\n")[2] for other in others)


def _python_files(rows: Set[bytes], package: str) -> set[bytes]:
    """The Python files of a package that rows of RECORD are of."""
    paths = (row.partition(b",")[0] for row in rows if row.startswith(f"{package}/".encode()))
    return {path for path in paths if path.endswith(b".py")}


def _row(path: str, buffer: bytearray, size: int) -> bytes:
    return record_row(path, bytes(memoryview(buffer)[:size])).encode("utf-8", "surrogateescape")


class _Mention(NamedTuple):
    """What to look for in thousands of files: `stem` is found in half the time of `pattern`, which begins with it."""

    stem: bytes
    pattern: re.Pattern[bytes]

    def is_in(self, buffer: bytearray, size: int) -> bool:
        """Whether it is in the first `size` bytes."""
        start = buffer.find(self.stem, 0, size)
        while start >= 0:
            if self.pattern.match(buffer, start, size):
                return True
            start = buffer.find(self.stem, start + 1, size)
        return False


def _mention(catalogue: Sequence[Patch]) -> _Mention:
    names = [mentioned_name(patch) for patch in catalogue]
    pattern = b"|".join(dict.fromkeys(map(whole_word, names)))
    stem = os.path.commonprefix(names)  # noqa: RUF071 - of names, not of paths
    return _Mention(stem.encode(), re.compile(pattern))


_BUFFER = 1 << 22
"""Bytes: more than any file of transformers has. Read into one buffer, thousands of files take half the time."""
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All that is no folder; links to folders are not followed."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    yield entry
                elif entry.name != "__pycache__":
                    waiting.append(entry.path)


def _search(entry: os.DirEntry[str], searched: _Mention | None, buffer: bytearray) -> FileImage | int:
    """The image of a file if what is `searched` is in it, or is None; else its size, and it is in the buffer.

    Thousands are opened: each must cost little.
    """
    fd = os.open(entry.path, _READ)
    try:
        size = os.readv(fd, [buffer])
        if searched and not searched.is_in(buffer, size) and size < len(buffer):
            return size
        data = bytes(memoryview(buffer)[:size])
        while rest := os.read(fd, _BUFFER):
            data += rest
        return image_of(fd, data, os.readlink(entry.path) if entry.is_symlink() else None)  # noqa: PTH115 - the text
    finally:
        os.close(fd)


def _holds_python(folder: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(folder))  # noqa: PTH208 - names are all that is asked
    except OSError:  # a dangling link, or one to a file
        return False

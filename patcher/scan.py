"""Reading a package: of its thousands of Python files, those in which a name is mentioned."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence, Set
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from patcher.edit import mentioned_name, whole_word
from patcher.forks import in_parts
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
    folder, start = site_packages / package, len(str(site_packages)) + 1
    always, mention = frozenset(str(patch.file) for patch in catalogue), _mention(catalogue)
    rows = None if listed is None else frozenset(listed.splitlines())
    paths: list[str] = []
    linked: list[Path] = []
    leftovers: list[Path] = []

    def read(part: Sequence[str]) -> tuple[dict[str, tuple[Any, ...]], bool]:
        images, is_as_listed = _read(site_packages, part, always, mention, rows)
        return {path: tuple(image) for path, image in images.items()}, is_as_listed

    with explained(folder):
        for entry in _entries_below(folder):
            if entry.name.endswith(".py") and entry.is_file():
                paths.append(entry.path[start:])
            elif entry.name.endswith(SUFFIX):
                leftovers.append(Path(entry.path))
            elif entry.is_symlink() and _holds_python(entry.path):
                linked.append(Path(entry.path))
        found = in_parts(read, paths)
    images = {PurePosixPath(path): FileImage(*image) for part, _ in found for path, image in part.items()}
    is_as_listed = rows is not None and all(one for _, one in found) and _python_files(rows, package) <= {*paths}
    return Scan(images, tuple(sorted(linked)), tuple(sorted(leftovers)), is_as_listed)


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


def _python_files(rows: Set[bytes], package: str) -> set[str]:
    """The Python files of a package that rows of RECORD are of."""
    paths = (row.partition(b",")[0] for row in rows if row.startswith(f"{package}/".encode()))
    return {os.fsdecode(path) for path in paths if path.endswith(b".py")}


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


def _read(
    site_packages: Path, paths: Sequence[str], always: Set[str], mention: _Mention, rows: Set[bytes] | None
) -> tuple[dict[str, FileImage], bool]:
    """Of the files at `paths` those that count, and whether all others are as `rows` of RECORD say, if there are any.

    Thousands are opened: each must cost little.
    """
    images: dict[str, FileImage] = {}
    is_as_listed, buffer = True, bytearray(_BUFFER)
    for path in paths:
        full = f"{site_packages}/{path}"
        fd = os.open(full, _READ)
        try:
            size = os.readv(fd, [buffer])
            data = memoryview(buffer)[:size]
            if path in always or mention.is_in(buffer, size) or size == len(buffer):
                images[path] = _whole(full, fd, bytes(data))
            elif rows is not None and is_as_listed:
                is_as_listed = record_row(path, bytes(data)).encode("utf-8", "surrogateescape") in rows
        finally:
            os.close(fd)
    return images, is_as_listed


def _whole(path: str, fd: int, data: bytes) -> FileImage:
    """The image of an open file, of which `data` has been read."""
    while rest := os.read(fd, _BUFFER):
        data += rest
    return image_of(fd, data, os.readlink(path) if os.path.islink(path) else None)  # noqa: PTH114, PTH115 - the text


def _holds_python(folder: str) -> bool:
    try:
        return any(name.endswith(".py") for name in os.listdir(folder))  # noqa: PTH208 - names are all that is asked
    except OSError:  # a dangling link, or one to a file
        return False

"""What programs of a target import while they run patched: a folder in the user's cache, made once and then found."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from patcher import __version__
from patcher.catalogue import catalogue_folder
from patcher.errors import PatcherError
from patcher.model import Target

VARIABLE = "MPS_PATCHER_CACHE"
MAX_AGE = 30 * 24 * 3600.0
"""Seconds after which a folder that nobody used is removed."""
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)


def prepared_folder(target: Target, options: Sequence[object], environ: Mapping[str, str]) -> Path:
    """The folder for this target as it stands, with these options, which need not be there.

    It has another name as soon as the tool, the target or what lies beside it changes.
    """
    from hashlib import sha256

    parts = (
        __version__,
        os.uname().release,
        options,
        target.version,
        target.torch,
        _stamp(target.dist_info),
        sorted(_sources(Path(__file__).parent)),
        sorted(_sources(catalogue_folder())),
        [(str(folder), _stamp(folder)) for folder in target.search_path if folder.name.endswith("-packages")],
        sorted(_sources(target.site_packages / "transformers")),
    )
    return cache_folder(environ) / "run" / sha256(repr(parts).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def is_prepared(folder: Path) -> bool:
    """Whether the folder is there; from now on it counts as used.

    Raises PatcherError: `no-cache` where it is another user's: what is in there would run as this one.
    """
    try:
        owner = folder.stat().st_uid
    except OSError:
        return False
    if owner != os.geteuid():
        raise _no_cache(folder, "it belongs to another user")
    with suppress(OSError):  # a cache that is read-only serves as well
        os.utime(folder)
    return True


def write_prepared(folder: Path, files: Mapping[str, bytes]) -> None:
    """Makes the folder, with these files by their paths in it, in one step; it may be there by then.

    Folders of others that nobody used for a month are removed. Raises PatcherError: `no-cache`.
    """
    import shutil
    import tempfile

    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _remove_unused(folder.parent)
        temporary = Path(tempfile.mkdtemp(prefix=".", dir=folder.parent))
        try:
            for name, data in files.items():
                path = temporary / name
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                path.write_bytes(data)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if error.errno not in _TAKEN:  # another process was faster
            raise _no_cache(folder.parent, error.strerror or str(error)) from error


def _remove_unused(parent: Path) -> None:
    import shutil

    oldest = time.time() - MAX_AGE
    for folder in parent.iterdir():
        with suppress(OSError):
            if folder.stat().st_mtime < oldest:
                removed = folder.rename(parent / f".{folder.name.lstrip('.')}")  # a part of it must not be found again
                shutil.rmtree(removed, ignore_errors=True)


def _no_cache(folder: Path, why: str) -> PatcherError:
    hint = f"Set {VARIABLE} to a folder that you own and can write to."
    return PatcherError("no-cache", f"Cannot keep the prepared files in {folder}: {why}.", hint)


def cache_folder(environ: Mapping[str, str]) -> Path:
    """The folder of this tool in the user's cache, absolute."""
    if named := environ.get(VARIABLE):
        return Path(os.path.abspath(named))  # noqa: PTH100 - no link is resolved
    usual = "~/Library/Caches" if sys.platform == "darwin" else "~/.cache"
    base = environ.get("XDG_CACHE_HOME") or os.path.expanduser(usual)  # noqa: PTH111 - as it is, without a home
    return Path(os.path.abspath(base), "mps-patcher")  # noqa: PTH100


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file or a folder; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _sources(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    """Every Python file below, as its path, size and times. Thousands are looked at, so each must cost little."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.name.endswith((".py", ".toml")):
                    found = entry.stat()
                    yield entry.path, found.st_size, found.st_mtime_ns, found.st_ctime_ns
                elif entry.name != "__pycache__" and entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)

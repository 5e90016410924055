"""The .pyc files of one module. A changed source loses them all, so that the code which runs next is the code on disk.

An unchecked-hash .pyc is run without a look at the source, and a timestamp is no proof where a file system or an
installer rounds times; so none is judged, all go. Python makes them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from patcher.change.folder import Folder
from patcher.errors import PatcherError


def prefixes(known: Path | None, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders that hold bytecode apart from its source: the interpreter's, and the caller's environment's."""
    named = environ.get("PYTHONPYCACHEPREFIX")
    found = (known, Path(named) if named else None)
    return tuple(dict.fromkeys(path.absolute() for path in found if path is not None))


def remove(home: Folder, source: str, beneath: Iterable[Path]) -> None:
    """Deletes every .pyc of the module `source` in the folder `home`: any interpreter's, any optimisation level's.

    That is `__pycache__`, a legacy .pyc beside the source (it would come to life if the source went), and the same
    below each folder of `beneath`. RECORD rows of .pyc files have no digest and are right without the file.
    Raises PatcherError: `bytecode-not-removed`, or `linked-folder` where `__pycache__` is a link.
    """
    stem = source.removesuffix(".py")
    _clear(home, stem)
    if home.has("__pycache__"):
        with home.inside("__pycache__") as cache:
            _clear(cache, stem)
    for path in _elsewhere(home.path, beneath):
        with Folder(path) as cache:
            _clear(cache, stem)


def _elsewhere(home: Path, beneath: Iterable[Path]) -> Iterator[Path]:
    """Where `importlib.util.cache_from_source` puts bytecode under a prefix: the source folder's path, by each name."""
    spellings = dict.fromkeys((home.absolute(), home.resolve()))
    for prefix in beneath:
        for folder in spellings:
            path = prefix / folder.relative_to(folder.anchor)
            if path.is_dir():
                yield path


def _clear(folder: Folder, stem: str) -> None:
    for name in folder.names():
        if name.startswith(f"{stem}.") and name.endswith(".pyc"):
            _remove(folder, name)


def _remove(folder: Folder, name: str) -> None:
    try:
        folder.remove(name)
    except PatcherError as error:
        cause = f"Old bytecode cannot be removed, and might run: {error.message}"
        raise PatcherError("bytecode-not-removed", cause, error.hint) from error

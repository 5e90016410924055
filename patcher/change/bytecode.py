"""The .pyc files of one module. A changed source loses them all, so that the code which runs next is the code on disk.

An unchecked-hash .pyc is run without a look at the source, and a timestamp is no proof where a file system or an
installer rounds times; so none is judged, all go. Python makes them anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
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
    for prefix in beneath:
        for folder in dict.fromkeys((home.path.absolute(), home.path.resolve())):
            # as importlib.util.cache_from_source: the source folder's path, by each of its names
            _clear_below(prefix, folder.relative_to(folder.anchor), stem, home.epoch)


def _clear_below(prefix: Path, path: Path, stem: str, epoch: int | None) -> None:
    """The same in the folder `path` below `prefix`, if it is there; never through a link."""
    if not prefix.is_dir():
        return
    with ExitStack() as stack:
        folder = stack.enter_context(Folder(prefix, epoch=epoch))
        for name in path.parts:
            if not folder.has(name):
                return
            folder = stack.enter_context(folder.inside(name))
        _clear(folder, stem)


def _clear(folder: Folder, stem: str) -> None:
    """Deletes them durably: after a loss of power old bytecode must not stand beside a new source."""
    found = [name for name in folder.names() if name.startswith(f"{stem}.") and name.endswith(".pyc")]
    for name in found:
        _remove(folder, name)
    if found:
        folder.sync()


def _remove(folder: Folder, name: str) -> None:
    try:
        folder.remove(name)
    except PatcherError as error:
        cause = f"Old bytecode cannot be removed, and might run: {error.message}"
        raise PatcherError("bytecode-not-removed", cause, error.hint) from error

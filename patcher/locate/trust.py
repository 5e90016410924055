"""Whether root may start an interpreter that a search came upon: only where nobody else had a hand in what it runs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_LINKS = 40
"""As many links as systems follow before they give up."""


def stranger(python: Path, site_packages: Path) -> Path | None:
    """What somebody other than root owns or may write, of all that `python` runs before it is asked anything.

    That is the interpreter and what its link leads to, its folder, its standard library, pyvenv.cfg, and the
    site-packages folder with what lies directly in it, for Python runs the `.pth` files there; and every folder and
    link on the way to these. None where all of it is root's alone.
    """
    passed: set[tuple[Path, bool]] = set()
    for end in _run_by(python, site_packages):
        *way, last = _steps(end)
        for step, is_last in [*((step, False) for step in way), (last, True)]:
            if (step, is_last) not in passed and not _is_roots(step, last=is_last):
                return step
            passed.add((step, is_last))
    return None


def _run_by(python: Path, site_packages: Path) -> Iterator[Path]:
    config, library = python.parent.parent / "pyvenv.cfg", Path("lib", site_packages.parent.name)
    yield from (python, python.parent, site_packages, site_packages.parent)
    yield from (
        path for path in (config, *(base / library for base in _bases(python, config))) if os.path.lexists(path)
    )
    try:
        yield from site_packages.iterdir()
    except OSError:
        return  # who cannot list it has no site-packages there


def _bases(python: Path, config: Path) -> Iterator[Path]:
    """The prefixes that it may take its standard library from: where its link leads to, and what pyvenv.cfg says."""
    yield Path(os.path.realpath(python)).parent.parent
    try:
        lines = config.read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    pairs = (line.partition("=") for line in lines)
    yield from (Path(value.strip()).parent for key, _, value in pairs if key.strip().lower() == "home")


def _steps(path: Path) -> Iterator[Path]:
    """Every folder and every link that the system goes through to `path`, and what is there at the end."""
    rest, here, links = list(reversed(path.parts)), Path(path.anchor), 0
    while rest:
        part = rest.pop()
        here = here.parent if part == ".." else here / part
        yield here
        if links < _LINKS and here.is_symlink():
            links += 1
            rest.extend(reversed(Path(os.readlink(here)).parts))  # noqa: PTH115 - the text, which a link may lead on from
            here = here.parent


def _is_roots(path: Path, *, last: bool) -> bool:
    """Whether nobody but root can change or exchange it. In a sticky folder, such as /tmp, others' hands are bound."""
    try:
        found = path.lstat()
    except OSError:
        return False
    if found.st_uid != 0 or stat.S_ISLNK(found.st_mode):
        return found.st_uid == 0
    open_to_others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return not open_to_others or (not last and bool(found.st_mode & stat.S_ISVTX))

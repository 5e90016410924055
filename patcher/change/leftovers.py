"""What an installer left of us: one that read RECORD before we wrote to it removes transformers, but not our folder.

Such a dist-info holds nothing else, and is no distribution. It goes, unless it may hold the only copy of something.
"""

from __future__ import annotations

import os
import time
from pathlib import Path, PurePosixPath

from patcher.change import ledger
from patcher.change.files import digest
from patcher.change.folder import Folder
from patcher.errors import PatcherError
from patcher.locate import metadata

FILLING = 60
"""Seconds in which an empty dist-info may be one that an installer is about to fill; later, a cut left it of ours."""


def clear(site_packages: Path) -> None:
    """Removes the dist-infos of transformers in which there is nothing but our ledger, and of no use any more.

    A folder that is a link is left alone, for others may share it. Raises PatcherError where the system refuses.
    """
    if site_packages.is_symlink() or not site_packages.is_dir():
        return
    with Folder(site_packages) as site:
        for name in metadata.marks(site.names()).regular:
            if metadata.is_leftover(site_packages / name):
                with site.inside(name) as dist_info:
                    _clear(site, dist_info)


def _clear(site: Folder, dist_info: Folder) -> None:
    if not dist_info.has(ledger.FOLDER):
        if time.time() - os.fstat(dist_info.fd).st_mtime > FILLING:
            site.drop(dist_info.path.name)
        return
    with dist_info.inside(ledger.FOLDER) as ours:
        names = ours.names()
        if not all(map(ledger.is_ours, names)) or (names and _may_be_needed(site, ours)):
            return
        for name in sorted(names, key=lambda name: name == ledger.STATE):
            ours.remove(name)
        ours.sync()
    dist_info.drop(ledger.FOLDER)
    site.drop(dist_info.path.name)


def _may_be_needed(site: Folder, ours: Folder) -> bool:
    """Whether a file is still as the ledger says that we left it, or nothing can be told."""
    state = ours.look(ledger.STATE)
    if state is None:
        return True
    try:
        known = ledger.decode(state.data, ours.path / ledger.STATE)
        return any(_digest(site, PurePosixPath(entry.path)) in (entry.after, entry.former) for entry in known.files)
    except PatcherError:
        return True


def _digest(site: Folder, path: PurePosixPath) -> str:
    """The digest of a file below site-packages; empty where there is none."""
    if not site.has(path.parts[0]):
        return ""
    if len(path.parts) > 1:
        with site.inside(path.parts[0]) as folder:
            return _digest(folder, PurePosixPath(*path.parts[1:]))
    image = site.look(path.name)
    return digest(image.data) if image else ""

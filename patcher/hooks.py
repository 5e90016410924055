"""The hook in a target: what has the patches applied again as Python starts, if an installer replaced transformers.

`patcher/hook/` holds its files, which are also a distribution of their own, `mps-patcher-hook`. Here they are laid into
a target as an installer would (PEP 376, PEP 427), so that pip and uv can take them away.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from patcher import __version__
from patcher.errors import PatcherError
from patcher.model import Target
from patcher.storage.files import (
    explained,
    make_folder,
    read_image,
    remove_file,
    remove_folder_if_empty,
    replace_file,
    stage,
    sync_folders,
    temp_name,
)
from patcher.storage.record import record_row

PACKAGE_FOLDER = "mps_patcher_hook"
PTH = f"{PACKAGE_FOLDER}.pth"
SEEN = f"{PACKAGE_FOLDER}/seen"
INSTALLER = "mps-patcher"
"""What the hook's INSTALLER says where we laid it ourselves."""
SITE_FOLDERS = ("site-packages", "dist-packages")
"""How folders are called whose .pth files Python reads as it starts."""
_INFO = f"{PACKAGE_FOLDER}-{__version__}.dist-info"
_SOURCE = Path(__file__).parent / "hook"
_METADATA = f"""Metadata-Version: 2.1
Name: mps-patcher-hook
Version: {__version__}
Summary: Runs mps-patcher again after an installer replaced transformers.
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: mps-patcher\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def lay_hook(target: Target) -> bool:
    """Lays the hook into a target, or brings it up to date; whether anything changed.

    Its owner must be able to run this tool. Raises PatcherError: `hook-installed` where an installer owns the hook,
    `not-at-start` where Python would not run it, or the system's refusal, which leaves nothing of the hook.
    """
    site = target.site_packages
    _refuse_installed(site)
    if site.name not in SITE_FOLDERS:
        message = f"Python would not run the hook in {site}, which is not a site-packages folder."
        raise PatcherError("not-at-start", message, "Run `mps-patcher apply` after the installer.")
    with explained(Path(sys.executable)):
        os.stat(sys.executable)  # noqa: PTH116 - as the owner, who may not enter the folders of another's tool
    wanted = _files()
    if not find_fault(target):
        return False
    _remove_files(site)
    try:
        for name, data in wanted.items():
            make_folder((site / name).parent)
            _write(site / name, data, like=target.dist_info / "METADATA")
    except PatcherError:
        with suppress(PatcherError):
            _remove_files(site)
        raise
    sync_folders(site / name for name in wanted)
    return True


def remove_hook(target: Target) -> bool:
    """Takes away the hook that `lay_hook` laid, with all that it left; whether there was one.

    Raises PatcherError: `hook-installed` where an installer owns the hook, or the system's refusal.
    """
    _refuse_installed(target.site_packages)
    return _remove_files(target.site_packages)


def find_fault(target: Target) -> str | None:
    """Why the hook would not have the patches applied, as a sentence; None if it would.

    What an installer laid is taken as whole.
    """
    site = target.site_packages
    infos = _dist_infos(site)
    if not infos:
        return f"There is no hook in {site}."
    if _installer(infos[0]) != INSTALLER:
        return None
    if [info.name for info in infos] != [_INFO]:
        return f"{infos[0]} is from another version of mps-patcher."
    for name, data in _files().items():
        image = read_image(site / name)
        if image is None or not (name == SEEN or image.data == data):
            return f"{site / name} is {'missing' if image is None else 'from another version of mps-patcher'}."
    return None


def remember_seen(target: Target) -> None:
    """Tells the hook, where there is one, that what is installed now was seen, so that it leaves it alone."""
    seen, record = target.site_packages / SEEN, target.dist_info / "RECORD"
    if not (os.path.lexists(seen) and os.path.lexists(record)):
        return
    with explained(record):
        found = record.stat()
    data = os.fsencode(f"{target.dist_info.name}\n{int(found.st_mtime)} {found.st_size}")  # as the hook's `stamp_of`
    image = read_image(seen)
    if image is None or image.data != data:
        _write(seen, data, like=seen)


def _files() -> dict[str, bytes]:
    """Every file of the hook, by its path relative to site-packages.

    RECORD comes first, so that a run that is cut off leaves nothing that cannot be uninstalled; the .pth last, since it
    starts the rest.
    """
    with explained(_SOURCE):
        sources = {name: (_SOURCE / name).read_bytes() for name in (*_modules(), PTH)}
    pth = sources.pop(PTH)
    files = {
        f"{_INFO}/INSTALLER": f"{INSTALLER}\n".encode(),
        f"{_INFO}/METADATA": _METADATA.encode(),
        f"{_INFO}/WHEEL": _WHEEL.encode(),
        **sources,
        f"{PACKAGE_FOLDER}/tool": os.fsencode(sys.executable),
        SEEN: b"",
        PTH: pth,
    }
    rows = [f"{name},," if name == SEEN else record_row(name, data) for name, data in files.items()]
    record = "".join(f"{row}\n" for row in (*rows, f"{_INFO}/RECORD,,"))
    return {f"{_INFO}/RECORD": record.encode(), **files}


def _modules() -> list[str]:
    return [f"{PACKAGE_FOLDER}/{path.name}" for path in sorted((_SOURCE / PACKAGE_FOLDER).glob("*.py"))]


def _write(path: Path, data: bytes, *, like: Path) -> None:
    before = read_image(path)
    stage(path, data, like=like)
    replace_file(path, expected=before)


def _dist_infos(site: Path) -> list[Path]:
    return sorted(site.glob(f"{PACKAGE_FOLDER}-*.dist-info"))


def _installer(info: Path) -> str:
    image = read_image(info / "INSTALLER")
    return image.data.decode("utf-8", "replace").strip() if image else INSTALLER


def _refuse_installed(site: Path) -> None:
    for info in _dist_infos(site):
        if (installer := _installer(info)) != INSTALLER:
            message = f"The hook in {site} was installed by {installer}, as mps-patcher-hook."
            raise PatcherError("hook-installed", message, "Upgrade or uninstall mps-patcher-hook the same way.")


def _remove_files(site: Path) -> bool:
    """Whether there were any. The .pth goes first, since it starts the rest, and RECORD with its folder last."""
    package, infos = site / PACKAGE_FOLDER, _dist_infos(site)
    files = (site / PTH, temp_name(site / PTH))
    found = any(os.path.lexists(path) for path in (*files, package, *infos))
    for path in files:
        remove_file(path)
    for folder in (package / "__pycache__", package, *infos):
        for path in sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ():
            if not path.is_dir():
                remove_file(path)
        remove_folder_if_empty(folder)
    return found

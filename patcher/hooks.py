"""The hook in a target: what has the patches applied again as Python starts, if an installer replaced transformers.

`patcher/hook/` holds its files, which are also a distribution of their own, `mps-patcher-hook`. Here they are laid into
a target as an installer would (PEP 376, PEP 427), so that pip and uv can take them away.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
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
)
from patcher.storage.record import record_row

PACKAGE_FOLDER = "mps_patcher_hook"
PTH = f"{PACKAGE_FOLDER}.pth"
INSTALLER = "mps-patcher"
"""What the hook's INSTALLER says where we laid it ourselves."""
_SOURCE = Path(__file__).parent / "hook"
_METADATA = f"""Metadata-Version: 2.1
Name: mps-patcher-hook
Version: {__version__}
Summary: Has mps-patcher patch transformers again after an installer replaced it.
"""
_WHEEL = "Wheel-Version: 1.0\nGenerator: mps-patcher\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


def lay_hook(target: Target) -> bool:
    """Lays the hook into a target, or brings it up to date; whether anything changed.

    Raises PatcherError: `hook-installed` where an installer owns the hook, or the system's refusal.
    """
    site = target.site_packages
    _refuse_installed(site)
    wanted = _files()
    if not find_faults(target):
        return False
    for info in _dist_infos(site):
        _remove_files(site, info)
    for name, data in wanted.items():
        make_folder((site / name).parent)
        _write(site / name, data, like=target.dist_info / "METADATA")
    sync_folders(site / name for name in wanted)
    return True


def remove_hook(target: Target) -> bool:
    """Takes away the hook that `lay_hook` laid, with all that it left; whether there was one.

    Raises PatcherError: `hook-installed` where an installer owns the hook, or the system's refusal.
    """
    _refuse_installed(target.site_packages)
    infos = _dist_infos(target.site_packages)
    for info in infos:
        _remove_files(target.site_packages, info)
    return bool(infos)


def find_faults(target: Target) -> str | None:
    """Why the hook would not have the patches applied, as a clause; None if it would.

    What an installer laid is taken as whole.
    """
    site = target.site_packages
    infos = _dist_infos(site)
    if not infos:
        return "there is none"
    if _installer(infos[0]) != INSTALLER:
        return None
    for name, data in _files().items():
        image = read_image(site / name)
        if name != f"{PACKAGE_FOLDER}/seen" and (image is None or image.data != data):
            return f"{site / name} is {'missing' if image is None else 'not of this mps-patcher'}"
    return None


def remember_seen(target: Target) -> None:
    """Tells the hook, where there is one, that what is installed now was seen, so that it leaves it alone."""
    seen, record = target.site_packages / PACKAGE_FOLDER / "seen", target.dist_info / "RECORD"
    if not (os.path.lexists(seen) and os.path.lexists(record)):
        return
    with explained(record):
        found = os.stat(record)  # noqa: PTH116 - as the hook does it
    stamp = f"{target.dist_info.name}\n{found.st_mtime_ns} {found.st_size} {found.st_ino}"
    _write(seen, stamp.encode("utf-8", "surrogateescape"), like=seen)


def _files() -> dict[str, bytes]:
    """Every file of the hook, by its path relative to site-packages, RECORD last."""
    info = f"{PACKAGE_FOLDER}-{__version__}.dist-info"
    files = {
        f"{PACKAGE_FOLDER}/{path.name}": path.read_bytes() for path in sorted((_SOURCE / PACKAGE_FOLDER).glob("*.py"))
    }
    files |= {f"{PACKAGE_FOLDER}/seen": b"", f"{PACKAGE_FOLDER}/tool": os.fsencode(sys.executable)}
    files |= {
        PTH: (_SOURCE / PTH).read_bytes(),
        f"{info}/METADATA": _METADATA.encode(),
        f"{info}/WHEEL": _WHEEL.encode(),
    }
    files[f"{info}/INSTALLER"] = f"{INSTALLER}\n".encode()
    rows = [f"{name},," if name.endswith("/seen") else record_row(name, data) for name, data in files.items()]
    files[f"{info}/RECORD"] = "".join(f"{row}\n" for row in (*rows, f"{info}/RECORD,,")).encode()
    return files


def _write(path: Path, data: bytes, *, like: Path) -> None:
    before = read_image(path)
    stage(path, data, like=like)
    replace_file(path, expected=before)


def _dist_infos(site: Path) -> list[Path]:
    return sorted(site.glob(f"{PACKAGE_FOLDER}-*.dist-info"))


def _installer(info: Path) -> str:
    image = read_image(info / "INSTALLER")
    return image.data.decode("utf-8", "replace").strip() if image else ""


def _refuse_installed(site: Path) -> None:
    for info in _dist_infos(site):
        if (installer := _installer(info)) != INSTALLER:
            message = f"The hook in {site} was installed by {installer or 'an installer'}, as mps-patcher-hook."
            hint = "Upgrade or uninstall mps-patcher-hook the same way."
            raise PatcherError("hook-installed", message, hint)


def _remove_files(site: Path, info: Path) -> None:
    """The .pth first: without it nothing of the rest runs."""
    package = site / PACKAGE_FOLDER
    remove_file(site / PTH)
    for folder in (package / "__pycache__", package, info):
        _empty(folder)
        remove_folder_if_empty(folder)


def _empty(folder: Path) -> None:
    paths: Iterable[Path] = sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else ()
    for path in paths:
        if not path.is_dir():
            remove_file(path)

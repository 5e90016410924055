"""Has mps-patcher patch transformers again after an installer replaced it. `mps_patcher_hook.pth` imports it.

It runs each time that Python starts, so what follows is only the comparison with what was seen last; the rest is in
`again.py`. It needs the standard library alone, Python 3.8 or newer, and imports nothing that Python has not imported
by then. `MPS_PATCHER_HOOK=off` turns it off; `MPS_PATCHER_HOOK=verbose` makes it say on standard error what it does.
"""

import os


def is_seen(folder: str) -> bool:
    """Whether the transformers beside `folder`, this package's own, is the one that was seen last: by one `stat`."""
    with open(folder + "/seen", encoding="utf-8", errors="surrogateescape") as stream:
        name, _, stamp = stream.read().partition("\n")
    return bool(name) and stamp_of(os.path.dirname(folder) + "/" + name + "/RECORD") == stamp


def stamp_of(record: str) -> str:
    """What tells a RECORD from another one in its place.

    Patching adds rows, so a reinstall of the same second has another size. Whole seconds, and no number of the file,
    since those do not survive a copy of the environment or the layer of an image.
    """
    found = os.stat(record)
    return f"{int(found.st_mtime)} {found.st_size}"


def start(folder: str) -> None:
    """Compares; only where that shows a change does it load what patches. Nothing is raised, whatever is wrong."""
    if os.environ.get("MPS_PATCHER_HOOK") == "off":
        return
    try:
        if is_seen(folder):
            return
    except OSError:  # nothing was seen yet, or what was is gone
        pass
    try:
        from . import again

        again.patch(folder)
    except Exception as error:
        if os.environ.get("MPS_PATCHER_HOOK") == "verbose":
            import sys

            print(f"mps-patcher: {type(error).__name__}: {error}", file=sys.stderr)


start(os.path.dirname(os.path.abspath(__file__)))

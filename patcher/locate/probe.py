"""Runs inside the interpreter that is asked about, and says what that interpreter would import, without importing it.

Started as `python -B probe.py FILE NAME`; writes one JSON document to FILE, so that whatever the environment's
start-up code prints does no harm. Python 3.8 syntax, standard library only. Keys of the document:

    path            sys.path as a program elsewhere would see it, absolute
    found           the package folder (or the module file) that `import NAME` would load, or null
    pycache_prefix  sys.pycache_prefix, or null
"""

from __future__ import annotations

import sys


def main(destination: str, name: str) -> None:
    """Write what this interpreter would import as `name` to the file `destination`."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this script's own folder: no other program sees it, and nothing below may come from it
    import importlib.util
    import json
    from pathlib import Path

    spec = importlib.util.find_spec(name)  # for a top-level name this runs finders, never the package
    places = [] if spec is None else [*(spec.submodule_search_locations or []), str(spec.origin)]
    answer = {
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "found": str(Path(places[0]).absolute()) if places else None,
        "pycache_prefix": sys.pycache_prefix,
    }
    Path(destination).write_text(json.dumps(answer), encoding="ascii")


if __name__ == "__main__":
    main(*sys.argv[1:])

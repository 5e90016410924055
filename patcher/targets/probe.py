"""Runs inside the interpreter that is asked about, and says what that interpreter would import, without importing it.

Its source is given to `python -B -c SOURCE FD NAME`, since the owner of an environment need not be able to read this
file. It writes one JSON document to the file descriptor FD, so that whatever start-up code prints does no harm.
Python 3.8 syntax, standard library only. Keys of the document:

    path            sys.path as a program elsewhere would see it, absolute
    found           the package folder (or the module file) that `import NAME` would load, or null
    prefix          sys.prefix
    pycache_prefix  sys.pycache_prefix, or null
"""

from __future__ import annotations

import sys


def main(descriptor: str, name: str) -> None:
    """Write what this interpreter would import as `name` to that file descriptor."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the current folder: a program elsewhere does not see it, and nothing below may come from it
    import importlib.util
    import json
    import os
    from pathlib import Path

    spec = importlib.util.find_spec(name)  # for a top-level name this runs finders, never the package
    places = [] if spec is None else [*(spec.submodule_search_locations or []), str(spec.origin)]
    answer = {
        "path": [str(Path(entry).absolute()) for entry in sys.path],
        "found": str(Path(places[0]).absolute()) if places else None,
        "prefix": sys.prefix,
        "pycache_prefix": sys.pycache_prefix,
    }
    with os.fdopen(int(descriptor), "w", encoding="ascii") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])

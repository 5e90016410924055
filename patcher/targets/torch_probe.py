"""Runs inside the interpreter that is asked about, and says what it is and, if asked, what its torch says of MPS.

Its source is given to `python -B -c SOURCE FD PACKAGE`, as that of probe.py; PACKAGE is `torch`, or empty where there
is none to import. It writes one JSON document to the file descriptor FD. Python 3.8 syntax, standard library and torch.
Keys of the document:

    python     its version
    machine    what it was built for: arm64, x86_64
    torch      torch.__version__, or null
    built      torch.backends.mps.is_built(), or null
    available  torch.backends.mps.is_available(), or null
    error      why torch cannot be imported or asked, or null
"""

from __future__ import annotations

import sys


def main(descriptor: str, package: str) -> None:
    """Write what this interpreter and its torch say to that file descriptor."""
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # the current folder
    import json
    import os
    import platform

    answer = dict.fromkeys(("torch", "built", "available", "error"))
    answer.update(python=platform.python_version(), machine=platform.machine())
    try:
        if package:
            import torch

            answer.update(torch=str(torch.__version__))
            answer.update(built=torch.backends.mps.is_built(), available=torch.backends.mps.is_available())
    except BaseException as error:  # whatever it is, it is the answer
        answer.update(error=f"{type(error).__name__}: {error}")
    with os.fdopen(int(descriptor), "w", encoding="ascii") as stream:
        json.dump(answer, stream)


if __name__ == "__main__":
    main(*sys.argv[1:])

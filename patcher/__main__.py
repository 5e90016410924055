"""`python -m patcher` is `mps-patcher`, and this is where both begin."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from typing import TextIO, cast


def main() -> None:
    """Runs the command line, and exits."""
    if sys.platform == "win32":
        sys.exit("mps-patcher needs macOS or Linux.")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # put back and clean up, as after Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if stream:  # None where it was closed
            cast(TextIO, stream).reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    gc.disable()  # to look for cycles among imports and syntax trees takes a fifth of the time
    atexit.register(gc.freeze)  # and at the end Python looks all the same
    try:
        from patcher.cli import program  # after that

        program(prog_name="mps-patcher")
    except KeyboardInterrupt:  # before, or after, all that has an answer to it
        sys.exit(130)


if __name__ == "__main__":
    main()

"""`python -m patcher` is `mps-patcher`, and this is where both begin."""

from __future__ import annotations

import sys


def main() -> None:
    """Runs the command line, and exits."""
    if sys.platform == "win32":
        sys.exit("mps-patcher needs macOS or Linux.")
    try:
        _run()
    except KeyboardInterrupt:  # while modules are loaded; later the command line has an answer to it
        sys.exit(130)


def _run() -> None:
    import atexit
    import gc
    import io
    import signal

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # put back and clean up, as after Ctrl-C
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="backslashreplace")
    gc.disable()  # to look for cycles among imports and syntax trees takes a fifth of the time
    atexit.register(gc.freeze)  # and at the end Python looks all the same
    from patcher.cli import program  # after that

    program(prog_name="mps-patcher")


if __name__ == "__main__":
    main()

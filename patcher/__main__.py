"""`python -m patcher` is `mps-patcher`, and this is where both begin."""

from __future__ import annotations

import signal


def main() -> None:
    """Runs the command line. A Ctrl-C that comes before that is loaded, which takes a moment, waits until then."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
    from patcher import cli

    cli.main(ready=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, before))


if __name__ == "__main__":
    main()

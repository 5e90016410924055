"""`python -m patcher` is `mps-patcher`."""

from __future__ import annotations

from patcher.cli import main

if __name__ == "__main__":
    main(prog_name="mps-patcher")

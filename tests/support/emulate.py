"""Run a script on the emulated MPS device, unpatched: `python emulate.py TORCH MACOS SCRIPT [ARGUMENTS...]`.

In the process "mps" is available, under the rules of that torch and macOS, and transformers believes in that torch.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from patcher.selftest import device


def main(torch_version: str, macos: str, *command: str) -> None:
    """Runs the script as `python SCRIPT ARGUMENTS...` would."""
    chosen = device.choose("emulated", torch_version, macos)
    if refusal := device.pretend(torch_version):
        raise RuntimeError(refusal)
    torch.backends.mps.is_available = lambda: True
    sys.argv = [*command]
    sys.path[0] = str(Path(command[0]).resolve().parent)
    with chosen.active():
        runpy.run_path(command[0], run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])

"""What an evaluation is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class EvaluateOptions(NamedTuple):
    """What is evaluated, on what, and how."""

    model: str
    """A folder, or a name of the hub."""
    scenarios: Path
    output: Path
    devices: tuple[str, ...] | None = None
    """`cpu`, `mps`, `cuda`; the first is the reference. None: the CPU and the best accelerator."""
    max_new_tokens: int = 64
    batch_size: int = 1
    dtype: str = "float32"
    warmup: int = 1
    """Scenarios that each device runs first, uncounted."""
    repeat: int = 1
    """Times each batch is run and timed."""
    seed: int | None = None
    """Of sampling; None: greedy search."""
    resume: bool = False

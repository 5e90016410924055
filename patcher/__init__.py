"""mps-patcher: repairs transformers' membership test on Apple GPUs in the installed source."""

from __future__ import annotations

__version__ = "1.0.0"

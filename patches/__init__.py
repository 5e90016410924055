"""The catalogue: one package a patch."""

from __future__ import annotations

from patcher.model import Patch
from patches import direct_isin, isin_mps_friendly

CATALOGUE: tuple[Patch, ...] = (isin_mps_friendly.PATCH, direct_isin.PATCH)
"""Every patch, in the order in which they are applied."""

"""What pytest does for a mutant: its quickest tests first, for a while. No test lives on what another remembered."""

from __future__ import annotations

import json
import os
from itertools import accumulate
from pathlib import Path

import pytest

BUDGET = 20.0
"""Seconds of tests that each mutant gets, by what they took without one; a mutant that lives longer survives."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("MUTANT_UNDER_TEST", "").startswith("patche"):
        return
    seconds = json.loads(Path("mutmut-stats.json").read_text("utf-8"))["duration_by_test"]
    items.sort(key=lambda item: float(seconds.get(item.nodeid, 0)))
    spent = accumulate(float(seconds.get(item.nodeid, 0)) for item in items)
    items[:] = [item for item, total in zip(items, spent, strict=True) if total <= BUDGET or item is items[0]]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What `edits` has kept from another test would hide which functions a test runs."""
    from patcher import edits

    edits.find.cache_clear()
    edits.edit.cache_clear()

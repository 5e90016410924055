"""The pair of the first bug report as it is: what verify shows there by default. `make test-seed` runs this."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from patcher.locate.targets import Options, find
from patcher.model import State
from patcher.verify import verify
from patches import CATALOGUE

pytestmark = pytest.mark.seed


def test_the_installed_torch_chooses_the_rules_that_show_the_reported_error(seed_python: Path) -> None:
    """No option names a torch: that of the environment is 2.1.0, which transformers itself finds too old."""
    targets = find(Options(python=(seed_python,), site_packages=(), under=()), os.environ, Path.cwd())
    result, _ = verify(targets, CATALOGUE, named=False, static=False, device="emulated", timeout=300)
    assert result.state is State.UNPATCHED
    assert result.need
    assert "has no isin on MPS" in result.need.reason
    assert result.device
    assert (result.device.torch, result.device.macos) == ("2.1", "12.3")
    failed = {check.name: check.detail for check in result.checks if check.status == "failed"}
    assert list(failed) == ["source", "contract", "callers", "generate"]
    assert "IndexError: tuple index out of range (transformers/pytorch_utils.py:" in failed["generate"]

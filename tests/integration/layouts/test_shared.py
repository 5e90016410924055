"""A transformers outside the environment that uses it: said before it is patched, and patched all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """An environment without transformers."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "env"], check=True)
    return tmp_path / "env"


def test_it_is_said_before_it_is_patched_and_in_json(tool: Any, site: Path, env: Path) -> None:
    options = ("--python", env, "isin_mps_friendly")
    why = f"it lies outside {env}"
    assert f"other environments may use it too: {why}\n" in tool("status", *options, PYTHONPATH=site).out
    assert [one["target"]["shared"] for one in tool.json("status", *options, PYTHONPATH=site).results] == [why]
    for dry in (("--dry-run",), ()):
        told = tool("apply", *dry, *options, PYTHONPATH=site)
        assert (told.code, told.err) == (0, f"note: Other environments may use {site} too: {why}.\n")
    (result,) = tool.json("verify", "--static", *options, PYTHONPATH=site).results
    assert (result["state"], result["target"]["shared"]) == ("patched", why)


def test_nothing_is_said_of_an_environments_own(tool: Any, site: Path, venv: Any) -> None:
    python = venv("own", site) / "bin" / "python"
    told = tool("apply", "--python", python, "isin_mps_friendly")
    assert (told.code, told.err, "other environments" in told.out) == (0, "", False)
    assert tool.json("status", "--python", python).results[0]["target"]["shared"] is None

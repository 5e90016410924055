"""What stands twice is the same, and what the pages name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTAINER = ROOT / "examples" / "container"


def test_the_dockerfile_is_the_containerfile() -> None:
    assert (CONTAINER / "Dockerfile").read_bytes() == (CONTAINER / "Containerfile").read_bytes()


@pytest.mark.parametrize("page", ["README.md", "docs/container.md", "docs/environments.md"])
def test_every_lane_that_a_page_names_is_there(page: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:`|^    )make\s+(test[a-z-]*|[a-z]+)", (ROOT / page).read_text("utf-8"), re.MULTILINE))
    assert named
    assert named - {"env", "check"} <= targets


def test_the_example_installs_this_version() -> None:
    from patcher import __version__

    assert re.findall(r"ARG MPS_PATCHER=(.*)", (CONTAINER / "Containerfile").read_text("utf-8")) == [__version__] * 2
    assert re.findall(r"mps-patcher==([\d.]+)", (ROOT / "docs" / "container.md").read_text("utf-8")) == [__version__]

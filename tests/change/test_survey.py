"""What is known of a patch in a target before anything is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from patcher.model import State
from patches import CATALOGUE


def test_nothing_changes_by_looking(env: Callable[..., Any]) -> None:
    found = env(torch="2.1.0").status()
    assert found.before
    assert found.after == found.before
    assert [file.after for file in found.files] == [found.before]
    assert found.need.reason.startswith("torch 2.1.0 has no isin on MPS")


def test_what_cannot_be_read_is_known_to_be_needed(env: Callable[..., Any]) -> None:
    it = env(torch="2.1.0")
    it.source.unlink()
    it.source.mkdir()
    found = it.status()
    assert (found.error.code, found.state, found.need.needed) == ("not-a-file", None, True)
    assert found.need.reason.startswith("torch 2.1.0 has no isin on MPS")
    assert found.file == it.source


@pytest.mark.parametrize(
    "text", ["def isin_mps_friendly(a):\n", "class isin_mps_friendly:\n", "async def isin_mps_friendly(a):\n"]
)
def test_a_function_that_moved_is_found_whatever_it_became(env: Callable[..., Any], text: str) -> None:
    it = replace(env("5.23.0"), patches=CATALOGUE[:1])
    moved = it.target.site_packages / "transformers" / "utils" / "membership.py"
    moved.write_text(f"{text}    pass\n")
    found = it.status()
    assert found.state is State.ABSENT
    assert "is not in transformers/pytorch_utils.py but in transformers/utils/membership.py" in found.note

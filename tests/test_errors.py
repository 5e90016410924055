"""A refusal is a line of cause and a line of what to do, whatever is named in it."""

from __future__ import annotations

import pytest

from patcher.errors import PatcherError


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a b.py", "a b.py"),
        ("größe \N{SNOWMAN}", "größe \N{SNOWMAN}"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("caf\udce9", "caf\\udce9"),
        ("\ud800", "\\ud800"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\u202e", "\\u202e"),
    ],
)
def test_what_cannot_be_shown_is_escaped(path: str, shown: str) -> None:
    error = PatcherError("a-code", f"{path} is damaged.", f"Look at {path}.")
    assert (str(error), error.message, error.hint) == (f"{shown} is damaged.",) * 2 + (f"Look at {shown}.",)
    error.message.encode("utf-8")

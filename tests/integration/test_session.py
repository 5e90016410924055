"""The README's session is what happens today."""

from __future__ import annotations

from pathlib import Path

import pytest
from terminal_session import as_markdown, comparable, record, session_in

pytestmark = pytest.mark.seed


def test_the_session_of_the_readme_is_a_real_one() -> None:
    """Apart from times and line breaks; `make session` writes it anew."""
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert comparable(session_in(readme)) == comparable(as_markdown(record()))

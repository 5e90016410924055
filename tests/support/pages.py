"""The code in a page of docs/."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def code_blocks(page: str, heading: str, language: str = "sh") -> list[str]:
    """The blocks of a language under a heading of docs/`page`, of which there is at least one."""
    text = (DOCS / page).read_text("utf-8")
    section = re.split(r"(?m)^## ", text.partition(f"\n## {heading}\n")[2])[0]
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", section)
    assert found, heading
    return found

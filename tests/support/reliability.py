"""docs/reliability.md: every slow suite writes its own section there, from the run that it has just made."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"


def write(section: str, lines: Sequence[str]) -> None:
    """Replaces what stands between the marks of `section` by `lines`, which are Markdown. KeyError if it has none."""
    page = PAGE.read_text("utf-8")
    begin, end = f"<!-- {section}: begin -->\n", f"<!-- {section}: end -->"
    found = re.search(f"(?s){re.escape(begin)}.*?{re.escape(end)}", page)
    if found is None:
        raise KeyError(section)
    text = begin + "".join(f"{line}\n" for line in lines) + end
    PAGE.write_text(page[: found.start()] + text + page[found.end() :], "utf-8")

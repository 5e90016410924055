"""A change as a unified diff that `git apply` and `patch` understand."""

from __future__ import annotations

import difflib


def unified(name: str, before: bytes, after: bytes) -> str:
    """The diff of the file `name`; bytes that are no UTF-8 are shown as replacements. Empty where nothing changes."""
    lines = difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def _lines(data: bytes) -> list[str]:
    """Lines by `\\n` alone: a carriage return stays where it is, and str.splitlines knows more ends than a diff."""
    *whole, last = data.decode("utf-8", "replace").split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])

"""A change as a unified diff that `git apply` and `patch` understand."""

from __future__ import annotations

import os


def unified_diff(name: str, before: bytes, after: bytes) -> str:
    """The diff of the file `name`; bytes that are no UTF-8 are shown as replacements. Empty where nothing changes."""
    import difflib  # only --diff needs it

    lines = difflib.unified_diff(_lines(before), _lines(after), _quoted_name(f"a/{name}"), _quoted_name(f"b/{name}"))
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)


def octal_escaped(text: str, special: str) -> str:
    """The text with what is not printable in it, and the `special` characters, as octal bytes, as C has them."""
    plain = (char if char.isprintable() and char not in special else _octal(char) for char in text)
    return "".join(plain)


def _octal(char: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in os.fsencode(char))


def _quoted_name(name: str) -> str:
    """The name as git writes it in a diff: in quotes where it holds what would not stay one printable line."""
    escaped = octal_escaped(name, special='\\"')
    return name if escaped == name else f'"{escaped}"'


def _lines(data: bytes) -> list[str]:
    """Lines by `\\n` alone: a carriage return stays where it is, and str.splitlines knows more ends than a diff."""
    *whole, last = data.decode("utf-8", "replace").split("\n")
    return [f"{line}\n" for line in whole] + ([last] if last else [])

"""Text for people, laid out."""

from __future__ import annotations


def wrapped(text: str, width: int | None, indent: str = "", hanging: str | None = None) -> str:
    """The text in lines of at most `width` columns, though never narrower than 40; one line where it is None.

    `hanging` is the indentation of the lines after the first, if that is another one.
    """
    if width is None:
        return indent + text
    import textwrap  # only a terminal needs it

    return textwrap.fill(
        text, max(width, 40), initial_indent=indent, subsequent_indent=indent if hanging is None else hanging,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip

"""The bytes of a module as Python reads them: its encoding, and the lines that Python counts."""

from __future__ import annotations

import re
from codecs import BOM_UTF8
from dataclasses import dataclass, field

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_COOKIE = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_COMMENT = re.compile(rb"[ \t\f]*(?:#.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A module that can be written again as it is, with no byte order mark in its text."""

    mark: bytes
    encoding: str
    text: str = field(repr=False)

    def pieces(self, parts: list[str]) -> list[bytes]:
        """The bytes of each of these parts, of which the text consists.

        Raises ValueError where the bytes of a part depend on what is around it, so that none can change alone.
        """
        encoded = [part.encode(self.encoding) for part in parts]
        if b"".join(encoded) != self.text.encode(self.encoding):
            raise ValueError(f"in {self.encoding} no part can change alone")
        return encoded


def read(source: bytes) -> Source:
    """The module. Raises ValueError where the bytes cannot be read, and written again as they are."""
    mark = BOM_UTF8 if source.startswith(BOM_UTF8) else b""
    rest = source.removeprefix(mark)
    encoding = _encoding(rest)
    try:
        text = rest.decode(encoding)
        again = text.encode(encoding)
    except LookupError as error:
        raise ValueError(f"{encoding} is no encoding of text") from error
    if again != rest:
        raise ValueError(f"{encoding} does not give the bytes back")
    return Source(mark=mark, encoding=encoding, text=text)


def lines(text: str) -> list[str]:
    """The lines with their ends: only line feeds, carriage returns and both together end one."""
    return [line for line in _LINE.findall(text) if line]


def _encoding(source: bytes) -> str:
    """What the comment on the first or second line declares (PEP 263), as Python's parser looks for it.

    tokenize.detect_encoding takes what only carriage returns end for one line, and wants the line to be UTF-8.
    """
    for line in re.split(rb"\r\n|\r|\n", source, maxsplit=2)[:2]:
        if found := _COOKIE.match(line):
            name = found.group(1).decode("ascii")
            return "utf-8" if f"{name[:12].lower().replace('_', '-')}-".startswith("utf-8-") else name
        if not _COMMENT.fullmatch(line):
            break
    return "utf-8"

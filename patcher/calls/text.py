"""The text of a module, and edits of it that touch nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

from patcher.source import Source, lines, read


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """The bytes from `start` up to `end` become `new`."""

    start: int
    end: int
    new: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A module in UTF-8, with the lines that Python counts."""

    body: bytes
    """Without a byte order mark."""
    source: Source
    starts: tuple[int, ...] = field(repr=False)
    """Where each line begins, and where the last one ends."""

    @classmethod
    def read(cls, source: bytes) -> Text:
        """Raises ValueError where the bytes cannot be read, and written again as they are."""
        whole = read(source)
        ends = accumulate(len(line.encode("utf-8")) for line in lines(whole.text))
        return cls(body=whole.text.encode("utf-8"), source=whole, starts=(0, *ends))

    def line(self, number: int) -> bytes:
        """The line of that number, counted from 1, with its end; empty beyond the last."""
        return self.body[self.start(number) : self.start(number + 1)]

    def start(self, number: int) -> int:
        """Where the line of that number begins."""
        return self.starts[min(number, len(self.starts)) - 1]

    def indent(self, number: int) -> bytes:
        """The white space in front of that line, from its last form feed on."""
        line = self.line(number)
        return line[: len(line) - len(line.lstrip(b" \t\f"))].rpartition(b"\f")[2]

    def newline(self, number: int) -> bytes:
        """How that line ends; a last line without an end, as the first one does."""
        for line in (self.line(number), self.line(1)):
            for end in (b"\r\n", b"\n", b"\r"):
                if line.endswith(end):
                    return end
        return b"\n"

    def plain(self) -> bytes:
        """The text, byte for byte as long, with the line ends and white space that libcst knows.

        To Python a lone carriage return ends a line, and a form feed makes what is left of it count for nothing.
        """
        unified = re.sub(rb"\r(?!\n)", b"\n", self.body)
        led = re.sub(rb"^([ \t\f]*)\f", rb"\1\n", unified, flags=re.MULTILINE)
        return led.replace(b"\f", b" ")

    def edited(self, edits: Iterable[Edit]) -> bytes:
        """The module with all edits made; one inside of what another removes is void.

        Raises ValueError if two edits overlap otherwise, or none can be made alone in the module's encoding.
        """
        kept: list[bytes] = []
        new: list[bytes] = []
        old: list[bytes] = []
        last = Edit(start=0, end=0)
        for edit in sorted(edits, key=lambda one: (one.start, one.end > one.start, -one.end)):
            if last.start <= edit.start < last.end and edit.end <= last.end:
                continue
            if edit.start < last.end:
                raise ValueError("two edits overlap")
            kept.append(self.body[last.end : edit.start])
            old.append(self.body[edit.start : edit.end])
            new.append(edit.new)
            last = edit
        kept.append(self.body[last.end :])
        return self._joined(kept, old, new)

    def _joined(self, kept: list[bytes], old: list[bytes], new: list[bytes]) -> bytes:
        """The module with what is `new` in the place of what is `old`, between what is `kept`."""
        every = (part.decode("utf-8") for pair in zip(kept, [*old, b""], strict=True) for part in pair)
        pieces = self.source.pieces(list(every))[::2]
        changed = [part.decode("utf-8").encode(self.source.encoding) for part in new]
        return self.source.mark + b"".join(part for pair in zip(pieces, [*changed, b""], strict=True) for part in pair)

"""What a pasted error is made of: the frames of its traceback, and the text of the error itself."""

from __future__ import annotations

import re
from typing import NamedTuple


class Frame(NamedTuple):
    """One line of a traceback."""

    path: str
    line: str | None
    function: str

    @property
    def short(self) -> str:
        """The path below site-packages, or the file's name alone: nothing of anybody's home folder."""
        return re.split(r"-packages/", self.path)[-1] if "-packages/" in self.path else self.path.rpartition("/")[2]

    @property
    def place(self) -> str:
        """Where it is, for a sentence."""
        return f"{self.short}, line {self.line}" if self.line else self.short

    def is_in(self, package: str) -> bool:
        """Whether the file lies in a package of this name."""
        return f"/{package}/" in f"/{self.path}"

    def is_file(self, path: str) -> bool:
        """Whether it is this file, a path relative to site-packages."""
        return f"/{self.path}".endswith(f"/{path}")


class PastedError(NamedTuple):
    """An error as somebody pasted it."""

    frames: tuple[Frame, ...]
    """Those of Python, IPython and rich; none where it is the error alone."""
    text: str
    """What follows the last frame: a line of source, and the error."""

    @property
    def origin(self) -> Frame | None:
        """The frame that raised it, or that called torch, where torch or the emulated device did."""
        inner = ("torch", "selftest")
        return next((frame for frame in reversed(self.frames) if not any(map(frame.is_in, inner))), None)

    @property
    def last_line(self) -> str:
        """The last line that is not empty: in a traceback, the error."""
        return next((line.strip() for line in reversed(self.text.splitlines()) if line.strip()), "")


def read_errors(text: str) -> tuple[PastedError, ...]:
    """Any text, such as one line of an error or a program's whole output, cut behind each frame; the last error first.

    So an error that was raised while another one was handled has its own frames, and the ones before them.
    """
    found = list(_FRAME.finditer(text))
    frames = tuple(
        Frame(one["quoted"] or one["path"], one["at"] or one["line"], one["name"] or one["function"] or "")
        for one in found
    )
    starts, ends = [0, *(one.end() for one in found)], [*(one.start() for one in found), len(text)]
    parts = [
        PastedError(frames[:number], text[start:end])
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    ]
    return tuple(reversed(parts))


def without_colors(text: str) -> str:
    """The text without the orders that colour it in a terminal."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)


def squeezed(text: str) -> str:
    """Its letters and digits alone, in lower case: quotes, frames and line ends change from terminal to terminal."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


_FRAME = re.compile(
    r"""File "(?P<quoted>[^"\n]+)", line (?P<at>\d+)(?:, in (?P<name>[^\s(]+))?"""  # Python
    r"""|(?P<path>(?<![^\s"'])[^\s"']+\.py)(?::(?P<line>\d+))?,? in (?P<function>[\w.<>]+)"""  # IPython and rich
)

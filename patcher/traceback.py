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

    text: str
    """All of it, without colours."""
    frames: tuple[Frame, ...]
    """Those of Python, IPython and rich; none where it is the error alone."""
    tail: str
    """What follows the last frame: the error, behind its line of source."""

    @property
    def origin(self) -> Frame | None:
        """The frame that raised it, or that called torch, where torch or the emulated device did."""
        inner = ("torch", "selftest")
        return next((frame for frame in reversed(self.frames) if not any(map(frame.is_in, inner))), None)

    @property
    def last_line(self) -> str:
        """The last line that is not empty: in a traceback, the error."""
        return next((line.strip() for line in reversed(self.tail.splitlines()) if line.strip()), "")


def read_error(text: str) -> PastedError:
    """Any text, such as one line of an error or a program's whole output, as an error with its traceback."""
    plain = _COLORS.sub("", text)
    found = list(_FRAME.finditer(plain))
    frames = (Frame(one["quoted"] or one["path"], one["at"] or one["line"], one["name"] or one["function"] or "")
              for one in found)  # fmt: skip
    return PastedError(text=plain, frames=tuple(frames), tail=plain[found[-1].end() if found else 0 :])


def squeezed(text: str) -> str:
    """Its letters and digits alone, in lower case: quotes, frames and line ends change from terminal to terminal."""
    return re.sub(r"[^a-z0-9]", "", text.lower())


_COLORS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_FRAME = re.compile(
    r"""File "(?P<quoted>[^"\n]+)", line (?P<at>\d+)(?:, in (?P<name>[^\s(]+))?"""  # Python
    r"""|(?P<path>[^\s"']+\.py)(?::(?P<line>\d+))?,? in (?P<function>[\w.<>]+)"""  # IPython and rich
)

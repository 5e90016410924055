"""One line on a terminal that says what is being waited for, moves while one waits, and leaves nothing behind.

It belongs to the process, as its standard error does: whatever may take long says so with `show`, which does nothing
unless a command has a terminal to show it on (`on_terminal`).
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from patcher.errors import one_line

DELAY = 0.5
"""Seconds that a wait lasts before it is shown: what is quick does not flicker."""
_TICK = 0.1
_ERASE = "\r\033[K"


class TransientLine:
    """The line, drawn by a thread of its own: it moves while the main thread computes, reads or waits for a process."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock, self._ended = stream, threading.Lock(), threading.Event()
        self._stage, self._detail, self._note, self._drawn = "", "", "", ""
        self._began = self._staged = time.monotonic()
        self._thread = threading.Thread(target=self._draw_until_ended, daemon=True)
        self._thread.start()

    def set(self, stage: str, detail: str, note: str) -> None:
        """From now on it says this; seconds are counted from when the stage last changed."""
        with self._lock:
            if stage != self._stage:
                self._staged = time.monotonic()
            self._stage, self._detail, self._note = stage, detail, note

    @property
    def said(self) -> tuple[str, str, str]:
        """What it was set to."""
        return self._stage, self._detail, self._note

    def end(self) -> None:
        """Erases it, for good."""
        self._ended.set()
        self._thread.join()
        with self.erased():
            pass

    @contextmanager
    def erased(self) -> Iterator[None]:
        """Within: it is not there, so that something can be printed in its place."""
        with self._lock:
            self._write("")
            yield

    def _draw_until_ended(self) -> None:
        # The main thread must get them, to be woken from what it waits for
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        while not self._ended.wait(_TICK):
            with self._lock:
                if time.monotonic() - self._began >= DELAY:
                    self._write(self._text())

    def _text(self) -> str:
        """What it says now, in as many columns as the terminal has."""
        text, seconds = f"{self._stage} {self._detail}".strip(), int(time.monotonic() - self._staged)
        encoding = self._stream.encoding or "ascii"
        text = one_line(text).encode(encoding, "backslashreplace").decode(encoding)
        return fitted(text, f", {duration(seconds)}" if seconds else "", self._note, _columns(self._stream) - 1)

    def _write(self, text: str) -> None:
        if text != self._drawn:
            with suppress(OSError, ValueError):  # of a terminal that has gone nobody can tell
                self._stream.write(_ERASE + text)
                self._stream.flush()
            self._drawn = text


class _Current:
    """Where the line of this process may be shown, and the line while there is one."""

    terminal: Callable[[], TextIO | None] | None = None
    line: TransientLine | None = None


@contextmanager
def on_terminal(terminal: Callable[[], TextIO | None]) -> Iterator[None]:
    """Within: what `show` is told is shown on the terminal that this returns, if it returns one."""
    _Current.terminal = terminal
    try:
        yield
    finally:
        clear()
        _Current.terminal = None


def show(stage: str, detail: str = "", note: str = "") -> None:
    """Says what is being done, as "generate", how far it is, as "14 of 24", and a note behind the seconds it took."""
    if _Current.line is None:
        stream = _Current.terminal() if _Current.terminal else None
        if stream is None:
            return
        _Current.line = TransientLine(stream)
    _Current.line.set(stage, detail, note)


def is_shown() -> bool:
    """Whether there is a terminal on which somebody sees it."""
    return bool(_Current.terminal and _Current.terminal())


def clear() -> None:
    """Erases the line until `show` is called again."""
    line, _Current.line = _Current.line, None
    if line:
        line.end()


@contextmanager
def paused() -> Iterator[None]:
    """Within: the line is not there, nor its thread; afterwards it says what it said."""
    said = _Current.line.said if _Current.line else None
    clear()
    yield
    if said:
        show(*said)


def hide() -> None:
    """In a fork, which has no thread to draw the line: nothing is shown from now on."""
    _Current.line = _Current.terminal = None


@contextmanager
def hidden() -> Iterator[None]:
    """Within: the line is not there, so that something can be printed."""
    if _Current.line is None:
        yield
    else:
        with _Current.line.erased():
            yield


def fitted(text: str, time_taken: str, note: str, columns: int) -> str:
    """All three where they fit; else without the note, and with "..." for the end of the text."""
    if _width(text + time_taken + note) <= columns:
        return text + time_taken + note
    if _width(text + time_taken) <= columns:
        return text + time_taken
    while text and _width(f"{text}...{time_taken}") > columns:
        text = text[:-1]
    return f"{text}...{time_taken}"[:columns]


def duration(seconds: float) -> str:
    """41 as '41 s', 3700 as '1 h 2 min'."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _width(text: str) -> int:
    """In columns; all but ASCII counts as two, which may be too many."""
    return sum(1 if char.isascii() else 2 for char in text)


def _columns(stream: TextIO) -> int:
    with suppress(OSError, ValueError):
        return os.get_terminal_size(stream.fileno()).columns or 80
    return 80

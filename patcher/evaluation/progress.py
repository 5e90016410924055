"""How far an evaluation is: a bar on a terminal where rich is installed, else a line now and then.

On a terminal without rich the line that every command has moves between these.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

from patcher import progress
from patcher.progress import duration

INTERVAL = 30.0
"""Seconds between two lines."""


class Progress:
    """Says nothing. Each kind of progress overrides what it shows."""

    def stage(self, text: str) -> None:
        """What is being done before the first scenario, as a clause."""

    def note(self, text: str) -> None:
        """A sentence that the user should have read."""

    def start(self, done: int, total: int) -> None:
        """The first scenario begins, or the first that is not done yet."""

    def update(self, done: int) -> None:
        """So many scenarios are done."""

    def stop(self) -> None:
        """Nothing more comes."""


class LineProgress(Progress):
    """Plain lines, for pipes and logs."""

    def __init__(self, show: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._show, self._clock = show, clock
        self._first = self._total = 0
        self._began = self._last = clock()

    def stage(self, text: str) -> None:
        """Shown at once."""
        self._show(f"{text[:1].upper()}{text[1:]}.")
        progress.show(text)

    def note(self, text: str) -> None:
        """Shown at once."""
        self._show(text)

    def start(self, done: int, total: int) -> None:
        """Says where it begins."""
        self._first, self._total = done, total
        self._began = self._last = self._clock()
        self._show(f"{done:,} of {total:,} scenarios are done." if done else f"{total:,} scenarios.")

    def update(self, done: int) -> None:
        """A line at the end, and before that at most one every INTERVAL seconds."""
        progress.show("scenarios", f"{done:,} of {self._total:,}")
        now = self._clock()
        if now - self._last < INTERVAL and done < self._total:
            return
        self._last = now
        rate = (done - self._first) / max(now - self._began, 1e-9)
        left = f", {duration((self._total - done) / rate)} left" if done < self._total and rate else ""
        self._show(f"{done:,} of {self._total:,} scenarios, {rate:.3g} a second{left}.")

    def stop(self) -> None:
        """The line that moves goes."""
        progress.clear()


class BarProgress(Progress):
    """A bar with rate and time left, drawn by rich on standard error."""

    def __init__(self) -> None:
        progress.clear()
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        rate = TextColumn("{task.fields[rate]}")
        columns: tuple[Any, ...] = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), rate, TimeRemainingColumn()
        )  # fmt: skip
        self._bar = RichProgress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._bar.add_task("starting", total=None, rate="")
        self._first, self._began = 0, time.monotonic()
        self._bar.start()

    def stage(self, text: str) -> None:
        """Beside the bar."""
        self._bar.update(self._task, description=text)

    def note(self, text: str) -> None:
        """Above the bar."""
        self._bar.console.out(text, highlight=False)

    def start(self, done: int, total: int) -> None:
        """The bar begins where it was."""
        self._first, self._began = done, time.monotonic()
        self._bar.reset(self._task, total=total, completed=done, description="scenarios", rate="")

    def update(self, done: int) -> None:
        """Moves the bar."""
        rate = (done - self._first) / max(time.monotonic() - self._began, 1e-9)
        self._bar.update(self._task, completed=done, rate=f"{rate:.3g}/s")

    def stop(self) -> None:
        """The bar goes."""
        self._bar.stop()


def choose_progress(show: Callable[[str], None], *, quiet: bool, terminal: bool) -> Progress:
    """The bar on a terminal with rich, lines elsewhere, nothing for the quiet. `show` prints a line."""
    if quiet:
        return Progress()
    if terminal and importlib.util.find_spec("rich"):
        return BarProgress()
    return LineProgress(show)

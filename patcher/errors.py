"""One error root: what went wrong, what to do about it, and how the process ends."""

from __future__ import annotations


class PatcherError(Exception):
    """A refusal or a failure that the user is told of in two lines, without a traceback.

    Attributes:
        code: a stable kebab-case name for scripts.
        message: one line of cause.
        hint: one line of what to do next.
        exit_code: the process's exit status.
    """

    exit_code = 1

    def __init__(self, code: str, message: str, hint: str) -> None:
        self.code = code
        self.message = _in_one_line(message)
        self.hint = _in_one_line(hint)
        super().__init__(self.message)


def _in_one_line(text: str) -> str:
    """The text without line ends, and with escapes for what cannot be shown: a path may hold bytes that are no text."""
    return "".join(" " if one.isspace() else one if one.isprintable() else ascii(one)[1:-1] for one in text)


class CannotTell(PatcherError):
    """The question cannot be answered here: nothing was found, or what is needed to ask is not here."""

    exit_code = 3

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
        super().__init__(message)
        self.code = code
        self.message = message
        self.hint = hint


class CannotTell(PatcherError):
    """The question cannot be answered here: nothing was found, or what is needed to ask is not here."""

    exit_code = 3

"""One error root: what went wrong, what to do about it, and how the process ends."""

from __future__ import annotations

from pathlib import PurePosixPath

REINSTALL = "Reinstall transformers."
"""How a hint ends where only the wheel has the original: `targets.reinstall` says with which command."""
_UPSTREAM = "https://github.com/huggingface/transformers/blob"


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
        self.message = one_line(message)
        self.hint = one_line(hint)
        super().__init__(self.message)

    def __reduce__(self) -> tuple[type[PatcherError], tuple[str, str, str]]:
        """So that it can be sent between processes."""
        return type(self), (self.code, self.message, self.hint)


def one_line(text: str) -> str:
    r"""The text with all that is not printable made visible, as Python escapes it: a line break becomes `\n`.

    So a cause stays one line whatever raised it, nothing in a path moves a terminal's cursor or hides what follows, and
    the text can be encoded. What was made visible stays as it is when it comes here again.
    """
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def unexpected(error: BaseException) -> PatcherError:
    """What nobody thought of: `os-error` where the system refused something, else `defect`."""
    if isinstance(error, OSError):
        return PatcherError("os-error", f"{error}.", "Fix the cause, then run the command again. -v shows more.")
    hint = "This is a bug in mps-patcher: please report it, with the output of the same command with -v."
    return PatcherError("defect", f"Unexpected {type(error).__name__}: {error}", hint)


class CannotTell(PatcherError):
    """The question cannot be answered here: nothing was found, or what is needed to ask is not here."""

    exit_code = 3


def report_release(version: str, file: PurePosixPath) -> str:
    """The hint for a release that nobody here has seen."""
    link = f"{_UPSTREAM}/v{version}/src/{file}"
    return f"If this is an unmodified release, please report it to the mps-patcher project with this link: {link}"

"""What ends an evaluation, in words for its user."""

from __future__ import annotations

import contextlib
from typing import Iterator

LONGEST = 300
"""Characters of an exception's text that are told; the log has the whole of it."""


class Failure(Exception):
    """The evaluation cannot go on.

    Attributes:
        code: a stable kebab-case name; the tool knows what to do about each.
        message: one sentence of cause.
    """

    def __init__(self, code: str, message: str) -> None:
        self.code, self.message = code, message
        super().__init__(message)


@contextlib.contextmanager
def explained(code: str, what: str, where: str) -> Iterator[None]:
    """Within: any exception becomes a Failure of that code; one for lack of memory becomes `out-of-memory`."""
    try:
        yield
    except Failure:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise Failure("out-of-memory", "Out of memory on %s while %s." % (where, what)) from error
        raise Failure(code, "On %s, %s failed: %s" % (where, what, describe(error))) from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed: CUDA and MPS say `out of memory`, the CPU's allocator `can't allocate memory`."""
    text = str(error)
    return isinstance(error, MemoryError) or "out of memory" in text or "can't allocate memory" in text


def describe(error: BaseException) -> str:
    """An exception in one short line."""
    text = " ".join(str(error).split())
    if len(text) > LONGEST:
        text = text[:LONGEST] + " ..."
    return "%s: %s" % (type(error).__name__, text) if text else type(error).__name__

"""The time that what we write carries, where the user fixes it: https://reproducible-builds.org/specs/source-date-epoch/"""

from __future__ import annotations

import re
from collections.abc import Mapping

from patcher.errors import PatcherError

NAME = "SOURCE_DATE_EPOCH"
LATEST = (2**63 - 1) // 10**9
"""In seconds: the last time that utimensat(2) can be given, in the year 2262."""


def source_date_epoch(environ: Mapping[str, str]) -> int | None:
    """The latest time that anything may say, in nanoseconds since 1970; None where none is set, or an empty one.

    Raises PatcherError: `bad-epoch` where the variable is no number of seconds, as the specification asks for.
    """
    text = environ.get(NAME)
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,10}", text) or int(text) > LATEST:
        raise PatcherError(
            "bad-epoch", f"{NAME} is {text!r}, no number of seconds.", "Count them since 1970, or unset it."
        )
    return int(text) * 10**9

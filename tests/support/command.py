"""The tool as its entry point starts it, but in this process, which takes less time than a new one."""

from __future__ import annotations

import contextlib
import io
import sys
from typing import Any

from documents import read_document

from patcher.__main__ import main


def run_here(*words: str) -> tuple[int, str]:
    """The exit code of a command line, and what it printed."""
    out, before = io.TextIOWrapper(io.BytesIO(), "utf-8"), sys.argv
    sys.argv = ["mps-patcher", *words]
    try:
        with contextlib.redirect_stdout(out):
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.argv = before
    out.flush()
    return code, out.buffer.getvalue().decode()


def results_here(*words: str) -> list[dict[str, Any]]:
    """The results of a command line, from its JSON document."""
    found: list[dict[str, Any]] = read_document(run_here(*words, "--json")[1])["results"]
    return found

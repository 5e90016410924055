"""What `make test-fuzz` tries, and how much of it: inputs that hypothesis makes, and files of 1 MB built by hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import properties
import round_trips
import strategies
from hypothesis import strategies as st


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What hypothesis makes, and what is tried with it."""

    target: str
    generator: str
    inputs: int
    strategy: Callable[[], st.SearchStrategy[Any]]
    check: Callable[[Any, Path], str]
    raw: Callable[[Any], bytes]
    """The input as bytes, to be kept if it goes wrong."""


def _text(given: object) -> bytes:
    return repr(given).encode("utf-8", "backslashreplace")


JOBS = (
    Job(
        target="function",
        generator="hypothesis: a known body in odd surroundings",
        inputs=4_000,
        strategy=strategies.certain_modules,
        check=lambda module, _: properties.known(*module.parts),
        raw=lambda module: bytes(module.data),
    ),
    Job(
        target="function",
        generator="hypothesis: anything from a module to junk",
        inputs=9_000,
        strategy=strategies.modules,
        check=lambda module, _: properties.function(module.data),
        raw=lambda module: bytes(module.data),
    ),
    Job(
        target="calls",
        generator="hypothesis: pieces of which it is known what they become",
        inputs=1_500,
        strategy=strategies.redirections,
        check=lambda pair, _: properties.redirected(*pair),
        raw=lambda pair: bytes(pair[0]),
    ),
    Job(
        target="calls",
        generator="hypothesis: anything from a module to junk",
        inputs=8_000,
        strategy=strategies.callers,
        check=lambda data, _: properties.calls(data),
        raw=bytes,
    ),
    Job(
        target="record",
        generator="hypothesis: odd rows, damaged or not",
        inputs=38_000,
        strategy=strategies.records,
        check=lambda data, _: properties.rows(data),
        raw=bytes,
    ),
    Job(
        target="state",
        generator="hypothesis: values, keys and bytes changed",
        inputs=42_000,
        strategy=strategies.states,
        check=lambda data, _: properties.state(data),
        raw=bytes,
    ),
    Job(
        target="a whole target",
        generator="hypothesis: source, RECORD and state file; status, apply, revert",
        inputs=1_200,
        strategy=strategies.targets,
        check=lambda given, folder: round_trips.round_trip(folder / f"round-{os.getpid()}", given),
        raw=_text,
    ),
    Job(
        target="a whole target",
        generator="hypothesis: the same by the command line",
        inputs=16,
        strategy=strategies.targets,
        check=lambda given, folder: round_trips.told(folder / f"told-{os.getpid()}", given),
        raw=_text,
    ),
)

MEGABYTE = 1 << 20
FILLERS = {
    "comments": b"# all of this is a comment, and so is what follows\n",
    "statements": b"a_name_of_some_length = 'and a string of some length'\n",
    "empty lines": b"\n",
    "functions": b"def function(argument):\n    return argument + 1\n\n\n",
    "one long line": b"x = 1; ",
    "one string": b"a string without an end, ",
    "junk": bytes(range(256)),
}


def big_files() -> Iterator[tuple[str, bytes]]:
    """(target, content) of each."""
    function = b"import torch\n" + strategies.KNOWN[0].encode()
    for name, filler in FILLERS.items():
        many = filler * (MEGABYTE // len(filler))
        many = b"x = '" + many + b"'\n" if name == "one string" else many
        yield "function", function + many
        yield "function", many + b"\n" + function
        if name in ("comments", "one string", "junk"):
            yield "calls", b"import torch\nx = torch.isin(a, b)\n" + many
    row = strategies.ROW.encode()
    for line in (b"transformers/a.py,sha256=x,1\n", b'"', b'"a,b.py",,\r\n', b",", b'x"y,,\n'):
        yield "record", row + b"\n" + line * (MEGABYTE // len(line))
    for part in (b"[", b'{"schema":', b"1", b'"schema": 1, ', b'"\\ud800'):
        yield "state", b"{" + part * (MEGABYTE // len(part))

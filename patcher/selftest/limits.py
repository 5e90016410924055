"""What the MPS kernels of a release of torch refuse, or leave to the CPU, by dtype and macOS.

The table is written by scripts/operators.py from the strings of the released macOS wheels and the code that refers to
them; its head explains its words. Nothing here was seen on Apple hardware.
"""

from __future__ import annotations

import functools
import os
from typing import Dict, List, NamedTuple, Optional, Tuple

from .releases import Version

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "limits.tsv")
NEWEST: Version = (99, 0)


class Limit(NamedTuple):
    """What a kernel does not do."""

    effect: str
    """The exception's name, such as RuntimeError, or "cpu": the CPU computes it, with a warning."""
    dtypes: str
    """Of the first tensor: int64, uint8, bool, complex, integral (bool too), or any. A rule has words of its own."""
    below: Optional[Version]
    """The macOS from which on the kernel does it; None if that makes no difference."""
    message: str
    """What the error or the warning says; a space at its start or end is where a name or more is put in."""

    def told(self, operator: str) -> str:
        """The message for an operator such as "aten::cumsum"."""
        name = "MPS does not support " + operator.partition("::")[2] if self.message.startswith(" ") else ""  # [S]
        return (name + self.message).rstrip()


def find_limits(name: str, overload: str, torch: Version) -> Tuple[Limit, ...]:
    """Of an operator such as ("aten::mm", ""), what falls back before what is refused.

    A release newer than the table is as the newest in it.
    """
    operator = name + "." + overload if overload else name
    return tuple(limit for first, last, limit in _limits().get(operator, ()) if first <= torch <= last)


@functools.lru_cache(maxsize=None)
def _limits() -> Dict[str, List[Tuple[Version, Version, Limit]]]:
    """By operator: each limit with the first and the last release that has it."""
    found: Dict[str, List[Tuple[Version, Version, Limit]]] = {}
    with open(TABLE, encoding="utf-8") as file:
        lines = [line.rstrip("\n").split("\t") for line in file if not line.startswith("#")]
    for first, last, effect, dtypes, below, message, operators in lines:
        limit = Limit(effect, dtypes, _version(below) if below else None, message)
        for operator in operators.split(" "):
            found.setdefault("aten::" + operator, []).append(
                (_version(first), _version(last) if last else NEWEST, limit)
            )
    for limits in found.values():
        limits.sort(key=lambda one: one[2].effect != "cpu")
    return found


def _version(text: str) -> Version:
    major, minor = text.split(".")
    return int(major), int(minor)

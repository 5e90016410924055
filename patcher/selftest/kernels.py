"""Which operators of aten have an MPS kernel in a release of torch, from the table that scripts/operators.py writes.

The table is made from the released macOS wheels; its head explains its words. Nothing here was seen on Apple hardware.
"""

from __future__ import annotations

import functools
import os
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

Version = Tuple[int, int]

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernels.tsv")


class Kernel(NamedTuple):
    """What a release of torch has for an operator on MPS."""

    status: str
    """kernel, composite, explicit, fallback, missing, or unknown, which an operator is too that the release has not."""
    evidence: str
    """A letter that the table's head explains; empty where the release has no such operator."""
    asked: str
    """The operator that an error or warning names, such as "aten::isin.Tensor_Tensor_out"."""


@functools.lru_cache(maxsize=None)
def find_kernel(name: str, overload: str, torch: Version) -> Kernel:
    """Of an operator such as ("aten::isin", "Tensor_Tensor"). A release newer than the table is as the newest in it."""
    found = Kernel("unknown", "", _full_name(name, overload))
    for since, kernel in _history(name, overload):
        if since <= torch:
            found = kernel
    return found


def first_torch(name: str, overload: str) -> Optional[Version]:
    """The first release in which the operator works, if only on the CPU; None if there is none, or none is known."""
    works = (since for since, kernel in _history(name, overload) if kernel.status not in ("missing", "unknown"))
    return next(works, None)


def _history(name: str, overload: str) -> Iterator[Tuple[Version, Kernel]]:
    """Each release from which on something else holds, from the oldest to the newest."""
    operator = _full_name(name, overload)
    for cell in _lines().get(operator, "").split("\t")[1:]:
        since, words, asked = (cell + " ").split(" ")[:3]
        status, evidence = words.split("/")
        if status == "absent":
            status, evidence = "unknown", ""
        major, minor = since.split(".")
        yield (int(major), int(minor)), Kernel(status, evidence, "aten::" + asked if asked else operator)


def _full_name(name: str, overload: str) -> str:
    return name + "." + overload if overload else name


@functools.lru_cache(maxsize=None)
def _lines() -> Dict[str, str]:
    """The table's lines by operator, such as "aten::isin.Tensor_Tensor"."""
    with open(TABLE, encoding="utf-8") as file:
        return {"aten::" + line.split("\t", 1)[0]: line.rstrip("\n") for line in file if not line.startswith("#")}

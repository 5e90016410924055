"""What MPS kernels refuse or leave to the CPU, by dtype and macOS, as far as the strings of the library say so.

A message counts for an operator where the code that its kernel consists of refers to it. Whether it is raised or only
warned of is read from what that code calls next.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import NamedTuple

from scripts.kernel_table import Registered
from scripts.mach_o import Library, Reference

OURS = re.compile(r"at6native|at3mps|wrapper_MPS|structured_|block_invoke|at12_GLOBAL")
"""Functions that an MPS kernel consists of. Others are other libraries', or the dispatcher's: other operators."""
RAISES = re.compile(r"CheckFail|N3c10\d+([A-Z]\w*?Error)C[12]E|N3c105ErrorC[12]E")
WARNS = re.compile(r"c104warn|7WarningC")
FALLS_BACK = "alling back"
LOOKS_LIKE_ONE = re.compile(r"mac ?os|\bMPS\b.*(support|implement)|(support|implement).*\bMPS\b", re.IGNORECASE)

# What a message says: `names`, the operators, where it names some; the macOS `since` which it is not so, or the `last`
# one where it is; the `dtype` that it is said of, where the pattern itself does not say that.
PATTERNS = {
    r"MPS device does not support (?P<names>[\w ]+?) for non-float inputs?": "integral",
    r"(?P<names>\w+?)_out only works on floating types on MPS for pre MacOS_(?P<since>14)_0\. Received .*": "integral",
    r"MPS does not support (?P<names>[\w/]+) ops? with int64 input": "int64",
    r"MPS: (?P<names>\w+) op doesn't support int64 input(?: on MacOS(?P<last>13))?": "int64",
    r" op with int64 input\. Support has been added in macOS (?P<since>13\.3)": "int64",
    r"MPS support (?:unary|binary) op with uint8 natively starting from macOS (?P<since>13\.0)": "uint8",
    r"MPS does not support (?P<names>\w+) with complex i[mn]put on macOS(?P<last>13)": "complex",
    r"Complex types are unsupported on MPS": "complex",
    r"Complex types are supported starting from MacOS (?P<since>14\.0)\+": "complex",
    r"(?P<names>[\w ]+) for (?P<dtype>complex|bool) is not supported for MPS": "",
    r"(?P<names>\w+) is not supported for complex on MPS": "complex",
    r"(?P<names>\w+) (?:for|on) MPS does not support complex inputs": "complex",
    r"MPS: (?P<names>\w+) op is supported (?:natively )?starting from macOS (?P<since>\d+\.\d+)\. ?": "any",
    r"torch\.(?P<names>\w+)(?:\.\w+)? is supported by MPS on MacOS (?P<since>13)\+, please upgrade\. .*": "any",
    r"(?P<names>FFT) operations are only supported on MacOS (?P<since>14)\+": "any",
}


class Limit(NamedTuple):
    """What a kernel does not do."""

    effect: str
    """The exception's name in Python, or "cpu": the CPU computes it, with a warning."""
    dtypes: str
    """Of the first tensor: "int64", "uint8", "bool", "complex", "integral" with bool, or "any"."""
    below: str
    """The macOS from which on it does, such as "13.2"; empty if that makes no difference."""
    message: str


class Limits(NamedTuple):
    """What the strings of one release say."""

    known: dict[Limit, set[str]]
    """The operators of each."""
    undecided: dict[str, set[str]]
    """Messages that speak of dtypes or macOS in other words, and the operators that lead to them."""


def read_limits(library: Library, registered: Registered) -> Limits:
    """All that the kernels say."""

    @cache
    def read(function: str) -> list[Reference]:
        return list(library.references(library.by_name[function])) if function in library.by_name else []

    messages: dict[tuple[str, str], set[str]] = {}
    for operator, kernel in registered.items():
        for found in _messages(read, kernel):
            messages.setdefault(found, set()).add(operator)
    limits = Limits({}, {})
    for (text, effect), operators in messages.items():
        limit, named = _understand(text, effect, operators)
        if limit and named:
            limits.known.setdefault(limit, set()).update(named)
        if effect != "warning" and operators - named:
            limits.undecided.setdefault(text, set()).update(operators - named)
    return limits


def _messages(read: Callable[[str], list[Reference]], kernel: str) -> Iterator[tuple[str, str]]:
    """The messages that a kernel's code refers to, each with what is done with it."""
    reached, ahead = {kernel}, [kernel]
    while ahead:
        references = read(ahead.pop())
        for at, reference in enumerate(references):
            if LOOKS_LIKE_ONE.search(reference.string):
                yield reference.string, _effect(references[at:])
        functions = {one.called or one.function for one in references}
        new = sorted(name for name in functions - reached if OURS.search(name) and "4_ops" not in name)
        reached.update(new)
        ahead += new


def _effect(references: list[Reference]) -> str:
    """What becomes of the first one's string: an exception's name, "cpu", "warning", or "" if that is not clear."""
    said = ""
    for reference in references:
        if raised := RAISES.search(reference.called):
            return raised[1] or "RuntimeError"
        if WARNS.search(reference.called):
            return "cpu" if FALLS_BACK in said else "warning"
        said += reference.string
    return ""


def _understand(text: str, effect: str, operators: set[str]) -> tuple[Limit | None, set[str]]:
    """The limit that a message states, and those of the operators that it is stated of."""
    for pattern, dtypes in PATTERNS.items():
        found = re.fullmatch(pattern, text)
        if found and effect not in ("", "warning"):
            said = found.groupdict()
            limit = Limit(effect, dtypes or said["dtype"], _bound(said.get("since"), said.get("last")), text)
            return limit, {name for name in operators if _is_named(name, said.get("names"))}
    return None, set()


def _bound(since: str | None, last: str | None) -> str:
    """'13.3', where '13.3' is the first macOS, or '14.0', where '14' is it or '13' the last that is not."""
    since = str(int(last) + 1) if last else since or ""
    return f"{since}.0" if since.isdigit() else since


def _is_named(operator: str, words: str | None) -> bool:
    """Whether a message with these words for operators, such as "addbmm or baddbmm" or "Batch norm", is of this one."""
    names = re.split(r" or |/", words.lower().replace(" ", "_").replace("_or_", " or ")) if words else [""]
    return any(name in operator.replace(".", "_").lower() for name in names)


def write_limits(releases: Mapping[str, Limits], head: Iterable[str]) -> str:
    """The text of the limits: one a line, with the releases from and to which it holds, and its operators, in order."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for operator, limit in sorted({(name, limit) for found in releases.values() for limit, name in _pairs(found)}):
        held = [number for number, found in releases.items() if operator in found.known.get(limit, ())]
        last = "" if held[-1] == [*releases][-1] else held[-1]
        lines.setdefault((held[0], last, *limit), []).append(operator)
    text = sorted("\t".join((*words, " ".join(names))) for words, names in lines.items())
    return "".join(f"{line}\n" for line in (*(f"# {line}".rstrip() for line in head), *text))


def _pairs(limits: Limits) -> Iterator[tuple[Limit, str]]:
    return ((limit, name) for limit, names in limits.known.items() for name in names)

"""Which aten operators have an MPS kernel, in each minor release of torch, read from the released macOS wheels.

    python scripts/operators.py              write patcher/selftest/kernels.tsv and limits.tsv
    python scripts/operators.py 2.1 2.14     only look at these, and say what their sources do not agree on
    python scripts/operators.py --check 2.1  compare these, or all, with the files; exits 1 at a difference

Nothing of a wheel is run, and no Apple GPU is used. What a release has is what its libtorch_cpu.dylib registers for MPS
when it is loaded, read from the code that does so, and what torch's Python registers after that; else what its
native_functions.yaml says. Only the namespace aten is looked at, and only dense tensors: sparse, quantized and nested
ones have dispatch keys of their own.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.kernel_table import (
    ABSENT,
    EXPLICIT,
    Disagreement,
    Status,
    decide,
    disagreements,
    read_registrations,
    write_table,
)
from scripts.limits import Limit, Limits, read_limits, write_limits
from scripts.mach_o import Library
from scripts.native_functions import DECLARATIONS, IN_PYTHON, YAML, read_functions, read_python
from scripts.torch_wheels import RELEASES, macos_wheel, members, minor

SELFTEST = Path(__file__).resolve().parent.parent / "patcher" / "selftest"
KERNELS, LIMITS = SELFTEST / "kernels.tsv", SELFTEST / "limits.tsv"
LIBRARY = "torch/lib/libtorch_cpu.dylib"
HEADER = "torch/include/ATen/MPSFunctions_inl.h"

HEAD = """\
Which operators of aten have an MPS kernel, by release of torch. Written by scripts/operators.py; do not edit.

Each line: the operator, then each release from which on something else holds: RELEASE STATUS/EVIDENCE [ASKED].
kernel     MPS has a kernel of its own
composite  CompositeImplicitAutograd: it is made of other operators, also for autograd
explicit   CompositeExplicitAutograd, or CompositeExplicitAutogradNonFunctional: it is made of other operators
fallback   it runs on the CPU, with a warning, whatever PYTORCH_ENABLE_MPS_FALLBACK says
missing    there is nothing for MPS: NotImplementedError, or the CPU with PYTORCH_ENABLE_MPS_FALLBACK=1
unknown    the sources do not agree
absent     the release has no such operator
l          the library registers it for MPS, or what it leaves its work to
y          native_functions.yaml says so, and the library registers nothing for MPS
d          native_functions.yaml gives it to MPS, and the library does not
p          torch/backends/mps/__init__.py registers it for MPS, made of other operators
ASKED      the operator that an error or warning names, where it is another: what this one leaves its work to

The wheels:
"""
LIMITS_HEAD = """\
What the MPS kernels of torch refuse or leave to the CPU. Written by scripts/operators.py; do not edit.

Each line: the first and the last release (the newest, if empty), effect, dtypes, macOS, message, operators.
Effect: cpu, the CPU computes it, and the message is a warning; else the exception with the message.
Dtypes of the first tensor: integral (bool too), int64, uint8, bool, complex, any.
macOS: from this version on it does not hold; if empty, it holds on all.
Message: a space at its start or end is where a name or more is put in.
"""


class Release(NamedTuple):
    """What one wheel says."""

    wheel: str
    statuses: dict[str, Status]
    problems: list[Disagreement]
    limits: Limits


def read_release(wheel: Path) -> Release:
    """Raises NotMachO, KeyError."""
    image, *texts = members(wheel, LIBRARY, DECLARATIONS, YAML, HEADER, IN_PYTHON)
    declarations, functions, header, module = (text.decode() for text in texts)
    known, in_python = read_functions(declarations, functions), read_python(module)
    library = Library(image)
    registered = read_registrations(library)
    problems = list(disagreements(known, registered, header))
    known.update({name: known[name]._replace(dispatch=frozenset(EXPLICIT)) for name in in_python})
    statuses = {name: decide(function, known, registered) for name, function in known.items()}
    statuses.update({name: Status("explicit", "p", name) for name in in_python})
    return Release(wheel.name, statuses, problems, read_limits(library, registered))


def table_of(releases: dict[str, Release]) -> str:
    """The text of kernels.tsv for these releases."""
    head = (*HEAD.splitlines(), *(release.wheel for release in releases.values()))
    return write_table({number: release.statuses for number, release in releases.items()}, head)


def limits_of(releases: dict[str, Release]) -> str:
    """The text of limits.tsv for these releases."""
    return write_limits({number: release.limits for number, release in releases.items()}, LIMITS_HEAD.splitlines())


def report(number: str, release: Release) -> Iterator[str]:
    """What was found, what was not decided, and where the sources disagree."""
    counts = Counter(status.status for status in release.statuses.values())
    yield f"torch {number}: {', '.join(f'{count} {status}' for status, count in sorted(counts.items()))}"
    undecided = sorted(name for name, status in release.statuses.items() if status.status == "unknown")
    yield f"  undecided: {', '.join(undecided) or 'none'}"
    yield from (f"  {operator}: {problem}" for operator, problem in release.problems)
    for message, operators in sorted(release.limits.undecided.items()):
        yield f"  not read: {message.strip()!r}: {', '.join(sorted(operators)[:5])}{', ...' * (len(operators) > 5)}"


def differences(text: str, releases: dict[str, Release]) -> list[str]:
    """Where the file's text says something else of these releases than their wheels."""
    lines = dict(line.split("\t", 1) for line in text.splitlines() if not line.startswith("#"))
    found = []
    for number, release in releases.items():
        for name in sorted({*lines, *release.statuses}):
            written, read = status_in(name, lines.get(name, ""), number), release.statuses.get(name, ABSENT)
            if written != read:
                found.append(f"torch {number}: {name}: {'/'.join(written)} is written, {'/'.join(read)} is right")
    return found


def status_in(name: str, line: str, number: str) -> Status:
    """What a line of the table, without its operator, says of a release."""
    found = ABSENT
    for cell in filter(None, line.split("\t")):
        since, words, *asked = cell.split(" ")
        if version(since) <= version(number):
            status, evidence = words.split("/")
            found = ABSENT if status == "absent" else Status(status, evidence, asked[0] if asked else name)
    return found


def version(number: str) -> tuple[int, ...]:
    """'2.10' as (2, 10)."""
    return tuple(map(int, number.split(".")))


def limit_differences(text: str, releases: dict[str, Release]) -> list[str]:
    """Where the text of limits.tsv says something else of these releases than their wheels."""
    found = []
    lines = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    for number, release in releases.items():
        written = {
            (Limit(*words), operator)
            for first, last, *words, operators in lines
            if version(first) <= version(number) and (not last or version(number) <= version(last))
            for operator in operators.split(" ")
        }
        read = {(limit, operator) for limit, operators in release.limits.known.items() for operator in operators}
        found += [f"torch {number}: {name}: {limit} is written, and wrong" for limit, name in sorted(written - read)]
        found += [f"torch {number}: {name}: {limit} is not written" for limit, name in sorted(read - written)]
    return found


def main(arguments: list[str]) -> int:
    check, asked = "--check" in arguments, [one for one in arguments if one != "--check"]
    known = {minor(release): release for release in RELEASES}
    if unknown := set(asked) - set(known):
        print(f"error: not among {', '.join(known)}: {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    releases = {}
    for number in asked or known:
        releases[number] = read_release(macos_wheel(known[number]))
        print("\n".join(report(number, releases[number])))
    if check:
        found = differences(KERNELS.read_text(encoding="utf-8"), releases)
        found += limit_differences(LIMITS.read_text(encoding="utf-8"), releases)
        print("\n".join(found) if found else "as written")
        return 1 if found else 0
    if not asked:
        KERNELS.write_text(table_of(releases), encoding="utf-8")
        LIMITS.write_text(limits_of(releases), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

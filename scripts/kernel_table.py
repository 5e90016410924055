"""Which operators of aten have an MPS kernel in one release of torch, and how the table says that of all releases."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from scripts.mach_o import Library
from scripts.native_functions import NativeFunction

INITIALISER = r"TORCH_LIBRARY_IMPL_init_aten_MPS_\d+ERN5torch7LibraryE"
"""The functions that register kernels for MPS, as C++ names them; the macro is TORCH_LIBRARY_IMPL(aten, MPS, m)."""
REGISTER = "5torch7Library5_impl"
"""torch::Library::_impl, which m.impl(name, kernel) calls."""
EXPLICIT = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional")
IMPLICIT = "CompositeImplicitAutograd"

Registered = Mapping[str, str]
"""By operator, such as "abs.out": the mangled name of what was registered for it; "" where that is not clear."""


class Status(NamedTuple):
    """What a release has for one operator, in the words of the table."""

    status: str
    evidence: str
    asked: str


ABSENT = Status("absent", "y", "")
"""The operator is not in the release."""


class Disagreement(NamedTuple):
    """An operator of which the sources do not say the same."""

    operator: str
    problem: str


def read_registrations(library: Library) -> dict[str, str]:
    """What the library registers for MPS in the namespace aten when it is loaded."""
    found: dict[str, str] = {}
    for _, address in library.functions(INITIALISER):
        found.update(_registrations(library, address))
    return found


def _registrations(library: Library, address: int) -> Iterator[tuple[str, str]]:
    """Each call of m.impl: the last string is the operator, and the last function is the kernel.

    The boxed mps_fallback stays in a register, so where there is no function since the last call, it is that.
    """
    operator = kernel = ""
    boxed: set[str] = set()
    for called, function, string in library.references(address):
        made = called if "makeFromBoxedFunction" in called else function
        if "make_boxed_function" in made or made == called != "":
            boxed.add(made)
        if REGISTER in called:
            yield operator, kernel or (min(boxed) if len(boxed) == 1 else "")
            operator = kernel = ""
        operator, kernel = string or operator, made or kernel


def decide(function: NativeFunction, functions: Mapping[str, NativeFunction], registered: Registered) -> Status:
    """The status of one operator in the release."""
    if function.name in registered:
        return _registered(function, registered[function.name])
    if "MPS" in function.dispatch:
        return Status("unknown", "d", function.name)
    if function.delegate:
        behind = decide(functions[function.delegate], functions, registered)
        return behind if behind.status in ("missing", "fallback", "unknown") else Status("explicit", "y", function.name)
    if function.dispatch.intersection(EXPLICIT):
        return Status("explicit", "y", function.name)
    return Status("composite" if IMPLICIT in function.dispatch else "missing", "y", function.name)


def _registered(function: NativeFunction, kernel: str) -> Status:
    if "mps_error_fallback" in kernel:
        return Status("missing", "l", function.name)
    if "mps_fallback" in kernel:
        return Status("fallback", "l", function.name)
    return Status("kernel" if kernel else "unknown", "l", function.name)


def disagreements(
    functions: Mapping[str, NativeFunction], registered: Registered, header: str
) -> Iterator[Disagreement]:
    """Where the library, native_functions.yaml and MPSFunctions_inl.h do not say the same."""
    declared = {_root(name) for name in re.findall(r"<ATen/ops/(\w+)_mps_dispatch\.h>", header)}
    given = {function.name for function in functions.values() if _is_given(function, functions)}
    for name, kernel in sorted(registered.items()):
        if name not in given:
            yield Disagreement(name, f"registered by hand: {kernel or 'with which kernel is not clear'}")
        elif _root(name) not in kernel:
            yield Disagreement(name, f"registered with what looks like another's kernel: {kernel}")
    for name in sorted(given - set(registered)):
        yield Disagreement(name, "native_functions.yaml gives it MPS, and it is not registered")
    for name in sorted(declared ^ {_root(name) for name in given}):
        yield Disagreement(name, "only one of native_functions.yaml and MPSFunctions_inl.h has it for MPS")


def _is_given(function: NativeFunction, functions: Mapping[str, NativeFunction]) -> bool:
    """Whether native_functions.yaml gives it an MPS kernel, if need be through the structured one behind it."""
    structured = function.delegate and "CompositeExplicitAutogradNonFunctional" in function.dispatch
    return "MPS" in (functions[function.delegate] if structured else function).dispatch


def _root(name: str) -> str:
    """'_index_put_impl_' and '__ior__.Scalar' as 'index_put_impl' and 'or': headers have no names for in-place."""
    return re.sub(r"^__i(?=\w+__$)", "", name.partition(".")[0]).strip("_")


def write_table(releases: Mapping[str, Mapping[str, Status]], head: Iterable[str]) -> str:
    """The text of the table: an operator a line, in order, with the releases in which what is said of it changes."""
    names = sorted(set().union(*releases.values()))
    lines = ["\t".join((name, *_changes(name, releases))) for name in names]
    return "".join(f"{line}\n" for line in (*(f"# {line}".rstrip() for line in head), *lines))


def _changes(name: str, releases: Mapping[str, Mapping[str, Status]]) -> Iterator[str]:
    before = ABSENT
    for release, statuses in releases.items():
        now = statuses.get(name, ABSENT)
        if now != before:
            asked = "" if now.asked in ("", name) else f" {now.asked}"
            yield f"{release} {now.status}/{now.evidence}{asked}"
        before = now

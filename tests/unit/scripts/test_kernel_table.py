"""What is registered for MPS, what follows for an operator, and how the table writes it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from small_library import Code, small_library

from scripts.kernel_table import Status, decide, disagreements, read_registrations, write_table
from scripts.mach_o import Library
from scripts.native_functions import NativeFunction

GENERATED = "__ZN2at12_GLOBAL__N_134TORCH_LIBRARY_IMPL_init_aten_MPS_2ERN5torch7LibraryE"
BY_HAND = "__ZN2atL34TORCH_LIBRARY_IMPL_init_aten_MPS_3ERN5torch7LibraryE"
OF_CPU = "__ZN2at12_GLOBAL__N_134TORCH_LIBRARY_IMPL_init_aten_CPU_2ERN5torch7LibraryE"
IMPL = "__ZNR5torch7Library5_implEPKcONS_11CppFunctionENS_17_RegisterOrVerifyE"
ABS = "wrap_kernel_functor_unboxed_wrapper_MPS_out_abs_out"
BOXED = "__ZN3c1011BoxedKernel19make_boxed_functionIXadL_ZN2atL12mps_fallbackERKNS_14OperatorHandleE"
OTHER_BOXED = "__ZN3c1011BoxedKernel19make_boxed_functionIXadL_ZN2atL18mps_error_fallbackERKNS_14OperatorHandleE"
MAKES_BOXED = "__ZN5torch11CppFunction21makeFromBoxedFunctionIXadL_ZN2at12mps_fallbackERKN3c1014OperatorHandleE"
CONV = "__ZN2atL23slow_conv2d_forward_mpsERKNS_6TensorE"


def registers(operator: str, *kernel: tuple[str, str]) -> Code:
    return [*kernel, ("call", "__ZN5torch11CppFunctionC1E"), ("string", operator), ("call", IMPL)]


def read(functions: Mapping[str, Code]) -> dict[str, str]:
    return read_registrations(Library(small_library(functions)))


class TestRegistrations:
    def test_a_wrapper(self) -> None:
        assert read({GENERATED: registers("abs.out", ("function", ABS))}) == {"abs.out": ABS}

    def test_other_keys_are_not_looked_at(self) -> None:
        assert read({OF_CPU: registers("abs.out", ("function", ABS))}) == {}

    def test_a_function_for_each_operator(self) -> None:
        more = GENERATED.replace("MPS_2", "MPS_484")
        code = {GENERATED: registers("abs.out", ("function", ABS)), more: registers("sort.stable", ("function", "s"))}
        assert read(code) == {"abs.out": ABS, "sort.stable": "s"}

    def test_the_fallback_stays_in_its_register(self) -> None:
        code = [
            *registers("im2col", ("function", BOXED)),
            *registers("_slow_conv2d_forward", ("function", CONV)),
            *registers("col2im"),
        ]
        assert read({BY_HAND: code}) == {"im2col": BOXED, "_slow_conv2d_forward": CONV, "col2im": BOXED}

    def test_a_function_makes_the_fallback(self) -> None:
        assert read({BY_HAND: registers("im2col", ("call", MAKES_BOXED))}) == {"im2col": MAKES_BOXED}

    def test_which_of_two_stayed_is_not_known(self) -> None:
        code = [*registers("a", ("function", BOXED)), *registers("b", ("function", OTHER_BOXED)), *registers("c")]
        assert read({BY_HAND: code}) == {"a": BOXED, "b": OTHER_BOXED, "c": ""}


def function(name: str, *keys: str, delegate: str = "") -> NativeFunction:
    return NativeFunction(name, frozenset(keys), delegate)


STRUCTURED = "CompositeExplicitAutogradNonFunctional"
KNOWN = {
    one.name: one
    for one in (
        function("abs.out", "CPU", "MPS"),
        function("abs", "CompositeExplicitAutograd"),
        function("im2col", "CPU"),
        function("col2im", "CPU"),
        function("isin.out", "CPU"),
        function("isin", STRUCTURED, delegate="isin.out"),
        function("acos.out", "CPU", "MPS"),
        function("acos", STRUCTURED, delegate="acos.out"),
        function("shift.out", "CPU"),
        function("shift", STRUCTURED, delegate="shift.out"),
        function("shift_copy.out", "CompositeExplicitAutograd", delegate="shift"),
        function("argsort", "CompositeImplicitAutograd"),
        function("lost", "CPU", "MPS"),
        function("unclear", "CPU"),
    )
}
REGISTERED = {
    "abs.out": ABS,
    "acos.out": "wrapper_MPS_acos_out",
    "im2col": BOXED,
    "col2im": OTHER_BOXED,
    "shift.out": BOXED,
    "unclear": "",
}


@pytest.mark.parametrize(
    ("name", "status", "evidence", "asked"),
    [
        ("abs.out", "kernel", "l", "abs.out"),
        ("abs", "explicit", "y", "abs"),
        ("im2col", "fallback", "l", "im2col"),
        ("col2im", "missing", "l", "col2im"),
        ("isin.out", "missing", "y", "isin.out"),
        ("isin", "missing", "y", "isin.out"),
        ("acos", "explicit", "y", "acos"),
        ("shift", "fallback", "l", "shift.out"),
        ("shift_copy.out", "fallback", "l", "shift.out"),
        ("argsort", "composite", "y", "argsort"),
        ("lost", "unknown", "d", "lost"),
        ("unclear", "unknown", "l", "unclear"),
    ],
)
def test_what_follows(name: str, status: str, evidence: str, asked: str) -> None:
    assert decide(KNOWN[name], KNOWN, REGISTERED) == Status(status, evidence, asked)


def test_what_is_made_of_something_unknown_is_unknown() -> None:
    known = {"lost": KNOWN["lost"], "lost.copy": function("lost.copy", "CompositeExplicitAutograd", delegate="lost")}
    assert decide(known["lost.copy"], known, {}) == Status("unknown", "d", "lost")


class TestDisagreements:
    def test_a_header_is_not_named_for_what_is_in_place(self) -> None:
        known = {name: function(name, "MPS") for name in ("__ilshift__.Scalar", "_index_put_impl_")}
        registered = {"__ilshift__.Scalar": "wrapper_MPS_Scalar___ilshift__", "_index_put_impl_": "_index_put_impl_"}
        header = "<ATen/ops/__lshift___mps_dispatch.h><ATen/ops/_index_put_impl_mps_dispatch.h>"
        assert list(disagreements(known, registered, header)) == []

    def found(self, registered: Mapping[str, str], *declared: str) -> dict[str, str]:
        known = {name: KNOWN[name] for name in ("abs.out", "acos.out", "acos", "im2col")}
        header = "".join(f"#include <ATen/ops/{name}_mps_dispatch.h>\n" for name in declared)
        return dict(disagreements(known, registered, header))

    def test_none(self) -> None:
        registered = {"abs.out": ABS, "acos.out": "wrapper_MPS_acos_out", "acos": "wrapper_MPS_acos"}
        assert self.found(registered, "abs", "acos") == {}

    def test_all(self) -> None:
        found = self.found({"abs.out": "wrapper_MPS_neg", "im2col": BOXED, "acos": "wrapper_MPS_acos"}, "acos", "sgn")
        assert "another's kernel: wrapper_MPS_neg" in found["abs.out"]
        assert "by hand" in found["im2col"]
        assert "mps_fallback" in found["im2col"]
        assert "not registered" in found["acos.out"]
        assert "MPSFunctions_inl.h" in found["abs"]
        assert "MPSFunctions_inl.h" in found["sgn"]
        assert "acos" not in found


def test_a_line_has_what_changes() -> None:
    missing, kernel = Status("missing", "y", "isin.out"), Status("kernel", "l", "isin")
    releases = {
        "2.0": {"isin": missing, "_z": Status("composite", "y", "_z")},
        "2.1": {"isin": missing},
        "2.2": {"isin": kernel},
        "2.10": {"isin": kernel, "abs": Status("kernel", "l", "abs")},
    }
    assert write_table(releases, ["Words", ""]) == (
        "# Words\n#\n"
        "_z\t2.0 composite/y\t2.1 absent/y\n"
        "abs\t2.10 kernel/l\n"
        "isin\t2.0 missing/y isin.out\t2.2 kernel/l\n"
    )

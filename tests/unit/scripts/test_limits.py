"""What is read of the messages that kernels refer to."""

from __future__ import annotations

import pytest
from small_library import Code, small_library

from scripts.limits import Limit, Limits, read_limits, write_limits
from scripts.mach_o import Library

KERNEL = "wrapper_MPS__mm"
RAISES = ("call", "__ZN3c106detail14torchCheckFailEPKcS2_jS2_")
RAISES_OTHER = ("call", "__ZN3c1019NotImplementedErrorC1ENS_14SourceLocationE")
WARNS = ("call", "__ZN3c104warnERKNS_7WarningE")
NON_FLOAT = "MPS device does not support mm for non-float inputs"
MEDIAN = "MPS: median op is supported natively starting from macOS 13.0. "


def read(operator: str, *code: tuple[str, str], **functions: Code) -> Limits:
    library = Library(small_library({KERNEL: list(code), **functions}))
    return read_limits(library, {operator: KERNEL})


@pytest.mark.parametrize(
    ("operator", "message", "limit"),
    [
        ("mm", NON_FLOAT, ("integral", "")),
        ("mm.out", NON_FLOAT, ("integral", "")),
        ("baddbmm", "MPS device does not support addbmm or baddbmm for non-float inputs", ("integral", "")),
        ("max.dim", "MPS does not support min/max ops with int64 input", ("int64", "")),
        ("log1p_", "MPS does not support log1p op with int64 input", ("int64", "")),
        ("dot", "MPS: dot op doesn't support int64 input on MacOS13", ("int64", "14.0")),
        ("cumsum", " op with int64 input. Support has been added in macOS 13.3", ("int64", "13.3")),
        ("neg", "MPS support unary op with uint8 natively starting from macOS 13.0", ("uint8", "13.0")),
        ("angle", "MPS does not support angle with complex imput on macOS13", ("complex", "14.0")),
        ("eq.Tensor", "Complex types are supported starting from MacOS 14.0+", ("complex", "14.0")),
        ("native_batch_norm", "Batch norm for complex is not supported for MPS", ("complex", "")),
        ("_log_softmax", "log_softmax for bool is not supported for MPS", ("bool", "")),
        ("nansum", "nansum on MPS does not support complex inputs", ("complex", "")),
        ("_fft_c2c", "FFT operations are only supported on MacOS 14+", ("any", "14.0")),
    ],
)
def test_a_message_that_is_raised(operator: str, message: str, limit: tuple[str, str]) -> None:
    found = read(operator, ("string", message), RAISES)
    assert found == Limits({Limit("RuntimeError", *limit, message): {operator}}, {})


def test_the_exception_is_that_which_is_made_next() -> None:
    found = read("mm", ("string", NON_FLOAT), RAISES_OTHER, RAISES)
    assert [limit.effect for limit in found.known] == ["NotImplementedError"]


def test_a_warning_of_falling_back() -> None:
    found = read("median", ("string", MEDIAN), ("string", "Falling back on CPU."), WARNS, RAISES)
    assert found == Limits({Limit("cpu", "any", "13.0", MEDIAN): {"median"}}, {})


def test_another_warning_is_no_limit() -> None:
    assert read("median", ("string", MEDIAN), WARNS, ("string", "Falling back on CPU.")) == Limits({}, {})


def test_what_becomes_of_it_is_not_clear() -> None:
    assert read("mm", ("string", NON_FLOAT)) == Limits({}, {NON_FLOAT: {"mm"}})


def test_a_message_that_names_another_operator_is_not_decided() -> None:
    assert read("linear_backward", ("string", NON_FLOAT), RAISES) == Limits({}, {NON_FLOAT: {"linear_backward"}})


def test_a_message_in_other_words_is_not_decided() -> None:
    message = "Conv3D is only supported on MPS for MacOS_13_2 or newer"
    assert read("_mps_convolution", ("string", message), RAISES).undecided == {message: {"_mps_convolution"}}


def test_other_messages_are_not_looked_at() -> None:
    assert read("mm", ("string", "mat1 and mat2 must have the same dtype"), RAISES) == Limits({}, {})


class TestWhatAKernelConsistsOf:
    def test_what_it_calls_of_ours(self) -> None:
        functions = {
            "__ZN2at6native6mm_outE": [("call", "__ZN2at3mps4mm_2E")],
            "__ZN2at3mps4mm_2E": [("string", NON_FLOAT), RAISES],
        }
        assert len(read("mm", ("call", "__ZN2at6native6mm_outE"), **functions).known) == 1

    @pytest.mark.parametrize("other", ["__ZN2at4_ops2mm4callERKN2at6nativeE", "__ZN3c1010TensorImplE"])
    def test_not_other_operators_and_libraries(self, other: str) -> None:
        assert read("mm", ("call", other), **{other: [("string", NON_FLOAT), RAISES]}) == Limits({}, {})

    def test_a_function_that_calls_itself(self) -> None:
        assert read("mm", ("call", KERNEL), ("string", NON_FLOAT), RAISES).known


def test_a_line_has_the_operators_of_one_limit_in_the_same_releases() -> None:
    limit, other = Limit("RuntimeError", "int64", "", "No int64"), Limit("cpu", "any", "13.0", "On the CPU")
    releases = {
        "2.0": Limits({limit: {"mm", "bmm", "dot"}}, {}),
        "2.9": Limits({limit: {"mm", "bmm"}, other: {"dot"}}, {}),
        "2.10": Limits({other: {"dot"}}, {}),
    }
    assert write_limits(releases, ["Words"]) == (
        "# Words\n"
        "2.0\t2.0\tRuntimeError\tint64\t\tNo int64\tdot\n"
        "2.0\t2.9\tRuntimeError\tint64\t\tNo int64\tbmm mm\n"
        "2.9\t\tcpu\tany\t13.0\tOn the CPU\tdot\n"
    )

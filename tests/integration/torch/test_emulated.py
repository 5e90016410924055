"""The emulated device: that it behaves as a device, and refuses with the exact words of each torch and macOS."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

from patcher.selftest import device, emulated, operators
from patcher.selftest.releases import oldest_macos, parse_macos, parse_version, show, usual_macos
from patcher.selftest.rules import NoRules, Rules

Mps = Callable[[tuple[int, int], tuple[int, int]], AbstractContextManager[None]]
OLD, NEW = ((2, 1), (13, 0)), ((2, 13), (14, 0))
INTEGERS, MORE = torch.arange(3), torch.tensor([1, 2])

NO_KERNEL = (
    r"The operator 'aten::isin.{overload}_out' is not currently implemented for the MPS device. If you want this op "
    r"to be added in priority during the prototype phase of this feature, please comment on "
    r"https://github.com/pytorch/pytorch/issues/77764. As a temporary fix, you can set the environment variable "
    r"`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
    r"running natively on MPS."
)
FLOATS_ONLY = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received dtype: "
OTHER_DTYPE = "Expected elements.dtype() == test_elements.dtype() to be true, but got false."


def error_of(call: Callable[[], object]) -> str | None:
    """The exception's name and text; None if there is none."""
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize(
    ("rules", "elements", "tests", "error"),
    [
        (((2, 1), (13, 0)), INTEGERS, MORE, "NotImplementedError: " + NO_KERNEL.format(overload="Tensor_Tensor")),
        (((2, 3), (14, 0)), INTEGERS, MORE, "NotImplementedError: " + NO_KERNEL.format(overload="Tensor_Tensor")),
        (((2, 4), (14, 0)), INTEGERS, 1, "NotImplementedError: " + NO_KERNEL.format(overload="Tensor_Scalar")),
        (((2, 4), (13, 0)), INTEGERS, MORE, "RuntimeError: " + FLOATS_ONLY + "Long"),
        (((2, 6), (13, 0)), INTEGERS.int(), MORE.int(), "RuntimeError: " + FLOATS_ONLY + "Int"),
        (((2, 8), (13, 0)), INTEGERS, MORE.int(), "RuntimeError: " + FLOATS_ONLY + "Long"),
        (((2, 8), (13, 0)), INTEGERS, 1, "RuntimeError: " + FLOATS_ONLY + "Long"),
        (((2, 8), (13, 0)), INTEGERS.float(), MORE.float(), None),
        (((2, 6), (14, 0)), INTEGERS, MORE.int(), "RuntimeError: " + OTHER_DTYPE),
        (((2, 6), (14, 0)), INTEGERS, MORE, None),
        (((2, 8), (14, 0)), INTEGERS, MORE.int(), None),
        (((2, 9), (14, 0)), INTEGERS, 1, None),
    ],
)
def test_isin_by_release(
    mps: Mps,
    rules: tuple[tuple[int, int], tuple[int, int]],
    elements: torch.Tensor,
    tests: torch.Tensor | int,
    error: str | None,
) -> None:
    with mps(*rules):
        second = tests.to("mps") if isinstance(tests, torch.Tensor) else tests
        assert error_of(lambda: torch.isin(elements.to("mps"), second)) == error


def test_an_operator_missing_in_a_newer_release_has_the_newer_words(mps: Mps) -> None:
    with mps((2, 6), (14, 0)):
        told = error_of(lambda: torch.unique(INTEGERS.to("mps"), dim=0))
    assert told is not None
    assert "to be considered for addition please comment on https://github.com/pytorch/pytorch/issues/141287" in told


def test_what_every_release_has(mps: Mps) -> None:
    """Kernels of these are in the wheels of 2.0.1, 2.1.0 and 2.9.0."""
    with mps(*OLD):
        there = torch.tensor([2, 1, 1], device="mps")
        assert there.sort().values.tolist() == there.sort(stable=True)[0].tolist() == [1, 1, 2]
        assert torch.unique(there).tolist() == [1, 2]
        assert torch.unique_consecutive(there).tolist() == [2, 1]


FLOAT64 = "TypeError: Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
FLOAT64 += "Please use float32 instead."


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(1, dtype=torch.float64, device="mps"),
        lambda: torch.zeros(1, dtype=torch.float64).to("mps"),
        lambda: torch.zeros(1, device="mps").to(torch.float64),
        lambda: torch.zeros(1, device="mps").double(),
        lambda: torch.zeros(1).to("mps", torch.float64),
    ],
)
def test_there_is_no_float64(mps: Mps, make: Callable[[], torch.Tensor]) -> None:
    with mps(*NEW):
        assert error_of(make) == FLOAT64


@pytest.mark.parametrize(
    ("rules", "error"),
    [
        (((2, 1), (14, 0)), "TypeError: BFloat16 is not supported on MPS"),
        (((2, 3), (13, 0)), "TypeError: MPS BFloat16 is only supported on MacOS 14 or newer"),
        (((2, 3), (14, 0)), None),
    ],
)
def test_bfloat16_by_release(mps: Mps, rules: tuple[tuple[int, int], tuple[int, int]], error: str | None) -> None:
    with mps(*rules):
        assert error_of(lambda: torch.zeros(1, dtype=torch.bfloat16, device="mps")) == error


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.zeros(2, device="mps"),
        lambda: torch.tensor([1], device="mps"),
        lambda: torch.as_tensor([1], device=torch.device("mps")),
        lambda: torch.full((2,), 1, device="mps:0"),
        lambda: torch.arange(3, device="mps"),
        lambda: torch.zeros(2).to("mps"),
        lambda: torch.zeros(2).to(device="mps", dtype=torch.int32),
        lambda: torch.zeros(2).to(torch.ones(1, device="mps")),
        lambda: torch.zeros_like(torch.zeros(2, device="mps")),
        lambda: torch.tensor(torch.zeros(2).to("mps")),
        lambda: torch.zeros(2, device="mps").new([1, 2]),
        lambda: torch.zeros(2, device="mps").new_ones(3),
        lambda: torch.zeros(2, device="mps").new_tensor([1]),
        lambda: torch.zeros(2, device="mps") + 1,
        lambda: torch.zeros(4, device="mps").view(2, 2).t()[0],
        lambda: torch.nn.Linear(2, 2).to("mps").weight,
        lambda: torch.nn.Parameter(torch.zeros(2, device="mps")),
    ],
)
@pytest.mark.filterwarnings("ignore:To copy construct")
def test_what_is_made_there_says_so(mps: Mps, make: Callable[[], torch.Tensor]) -> None:
    with mps(*OLD):
        made = make()
        assert made.device == torch.device("mps:0")
        assert made.is_mps
        assert not made.is_cpu
        assert made.get_device() == 0
        assert made.cpu().device.type == "cpu"
        assert type(made.cpu()) is torch.Tensor


def test_a_copy_is_a_copy(mps: Mps) -> None:
    with mps(*OLD):
        there = torch.zeros(2).to("mps")
        back = there.cpu()
        there += 1
        assert (there.tolist(), back.tolist()) == ([1.0, 1.0], [0.0, 0.0])
        assert there.sum().item() == 2.0
        assert there.to("mps") is there


def test_operands_on_two_devices_are_refused(mps: Mps) -> None:
    both = "RuntimeError: Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!"
    with mps(*NEW):
        there = torch.arange(3, device="mps")
        assert error_of(lambda: there + torch.arange(3)) == both
        assert error_of(lambda: torch.isin(there, torch.arange(3))) == both
        assert (there + torch.tensor(1)).tolist() == [1, 2, 3]  # a scalar may be on the CPU


ON_MPS = "RuntimeError: indices should be either on cpu or on the same device as the indexed tensor (cpu)"


@pytest.mark.parametrize(
    "index",
    [
        lambda: torch.tensor([0, 2], device="mps"),
        lambda: torch.arange(3, device="mps") > 1,
        lambda: (None, torch.tensor([0, 2], device="mps")),
    ],
    ids=["indices", "mask", "one of two"],
)
def test_a_tensor_on_the_cpu_is_not_indexed_from_mps(mps: Mps, index: Callable[[], Any]) -> None:
    with mps(*OLD):
        here = torch.arange(3)
        assert error_of(lambda: here[index()]) == ON_MPS
        assert error_of(lambda: here.__setitem__(index(), 1)) == ON_MPS
        assert error_of(lambda: here.__setitem__(index(), torch.tensor(1, device="mps"))) == ON_MPS
        assert here.tolist() == [0, 1, 2]


def test_what_else_would_write_there_from_mps(mps: Mps) -> None:
    with mps(*OLD):
        here, chosen, mask = torch.arange(3), torch.tensor([0, 2], device="mps"), torch.arange(3, device="mps") > 1
        assert error_of(lambda: here.index_put_((chosen,), torch.tensor(1))) == ON_MPS
        assert error_of(lambda: here.masked_fill_(mask, 1)) is not None
        assert here.tolist() == [0, 1, 2]
        assert here[chosen[1]].item() == 2  # a single integer is read from the device first


def test_a_tensor_on_mps_is_indexed_from_the_cpu(mps: Mps) -> None:
    with mps(*OLD):
        there, chosen = torch.arange(3, device="mps"), torch.tensor([0, 2])
        assert there[chosen].tolist() == [0, 2]
        assert there[torch.arange(3) > 0].tolist() == [1, 2]
        there[chosen] = 5
        there[torch.arange(3) == 1] = 4
        assert there.tolist() == [5, 4, 5]
        assert there.device.type == "mps"


def test_numpy_is_refused(mps: Mps) -> None:
    with mps(*NEW), pytest.raises(TypeError, match="can't convert mps:0 device type tensor to numpy"):
        torch.arange(3, device="mps").numpy()


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x[0].item(),
        lambda x: x.tolist(),
        lambda x: x.cpu(),
        lambda x: x.to("cpu"),
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 1],
    ],
)
def test_a_read_back_is_seen(mps: Mps, read: Callable[[torch.Tensor], object]) -> None:
    with mps(*NEW):
        there = torch.arange(3, device="mps")
        read(there)
        with emulated.strict(), pytest.raises(operators.ReadBack):
            read(there)


def test_what_some_release_misreads_is_misread(mps: Mps) -> None:
    with mps(*NEW):
        there, on_cpu = torch.arange(4, device="mps"), torch.arange(4)
        bools = there.gt(1)
        with emulated.strict():
            wrong = there.eq(on_cpu[2])
            either = bools[1:] | bools[1:]
            nothing = torch.zeros(3, 0, dtype=torch.bool, device="mps").any(1)
        assert wrong.tolist() == [True, False, False, False]
        assert either.tolist() != [False, True, True]
        assert nothing.tolist() == [True, True, True]


def test_any_of_five_dimensions_aborts_before_25(mps: Mps) -> None:
    five = torch.zeros(1, 1, 1, 1, 1, dtype=torch.bool)
    with mps((2, 4), (14, 0)):
        assert "aborts the process" in (error_of(lambda: five.to("mps").any(0)) or "")
    with mps((2, 5), (14, 0)):
        assert error_of(lambda: five.to("mps").any(0)) is None


def test_outside_there_is_no_device(mps: Mps) -> None:
    with mps(*OLD):
        there = torch.zeros(2, device="mps")
    with pytest.raises(RuntimeError, match="outside emulated"):
        there.add(1)
    assert type(torch.zeros(2)) is torch.Tensor


@pytest.mark.parametrize(
    ("torch_version", "macos"),
    [("2.0", (12, 3)), ("2.5", (12, 3)), ("2.6", (13, 0)), ("2.8", (13, 0)), ("2.13.0+cpu", (14, 0))],
)
def test_the_oldest_macos_of_a_torch(torch_version: str, macos: tuple[int, int]) -> None:
    assert oldest_macos(parse_version(torch_version)) == macos


def test_versions_are_shown_as_people_write_them() -> None:
    assert [show(parse_version(text)) for text in ("2.1.0", "13", "12.3", "14.0", "2.13.0+cpu")] == [
        "2.1",
        "13",
        "12.3",
        "14",
        "2.13",
    ]


def test_a_macos_without_a_minor_is_its_newest() -> None:
    assert parse_macos("13.2") == (13, 2) < parse_macos("13") < parse_macos("14.0")
    assert [show(parse_macos(text)) for text in ("13", "13.0", "13.2")] == ["13", "13", "13.2"]


def test_the_choice_of_a_device() -> None:
    chosen = device.choose("auto", "2.6", "13")
    assert chosen[:3] == ("emulated-mps", "2.6", "13")
    assert chosen.rules == Rules((2, 6), parse_macos("13"))
    installed = parse_version(torch.__version__)
    assert device.choose("emulated", None, None).rules == Rules(installed, usual_macos(installed))
    for torch_version, macos in (("9.9", None), ("2.9", "13"), ("2.6", "12.3")):
        with pytest.raises(NoRules):
            device.choose("emulated", torch_version, macos)
    if not torch.backends.mps.is_available():
        with pytest.raises(device.Unavailable, match="no MPS device"):
            device.choose("mps", None, None)


def test_it_prints_as_what_it_is(mps: Mps) -> None:
    with mps(*OLD):
        tensor = torch.tensor([1, 2], device="mps")
        assert repr(tensor) == str(tensor) == "tensor([1, 2], device='mps:0')"
        assert f"{tensor[0]:03d} {tensor}" == "001 tensor([1, 2], device='mps:0')"


@pytest.mark.skipif(not hasattr(torch, "Event"), reason="this torch has no events")
def test_its_events_have_happened(mps: Mps) -> None:
    real = torch.Event
    with mps(*NEW):
        for event in (torch.Event("mps"), torch.Event(torch.device("mps"))):
            event.record()
            event.wait()
            event.synchronize()
            assert event.query()
            assert event.device == torch.device("mps:0")
        with mps(*NEW):
            assert torch.Event("mps").query()
        assert torch.Event("mps").query()
    assert torch.Event is real

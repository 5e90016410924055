"""Tensors and parameters that move between the CPU and the emulated device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

Mps = Callable[[tuple[int, int], tuple[int, int]], AbstractContextManager[None]]
RULES = ((2, 1), (13, 0))
SWAPS = hasattr(torch.utils, "swap_tensors")


def test_the_cpu_converts_what_it_sends(mps: Mps) -> None:
    with mps(*RULES):
        assert torch.zeros(2, dtype=torch.float64).to("mps", torch.float32).dtype is torch.float32
        with pytest.raises(TypeError, match="Cannot convert a float64 Tensor to MPS"):
            torch.zeros(2, device="mps").to("cpu", torch.float64)
        assert torch.zeros(2, device="mps").cpu().double().dtype is torch.float64


def test_type_as_moves_too(mps: Mps) -> None:
    with mps(*RULES):
        there, here = torch.zeros(2, device="mps"), torch.zeros(2, dtype=torch.int32)
        moved, back = here.type_as(there), there.type_as(here)
        assert (moved.is_mps, moved.dtype, back.device.type, back.dtype) == (True, torch.float32, "cpu", torch.int32)
        assert there.to(here).device.type == "cpu"


def test_another_device_is_none_of_ours(mps: Mps) -> None:
    with mps(*RULES):
        assert torch.zeros(2, device="mps").to("meta").device.type == "meta"
        with pytest.raises(NotImplementedError, match="Cannot copy out of meta tensor"):
            torch.zeros(2, device="meta").to("mps")


def test_gradients_come_back_across_the_devices(mps: Mps) -> None:
    with mps(*RULES):
        here = torch.ones(2, requires_grad=True)
        sent = here.to("mps")
        assert not sent.is_leaf
        (sent * 3).cpu().sum().backward()  # type: ignore[no-untyped-call]
        assert here.grad is not None
        assert here.grad.tolist() == [3.0, 3.0]
        assert here.grad.device.type == "cpu"
        layer = torch.nn.Linear(2, 1).to("mps")
        layer(torch.ones(2, device="mps")).to("cpu").sum().backward()
        assert layer.weight.grad is not None
        assert layer.weight.grad.is_mps
        with torch.no_grad():
            assert not here.to("mps").requires_grad


def test_a_gradient_is_where_its_tensor_is(mps: Mps) -> None:
    with mps(*RULES), pytest.raises(RuntimeError, match="assigned grad has data located on a different device"):
        torch.zeros(2, requires_grad=True).grad = torch.zeros(2, device="mps")


@pytest.mark.skipif(not SWAPS, reason="this torch cannot exchange a tensor")
def test_its_data_takes_a_tensor_along(mps: Mps) -> None:
    with mps(*RULES):
        parameter = torch.nn.Parameter(torch.ones(2))
        parameter.data = parameter.data.to("mps")
        assert parameter.is_mps
        assert parameter.requires_grad
        assert isinstance(parameter, torch.nn.Parameter)
        parameter.data = torch.zeros(2)
        assert (parameter.device.type, parameter.tolist()) == ("cpu", [0.0, 0.0])


@pytest.mark.skipif(SWAPS, reason="this torch can exchange a tensor")
def test_a_torch_that_cannot_exchange_tensors_says_so(mps: Mps) -> None:
    with mps(*RULES), pytest.raises(RuntimeError, match="cannot move this tensor"):
        torch.nn.Parameter(torch.ones(2)).data = torch.zeros(2, device="mps")


def test_a_module_keeps_its_parameters(everywhere: Callable[..., list[str]]) -> None:
    told = everywhere(
        "two = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))\n"
        "two[1].weight = weight = two[0].weight\n"
        "optimiser = torch.optim.SGD(two.parameters(), lr=0.1)\n"
        "two.to('mps')\n"
        "before = weight.tolist()\n"
        "two(torch.ones(2, device='mps')).sum().backward()\n"
        "optimiser.step()\n"
        "print(two[0].weight is two[1].weight, len(list(two.parameters())), two[0].weight.is_mps)\n"
        "print(two[0].weight is weight, weight.tolist() != before)\n"
        "half = torch.nn.Linear(2, 2); kept = half.weight\n"
        "print(half.half().weight is kept, kept.dtype)\n"
    )
    assert told == ["True 3 True", f"{SWAPS} {SWAPS}", "True torch.float16"]

"""Values that are put into a tensor by indices, from the other device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch

Mps = Callable[[tuple[int, int], tuple[int, int]], AbstractContextManager[None]]
RULES = ((2, 6), (14, 0))


@pytest.mark.parametrize("index", [torch.tensor([0, 2]), torch.tensor([True, False, True]), slice(0, 2)])
def test_what_is_put_into_a_tensor_on_mps(mps: Mps, index: Any) -> None:
    with mps(*RULES):
        there = torch.arange(3, device="mps")
        there[index] = torch.tensor(7)
        there[index] = torch.tensor([7, 8], device="mps")
        assert sorted(there.tolist())[1:] == [7, 8]
        if isinstance(index, slice):
            there[index] = torch.tensor([5, 6])  # a copy, not a put
            return
        with pytest.raises(RuntimeError, match="found at least two devices, mps:0 and cpu!"):
            there[index] = torch.tensor([5, 6])
        assert sorted(there.tolist())[1:] == [7, 8]


@pytest.mark.parametrize("value", [lambda: torch.tensor(7, device="mps"), lambda: torch.tensor([7, 8], device="mps")])
def test_what_is_put_from_mps_into_a_tensor_on_the_cpu(mps: Mps, value: Callable[[], torch.Tensor]) -> None:
    with mps(*RULES):
        here = torch.arange(3)
        with pytest.raises(RuntimeError, match="found at least two devices, mps:0 and cpu!"):
            here[torch.tensor([0, 2])] = value()
        assert here.tolist() == [0, 1, 2]
        here[1] = torch.tensor(7, device="mps")  # a copy
        assert here.tolist() == [0, 7, 2]

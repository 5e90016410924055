"""The contract under every set of rules: the fixed function keeps it, and wrong ones do not."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from patcher.selftest import checks, device
from patcher.selftest.rules import Rules, show
from patches.isin_mps_friendly import PATCH, replacement


def run(function: Callable[..., Any], rules: Rules, monkeypatch: pytest.MonkeyPatch) -> str:
    """The contract check's sentence for `function`."""
    monkeypatch.setattr(checks, "_installed", lambda _: function)
    on = device.Device("emulated-mps", show(rules.torch), show(rules.macos), rules)
    return checks.contract({"contract": str(PATCH.contract)}, on)


def test_the_fixed_function_keeps_it(any_mps: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cases equal torch.isin on the CPU" in run(replacement.isin_mps_friendly, any_mps, monkeypatch)


def body_a(elements: Any, test_elements: Any) -> Any:
    """What 4.45.0 - 4.46.1 do on MPS below torch 2.4."""
    return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()


def reads_back(elements: Any, test_elements: Any) -> Any:
    """Right, but by way of the CPU."""
    first, second = (x.cpu() if isinstance(x, torch.Tensor) else x for x in (elements, test_elements))
    return torch.isin(first, second).to("mps")


@pytest.mark.parametrize("function", [body_a, torch.isin, reads_back], ids=["body A", "torch.isin", "read back"])
def test_others_do_not(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    rules = Rules((2, 1), (13, 0))
    on = device.Device("emulated-mps", "2.1", "13", rules)
    with on.active(), pytest.raises(checks.Failed, match="cases failed; the first, "):
        run(function, rules, monkeypatch)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("copy=True", "copy=False"),  # a scalar on the CPU is misread, and views are not copied
        (".any(1)", ".all(1)"),
        ("found | match", "match"),
        ("tests.numel() >= 10", "tests.numel() >= 11"),
        ("512 if dtype", "511 if dtype"),
        ("candidates.to(torch.float64) ==", "candidates.to(torch.float64) !="),
        ("if operand.ndim or sorts else []", "if sorts else []"),
        ("torch.float64 if isinstance(numbers[0]", "torch.float32 if isinstance(numbers[0]"),
        ("start += piece.numel()", "start += 0"),
        (".view(-1).any(0)", ".view(-1)[0]"),
    ],
)
def test_a_slip_in_the_fixed_function_is_found(right: str, wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Path(PATCH.replacement).read_text()
    assert right in source
    module = types.ModuleType("slipped")
    exec(compile(source.replace(right, wrong), "slipped", "exec"), module.__dict__)  # noqa: S102 - our own code
    rules = Rules((2, 13), (14, 0))
    on = device.Device("emulated-mps", "2.13", "14", rules)
    with on.active(), pytest.raises(checks.Failed):
        run(module.isin_mps_friendly, rules, monkeypatch)

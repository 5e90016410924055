"""The contract under every set of rules: the fixed function keeps it, and wrong ones do not."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from patcher.selftest import checks, device
from patcher.selftest.releases import show
from patcher.selftest.rules import Rules
from patches.isin_mps_friendly import contract, replacement


def run(function: Callable[..., Any], rules: Rules, monkeypatch: pytest.MonkeyPatch) -> str:
    """The contract check's sentence for `function`."""
    monkeypatch.setattr(checks, "_installed", lambda _: function)
    on = device.Device("emulated-mps", show(rules.torch), show(rules.macos), rules)
    return checks.contract({"contract": contract.__file__}, on)


def test_the_fixed_function_keeps_it(any_mps: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cases match torch.isin on the CPU" in run(replacement.isin_mps_friendly, any_mps, monkeypatch)


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
    with on.active(), pytest.raises(checks.Failed, match=r"cases failed\. The first: "):
        run(function, rules, monkeypatch)


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("copy=True", "copy=False"),  # a view on the CPU is misread
        (".any(0)", ".all(0)"),
        ("part.copy_", "print"),
        ("bitwise_or", "bitwise_and"),
        ("n == 0 or m == 0", "n == 0"),
        ("test_elements.ndim <= elements.ndim", "True"),
        ("elements.ndim or number or m > 9", "number or m > 9"),
        ("elements.ndim or number or m > 9", "elements.ndim or m > 9"),
        ("m > 9", "m > 10"),
        ("tests == tests.to(kind.dtype)", "tests != tests.to(kind.dtype)"),
        ("dtype != torch.float64", "True"),
        ("tests.numel() == 1", "m == 1"),
    ],
)
def test_a_slip_in_the_fixed_function_is_found(right: str, wrong: str) -> None:
    source = Path(replacement.__file__).read_text()
    assert right in source
    module = types.ModuleType("slipped")
    exec(compile(source.replace(right, wrong), "slipped", "exec"), module.__dict__)  # noqa: S102 - our own code
    on = device.Device("emulated-mps", "2.13", "14", Rules((2, 13), (14, 0)))
    with on.active():
        run_case = functools.partial(checks._fault, checks._run_case, module.isin_mps_friendly, contract)
        assert any(run_case(case, on) for case in contract.cases())

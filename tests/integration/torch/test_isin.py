"""`torch.isin` as `run` has it: on the emulated device, in every form, what torch's own gives on the CPU."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from patcher.runtime.after_torch import fixed_isin
from patches.isin_mps_friendly.replacement import isin_mps_friendly

Isin = Callable[..., Any]
ORIGINAL: Isin = torch.isin
VECTOR, MATRIX, EMPTY = torch.tensor([1, 2, 3, 300]), torch.tensor([[1.0, 2.5], [3.0, 4.0]]), torch.tensor([])
FORMS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((VECTOR, VECTOR[1:3]), {}),
    ((VECTOR, 3), {}),
    ((MATRIX, 2.5), {}),
    ((2.5, MATRIX), {}),
    ((7, VECTOR), {}),
    ((3, MATRIX), {"invert": True}),
    ((1, EMPTY), {}),
    ((1, EMPTY), {"invert": True}),
    ((MATRIX, EMPTY), {"invert": True}),
    ((EMPTY, 1), {}),
    ((VECTOR,), {"test_elements": VECTOR[:2]}),
    ((VECTOR,), {"test_element": 2}),
    ((), {"elements": MATRIX, "test_elements": VECTOR}),
    ((), {"elements": MATRIX, "test_elements": VECTOR, "assume_unique": True}),
    ((), {"elements": VECTOR, "test_element": 2, "invert": True}),
    ((), {"element": 2, "test_elements": VECTOR}),
    ((), {"test_elements": VECTOR, "elements": VECTOR[0]}),
]


@pytest.fixture(autouse=True)
def isin(monkeypatch: pytest.MonkeyPatch) -> Isin:
    """The function as a program finds it; a fixed function that asks torch.isin comes by it too."""
    made = fixed_isin(ORIGINAL, isin_mps_friendly)
    monkeypatch.setattr(torch, "isin", made)
    return made


def moved(value: Any) -> Any:
    return value.to("mps") if isinstance(value, torch.Tensor) else value


@pytest.mark.usefixtures("any_mps")
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_on_the_device(form: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    args, kwargs = form
    found = torch.isin(*map(moved, args), **{name: moved(value) for name, value in kwargs.items()})
    assert found.device.type == "mps"
    expected = ORIGINAL(*args, **kwargs)
    assert (found.shape, found.tolist()) == (expected.shape, expected.tolist())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_without_an_operand_on_the_device_it_is_torchs_own(form: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    args, kwargs = form
    assert torch.equal(torch.isin(*args, **kwargs), ORIGINAL(*args, **kwargs))


@pytest.mark.usefixtures("any_mps")
def test_a_number_in_a_view() -> None:
    """Torch's own refuses that on the CPU."""
    assert torch.isin(3, MATRIX.to("mps").t()).item() is True


@pytest.mark.usefixtures("any_mps")
def test_out() -> None:
    for out in (torch.empty(4, dtype=torch.bool, device="mps"), torch.empty(0, dtype=torch.bool, device="mps")):
        assert torch.isin(VECTOR.to("mps"), 2, out=out) is out
        assert out.tolist() == [False, True, False, False]
    with pytest.raises(RuntimeError, match="Expected out tensor to have dtype bool"):
        torch.isin(VECTOR.to("mps"), 2, out=torch.empty(4, device="mps"))


@pytest.mark.usefixtures("any_mps")
@pytest.mark.parametrize("wrong", [((VECTOR,), {}), ((VECTOR, 1), {"inverted": True}), ((VECTOR, 1, 2), {})], ids=str)
def test_what_torch_refuses_is_refused(wrong: tuple[tuple[Any, ...], dict[str, Any]]) -> None:
    args, kwargs = wrong
    with pytest.raises(TypeError):
        ORIGINAL(*args, **kwargs)
    with pytest.raises(TypeError):
        torch.isin(*map(moved, args), **kwargs)


def test_it_looks_like_torchs_own(isin: Isin) -> None:
    assert (isin.__name__, isin.__doc__, isin.__module__) == ("isin", ORIGINAL.__doc__, "torch")
    assert pickle.loads(pickle.dumps(isin)) is isin  # noqa: S301 - our own
    assert copy.deepcopy(isin) is isin


def test_it_compiles() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, y: torch.isin(x, y, invert=True), fullgraph=True, backend="eager")
    assert torch.equal(compiled(VECTOR, VECTOR[:1]), ORIGINAL(VECTOR, VECTOR[:1], invert=True))

"""What functions make on the emulated device: where they are told to, or where their first tensor is."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch.nn import functional

Mps = Callable[[tuple[int, int], tuple[int, int]], AbstractContextManager[None]]
RULES = ((2, 13), (14, 0))


def rows() -> torch.Tensor:
    return torch.arange(6.0, device="mps").view(2, 3)


def attention() -> torch.Tensor:
    layer = torch.nn.MultiheadAttention(4, 2, add_zero_attn=True).to("mps")
    out: torch.Tensor = layer(*[torch.ones(2, 1, 4, device="mps")] * 3)[0]
    return out


def causal() -> torch.Tensor:
    query = torch.ones(1, 1, 2, 4, device="mps")
    return functional.scaled_dot_product_attention(query, query, query, is_causal=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: functional.one_hot(torch.tensor([0, 2], device="mps")),
        lambda: torch.nn.utils.rnn.pad_sequence([rows()[0], rows()[1, :2]]),
        causal,
        lambda: functional.embedding_bag(torch.tensor([[0, 1]], device="mps"), rows()),
        lambda: torch.quantile(rows(), 0.5),
        lambda: rows().quantile(0.5),
        lambda: torch.combinations(rows()[0]),
        attention,
    ],
)
def test_what_cxx_and_python_make_is_beside_its_operands(mps: Mps, make: Callable[[], torch.Tensor]) -> None:
    with mps(*RULES):
        assert make().device == torch.device("mps:0")


def spoken(of_input: torch.Tensor, of_targets: torch.Tensor) -> torch.Tensor:
    """The loss of what two voices said, three of five sounds long."""
    sounds = torch.linspace(0, 1, 40).view(5, 2, 4).to("mps").requires_grad_()
    loss = functional.ctc_loss(
        sounds.log_softmax(-1), torch.ones(2, 3, dtype=torch.int64).to("mps"), of_input, of_targets
    )
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.linalg.matrix_rank(rows()),
        lambda: torch.svd_lowrank(rows(), 1)[0],
        lambda: functional.fractional_max_pool2d(torch.ones(1, 1, 4, 4, device="mps"), 2, output_size=2),
        lambda: spoken(torch.tensor([5, 5]), torch.tensor([3, 2])),
        lambda: spoken(torch.tensor([5, 5]).to("mps"), torch.tensor([3, 2]).to("mps")),
    ],
)
def test_what_is_made_where_the_cpu_calculates(
    mps: Mps, monkeypatch: pytest.MonkeyPatch, make: Callable[[], torch.Tensor]
) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "1")
    with mps(*RULES), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert make().device == torch.device("mps:0")


@pytest.mark.parametrize("make", [torch.zeros, torch.rand])
def test_a_leaf_is_made(mps: Mps, make: Callable[..., torch.Tensor]) -> None:
    with mps(*RULES):
        leaf = make(2, requires_grad=True, device="mps")
        assert (leaf.is_leaf, leaf.requires_grad) == (True, True)
        leaf.sum().backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None


def test_what_is_not_of_the_device_stays(mps: Mps) -> None:
    with mps(*RULES):
        assert functional.one_hot(torch.tensor([0, 2])).device.type == "cpu"
        assert torch.zeros(3).copy_(rows()[0]).device.type == "cpu"
        assert torch.zeros_like(rows(), device="cpu").device.type == "cpu"


class Doubles(torch.autograd.Function):
    """What a program's own derivative makes and moves: torch calls it where it calculates gradients."""

    @staticmethod
    def forward(_ctx: Any, given: torch.Tensor) -> torch.Tensor:
        return given * 2

    @staticmethod
    def backward(_ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        assert grad.cpu().device.type == "cpu"
        return torch.full(grad.shape, 2.0, device=grad.device).to(grad.device) * grad


def kept(calculate: Callable[[torch.Tensor], None]) -> Callable[[torch.Tensor, torch.Tensor], Any]:
    """The gradient that a tensor keeps after this."""

    def gradient(given: torch.Tensor, out: torch.Tensor) -> Any:
        calculate(out)
        return given.grad

    return gradient


@pytest.mark.parametrize(
    "gradient",
    [
        kept(lambda out: out.backward(retain_graph=True)),  # type: ignore[no-untyped-call]
        kept(torch.autograd.backward),
        lambda given, out: torch.autograd.grad(out, given)[0],
        lambda given, out: torch.autograd.grad([out], [given], create_graph=True)[0],
    ],
)
def test_code_of_the_program_runs_where_gradients_are_calculated(
    mps: Mps, gradient: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
) -> None:
    with mps(*RULES):
        given = rows().requires_grad_()
        found = gradient(given, Doubles.apply(given).sum())  # type: ignore[no-untyped-call]
        assert found.device.type == "mps"
        assert found.tolist() == [[2.0] * 3] * 2


ATTENTION = """
import sys
import torch
from patcher.selftest import emulated
from patcher.selftest.rules import Rules

before = "torch._dynamo" in sys.modules
with emulated.emulated(Rules((2, 13), (14, 0))):
    query = torch.ones(1, 1, 2, 4, device="mps")
    torch.nn.functional.scaled_dot_product_attention(query, query, query, is_causal=True)
print(before or "torch._dynamo" not in sys.modules)
"""


def test_torch_loads_no_compiler_for_it() -> None:
    """Which takes as long as all that `verify` runs."""
    done = subprocess.run([sys.executable, "-c", ATTENTION], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"

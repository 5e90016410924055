"""The methods of tensors that answer otherwise on the emulated device."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch

Version = tuple[int, int]
Mps = Callable[[Version, Version], AbstractContextManager[None]]
NEW = ((2, 13), (14, 0))


def three() -> torch.Tensor:
    return torch.arange(3, device="mps")


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: three().numpy(), TypeError, "can't convert mps:0 device type tensor to numpy"),
        (lambda: three().__array__(), TypeError, "can't convert mps:0 device type tensor to numpy"),  # type: ignore[no-untyped-call]
        (lambda: three().apply_(abs), TypeError, "apply_ is only implemented on CPU tensors"),
        (lambda: three().map_(three(), max), TypeError, "map_ is only implemented on CPU tensors"),
        (lambda: three().share_memory_(), RuntimeError, "only available on CPU"),  # type: ignore[no-untyped-call]
        (lambda: three().pin_memory(), RuntimeError, "cannot pin 'torch.mps.LongTensor' only dense CPU tensors"),
        (lambda: three().__dlpack__(), BufferError, "DLPack"),
        (lambda: three().type("torch.mps.LongTensor"), ValueError, "invalid type: 'torch.mps.LongTensor'"),
    ],
)
def test_what_is_refused(mps: Mps, call: Callable[[], object], error: type[Exception], words: str) -> None:
    with mps(*NEW), pytest.raises(error, match=words):
        call()


def test_numpy_by_force(mps: Mps) -> None:
    with mps(*NEW):
        assert three().numpy(force=True).tolist() == [0, 1, 2]


def test_a_type_of_the_cpu_is_there(mps: Mps) -> None:
    with mps(*NEW):
        assert three().type() == "torch.mps.LongTensor"
        assert three().type(torch.float32).type() == "torch.mps.FloatTensor"
        assert three().type("torch.FloatTensor").device.type == three().type("torch.IntTensor").device.type == "cpu"


def test_a_packed_sequence_has_its_sizes_on_the_cpu(mps: Mps) -> None:
    with mps(*NEW):
        rows = torch.arange(12.0, device="mps").view(2, 3, 2)
        packed = torch.nn.utils.rnn.pack_padded_sequence(rows, torch.tensor([3, 1]), batch_first=True)
        assert (packed.data.device.type, packed.batch_sizes.device.type) == ("mps", "cpu")
        out, _ = torch.nn.LSTM(2, 2, batch_first=True).to("mps")(packed)
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
        assert (padded.device.type, lengths.device.type, lengths.tolist()) == ("mps", "cpu", [3, 1])


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: three().int(), "tensor([0, 1, 2], device='mps:0', dtype=torch.int32)"),
        (lambda: torch.zeros(0, 2, device="mps"), "tensor([], device='mps:0', size=(0, 2))"),
        (lambda: torch.zeros(1, device="mps").requires_grad_(), "tensor([0.], device='mps:0', requires_grad=True)"),
        (
            lambda: torch.zeros(1, device="mps").requires_grad_() + 1,
            "tensor([1.], device='mps:0', grad_fn=<AddBackward0>)",
        ),
        (
            lambda: torch.nn.Parameter(torch.zeros(1, device="mps")),
            "Parameter containing:\ntensor([0.], device='mps:0', requires_grad=True)",
        ),
    ],
)
def test_it_prints_as_torch_does(mps: Mps, make: Callable[[], torch.Tensor], text: str) -> None:
    with mps(*NEW):
        assert repr(make()) == text


@pytest.mark.parametrize(
    ("release", "device", "words"),
    [
        ((2, 1), None, "Could not run 'aten::_pin_memory' with arguments from the 'CUDA' backend"),
        ((2, 1), "mps", "Attempted to set the storage of a tensor on device"),
        ((2, 6), None, "Attempted to set the storage of a tensor on device"),
        ((2, 13), "mps", "Attempted to set the storage of a tensor on device"),
    ],
)
def test_memory_is_pinned_by_few_releases(mps: Mps, release: Version, device: str | None, words: str) -> None:
    with mps(release, (14, 0)), pytest.raises((RuntimeError, NotImplementedError), match=words):
        torch.zeros(2).pin_memory(*[device] * bool(device))


def test_pinned_memory_is_the_cpus(mps: Mps) -> None:
    with mps((2, 14), (14, 0)):
        pinned = torch.zeros(2).pin_memory()
        assert pinned.device.type == "cpu"
        assert not torch.zeros(2).is_pinned()
        assert pinned.to("mps", non_blocking=True).is_mps

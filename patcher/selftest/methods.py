"""The methods of tensors that answer otherwise on the emulated device: what leaves it, names it or prints it."""

from __future__ import annotations

import re
from typing import Any, Dict

import torch

from . import moving
from .operators import EmulatedTensor, current_rules, refuse, to_cpu, to_mps_device
from .rules import Refusal
from .storages import mark

NO_PINNED_CUDA = Refusal(  # [S] the device was CUDA unless told, before 2.5
    NotImplementedError, "Could not run 'aten::_pin_memory' with arguments from the 'CUDA' backend."
)

NO_PINNED = Refusal(  # #86060; [B] an allocator of its own since 2.14
    RuntimeError,
    'Attempted to set the storage of a tensor on device "cpu" to a storage on different device "mps:0".  '
    "This is no longer allowed; the devices must match.",
)


_tensor: Any = torch.Tensor
_functions: Any = torch._C._VariableFunctions


def _numpy(tensor: torch.Tensor, *_: Any, force: bool = False, **__: Any) -> Any:
    if force:
        return to_cpu(tensor).detach().resolve_conj().resolve_neg().numpy()
    raise TypeError(  # [S]
        "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _show(tensor: torch.Tensor, **_: Any) -> str:
    """As torch prints it: the device stands before size and dtype, what autograd knows after them."""
    text = re.sub(r"((?:, (?:size|dtype|layout)=.*)?)\)$", r", device='mps:0'\1", repr(to_cpu(tensor).detach()))
    if tensor.grad_fn is not None:
        text += ", grad_fn=<%s>" % type(tensor.grad_fn).__name__
    elif tensor.requires_grad:
        text += ", requires_grad=True"
    return ("Parameter containing:\n" if isinstance(tensor, torch.nn.Parameter) else "") + text + ")"


def _format(tensor: torch.Tensor, how: str) -> str:
    """As torch does for a tensor that is no subclass: a scalar is shown as its number."""
    return format(to_cpu(tensor).item(), how) if tensor.ndim == 0 else format(_show(tensor), how)


def _type(tensor: torch.Tensor, dtype: Any = None, *_: Any, **__: Any) -> Any:
    if dtype is None:
        return torch.Tensor.type(to_cpu(tensor)).replace("torch.", "torch.mps.")
    if isinstance(dtype, torch.dtype):
        return torch.Tensor.type(tensor, dtype)
    return torch.Tensor.type(to_cpu(tensor), dtype)  # a class such as torch.FloatTensor is one of the CPU


def _pin_memory(tensor: torch.Tensor, device: Any = None) -> torch.Tensor:
    if isinstance(tensor, EmulatedTensor):
        raise RuntimeError("cannot pin '%s' only dense CPU tensors can be pinned" % _type(tensor))  # [S]
    release = current_rules().torch
    refuse(NO_PINNED_CUDA if release < (2, 5) and device is None else NO_PINNED if release < (2, 14) else None)
    pinned: Any = tensor.clone()
    pinned.untyped_storage().is_pinned_for_mps = True
    return pinned


def _is_pinned(tensor: torch.Tensor, *_: Any, **__: Any) -> bool:
    return hasattr(tensor.untyped_storage(), "is_pinned_for_mps")


def _pack(tensor: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    """What packs a sequence takes the lengths of its rows from the CPU [S], and the sizes of its batches are there."""
    packed, sizes = _functions._pack_padded_sequence(tensor, to_mps_device(lengths), batch_first)
    return packed, to_cpu(sizes)


def _unpack(tensor: torch.Tensor, *rest: Any) -> Any:
    padded, lengths = _functions._pad_packed_sequence(tensor, *rest)
    return to_mps_device(padded), lengths


def _refuse(error: type, message: str) -> Any:
    return lambda *_, **__: refuse(Refusal(error, message))


def _marked(func: Any) -> Any:
    """The function, with the storage that it returns saying where it is."""
    return lambda tensor: mark(func(tensor))


# Wherever the tensor is
HERE_AND_THERE: Dict[Any, Any] = {
    torch.Tensor.to: moving.to,
    torch.Tensor.type_as: moving.type_as,
    _tensor.data.__set__: moving.set_data,
    _tensor.grad.__set__: moving.set_grad,
    torch.Tensor.pin_memory: _pin_memory,
    torch.Tensor.is_pinned: _is_pinned,
}

# Of a tensor on the emulated device
THERE: Dict[Any, Any] = {
    torch.Tensor.new: lambda x, *args: EmulatedTensor(to_cpu(x).new(*args)),
    torch.Tensor.get_device: lambda _: 0,
    torch.Tensor.type: _type,
    _functions._pack_padded_sequence: _pack,
    _functions._pad_packed_sequence: _unpack,
    torch.Tensor.__repr__: _show,
    torch.Tensor.__format__: _format,
    torch.Tensor.cpu: lambda x, *_, **__: to_cpu(x),
    torch.Tensor.tolist: lambda x: to_cpu(x).tolist(),
    torch.Tensor.numpy: _numpy,
    torch.Tensor.__array__: _numpy,
    torch.Tensor.__dlpack__: _refuse(BufferError, "The emulated MPS device shares no memory through DLPack"),
    torch.Tensor.apply_: _refuse(TypeError, "apply_ is only implemented on CPU tensors"),  # [S]
    torch.Tensor.map_: _refuse(TypeError, "map_ is only implemented on CPU tensors"),  # [S]
    torch.Tensor.share_memory_: _refuse(RuntimeError, "_share_filename_: only available on CPU"),  # [S]
    torch.Tensor.untyped_storage: _marked(torch.Tensor.untyped_storage),
    torch.Tensor._typed_storage: _marked(torch.Tensor._typed_storage),
    torch.Tensor.storage: _marked(torch.Tensor.storage),
}

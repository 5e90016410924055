"""Tensors and parameters that move between the CPU and the emulated device: `.to`, `.type_as`, `.data =`."""

from __future__ import annotations

from typing import Any, Dict, Optional, Tuple

import torch

from .asked import name_of
from .operators import EmulatedTensor, State, refuse, to_cpu, to_mps_device
from .rules import Refusal

FLOAT64_ON_CPU = Refusal(  # [B] [S] Copy.mm casts on the device
    TypeError,
    "Cannot convert a float64 Tensor to MPS as the MPS framework doesn't support float64. Please use float32 instead.",
)


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """The tensor there: itself where it is there already, else a copy."""
    if device.type == "mps":
        return to_mps_device(tensor if tensor.device.type in ("cpu", "mps") else torch.Tensor.to(tensor, "cpu"))
    return to_cpu(tensor) if device.type == "cpu" else torch.Tensor.to(to_cpu(tensor), device)


def to(tensor: torch.Tensor, *rest: Any, **kwargs: Any) -> torch.Tensor:
    """`Tensor.to` in all its forms: to a device, a dtype, both, or those of another tensor."""
    options = _to_options(rest, kwargs)
    device = torch.device(options.pop("device", None) or tensor.device)
    dtype = options.get("dtype", tensor.dtype)
    if device.type == "mps" and State.rules:
        refuse(State.rules.dtype(name_of(dtype)))
    if tensor.device.type == "mps" and device.type == "cpu" and dtype is torch.float64 is not tensor.dtype:
        refuse(FLOAT64_ON_CPU)
    if device.type == "mps":  # the CPU converts what it sends
        return to_device(torch.Tensor.to(tensor, **options) if options else tensor, device)
    tensor = to_device(tensor, device)
    return torch.Tensor.to(tensor, **options) if options else tensor


def _to_options(rest: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """The arguments after the tensor, by name, without those that are None."""
    names = ["device", "dtype", "non_blocking", "copy"]
    if rest and isinstance(rest[0], torch.Tensor):
        rest = (rest[0].device, rest[0].dtype) + rest[1:]
    elif rest and isinstance(rest[0], torch.dtype):
        names = names[1:]
    options = dict(zip(names, rest), **kwargs)
    return {name: value for name, value in options.items() if value is not None}


def type_as(tensor: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """`Tensor.type_as`, which moves to the other's device too [S]."""
    return to(tensor, other)


def set_data(tensor: torch.Tensor, data: torch.Tensor) -> None:
    """`tensor.data = data`, which takes the tensor to the other device where data is there [S].

    Raises:
        RuntimeError: this torch cannot exchange a tensor in its place, or the tensor is part of a graph.
    """
    if tensor.device.type == data.device.type:
        setter: Any = torch.Tensor.data
        setter.__set__(tensor, data)
    elif not _become(tensor, _like(tensor, data.detach())):
        raise RuntimeError("The emulated MPS device cannot move this tensor by its .data. Use .to() instead.")


def set_grad(tensor: torch.Tensor, grad: Optional[torch.Tensor]) -> None:
    """`tensor.grad = grad`."""
    if grad is not None and grad.device.type != tensor.device.type:
        raise RuntimeError("assigned grad has data located on a different device")  # [S]
    setter: Any = torch.Tensor.grad
    setter.__set__(tensor, grad)


def _like(tensor: torch.Tensor, data: torch.Tensor) -> torch.Tensor:
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(data, tensor.requires_grad)
    return data.requires_grad_(tensor.requires_grad)


def _become(tensor: torch.Tensor, other: torch.Tensor) -> bool:
    """Makes the tensor what the other is, so that whoever holds it sees it move. False if that cannot be."""
    swap: Any = getattr(torch.utils, "swap_tensors", None)  # since 2.3
    try:
        swap(tensor, other)
    except (TypeError, RuntimeError):
        return False
    return True


def keep_parameters() -> None:
    """From now on `Module.to` moves each parameter in its place, as for devices that torch knows [S].

    An optimiser that was made before then has the module's parameters still, and tied weights stay tied. Where torch
    cannot exchange a tensor (before 2.3), they only stay tied.
    """
    module: Any = torch.nn.Module
    apply = module._apply

    def _apply(self: Any, *args: Any, **kwargs: Any) -> Any:
        before = dict(self._parameters)
        done = apply(self, *args, **kwargs)
        for name, old in before.items():
            if self._parameters[name] is not old:
                self._parameters[name] = _kept(old, self._parameters[name])
        return done

    module._apply = _apply


def _kept(old: Any, new: Any) -> Any:
    """The parameter that stands for both from now on."""
    if isinstance(old, EmulatedTensor) == isinstance(new, EmulatedTensor):
        old.data, old.grad = new.data, new.grad
        return old
    if _become(old, new):
        return old
    old.moved = getattr(old, "moved", new)
    return old.moved

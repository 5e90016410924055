"""An emulated MPS device: tensors with CPU storage that say `mps:0`, under the rules of a given torch and macOS.

The C++ device of such a tensor is the CPU, so the CPU's kernels compute. `__torch_dispatch__` sees each operator
before they do and applies the rules; a `TorchFunctionMode` sees the functions that name a device (factories, `.to`,
`.cpu`) or that leave it (`.tolist`, `.numpy`). Both numbers and errors are thus those of the rules, not of Apple's
hardware: whatever is found here is found on an emulated device, and is to be called so.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Dict, Iterator, Optional, Tuple

import torch
from torch.overrides import TorchFunctionMode

from .events import emulated_events
from .operators import DEVICE, EmulatedTensor, State, name_of, refuse, to_cpu, to_mps_device, use_rules
from .rules import Rules


class DeviceMode(TorchFunctionMode):
    """Functions that name a device, or take values off it."""

    def __torch_function__(self, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.to:
            return _to(args, kwargs)
        if args and isinstance(args[0], EmulatedTensor):
            if func in _HANDLED:
                return _HANDLED[func](*args, **kwargs)
            if func in _COPYING:
                kwargs = dict(kwargs, device=kwargs.get("device") or DEVICE)
        device = kwargs.get("device") or _default_device(func)
        return func(*args, **kwargs) if device is None else _made(torch.device(device), func, args, kwargs)


def _default_device(func: Any) -> Optional[torch.device]:
    """What torch adds below this mode, which would be too late."""
    module: Any = sys.modules.get("torch.utils._device")  # who sets a default device loads it
    default = getattr(module, "CURRENT_DEVICE", None)
    is_mps = default is not None and default.type == "mps" and func in module._device_constructors()
    return default if is_mps else None


def _made(device: torch.device, func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """What a function that was told a device makes there."""
    to_mps = device.type == "mps"
    if to_mps:
        kwargs = dict(kwargs, device=torch.device("cpu"))
        refuse(State.rules.dtype(name_of(kwargs["dtype"])) if State.rules and kwargs.get("dtype") else None)
    out = func(*args, **kwargs)
    return to_mps_device(out) if to_mps else to_cpu(out) if isinstance(out, EmulatedTensor) else out


def _to(args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """`Tensor.to` in all its forms: to a device, a dtype, both, or those of another tensor."""
    source, options = args[0], _to_options(args[1:], kwargs)
    device = torch.device(options.pop("device", None) or source.device)
    if device.type not in ("mps", "cpu"):
        return torch.Tensor.to(source, device, **options)
    if device.type == "mps" and State.rules:
        refuse(State.rules.dtype(name_of(options.get("dtype", source.dtype))))
    if device.type != source.device.type:
        source = to_mps_device(source) if device.type == "mps" else to_cpu(source)
    return torch.Tensor.to(source, **options) if options else source


def _to_options(rest: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Dict[str, Any]:
    """The arguments after the tensor, by name, without those that are None."""
    names = ["device", "dtype", "non_blocking", "copy"]
    if rest and isinstance(rest[0], torch.Tensor):
        rest = (rest[0].device, rest[0].dtype) + rest[1:]
    elif rest and isinstance(rest[0], torch.dtype):
        names = names[1:]
    options = dict(zip(names, rest), **kwargs)
    return {name: value for name, value in options.items() if value is not None}


def _no_numpy(*_: Any, **__: Any) -> Any:
    raise TypeError(  # [S]
        "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _show(tensor: torch.Tensor) -> str:
    return repr(to_cpu(tensor).detach())[:-1] + ", device='mps:0')"


def _format(tensor: torch.Tensor, how: str) -> str:
    """As torch does for a tensor that is no subclass: a scalar is shown as its number."""
    return format(to_cpu(tensor).item(), how) if tensor.ndim == 0 else format(_show(tensor), how)


def _type(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    if args or kwargs:
        return tensor.type(*args, **kwargs)
    return torch.Tensor.type(to_cpu(tensor)).replace("torch.", "torch.mps.")


# They make a tensor where the one that they are given is
_COPYING = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)

_HANDLED: Dict[Any, Any] = {
    torch.Tensor.new: lambda x, *args: EmulatedTensor(to_cpu(x).new(*args)),
    torch.Tensor.get_device: lambda _: 0,
    torch.Tensor.type: _type,
    torch.Tensor.__repr__: lambda x, **_: _show(x),
    torch.Tensor.__format__: _format,
    torch.Tensor.cpu: lambda x, *_, **__: to_cpu(x),
    torch.Tensor.tolist: lambda x: to_cpu(x).tolist(),
    torch.Tensor.numpy: _no_numpy,
    torch.Tensor.__array__: _no_numpy,
}


@contextlib.contextmanager
def emulated(rules: Rules) -> Iterator[None]:
    """Within: device "mps" is the emulated one, under `rules`."""
    before = State.rules, torch.__future__.get_overwrite_module_params_on_conversion()
    use_rules(rules)
    try:
        with DeviceMode(), emulated_events():
            yield
    finally:
        State.rules = before[0]
        torch.__future__.set_overwrite_module_params_on_conversion(before[1])


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Within: a read from the device raises `ReadBack`, and what some release misreads is misread."""
    State.strict = True
    try:
        yield
    finally:
        State.strict = False

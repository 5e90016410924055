"""An emulated MPS device: tensors with CPU storage that say `mps:0`, under the rules of a given torch and macOS.

The C++ device of such a tensor is the CPU, so the CPU's kernels compute. `__torch_dispatch__` sees each operator
before they do and applies the rules; a `TorchFunctionMode` sees the functions that name a device (factories, `.to`,
`.cpu`) or that leave it (`.tolist`, `.numpy`). Both numbers and errors are thus those of the rules, not of Apple's
hardware: whatever is found here is found on an emulated device, and is to be called so.
"""

from __future__ import annotations

import contextlib
import types
from typing import Any, Callable, Iterator, Tuple

import torch
from torch.overrides import TorchFunctionMode

from .events import emulated_events
from .generators import check_generator
from .making import ctc_loss, default_device, made_beside, made_on
from .methods import HERE_AND_THERE, THERE
from .operators import DEVICE, EmulatedTensor, State, use_rules
from .rules import Rules


class DeviceMode(TorchFunctionMode):
    """Functions that name a device, or take values off it."""

    def __torch_function__(self, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _CALL_BACK:
            with self:
                return _CALL_BACK[func](*args, **kwargs)
        if func in _ANYWHERE:
            return _ANYWHERE[func](*args, **kwargs)
        if args and isinstance(args[0], EmulatedTensor):
            if func in THERE:
                return THERE[func](*args, **kwargs)
            if func in _COPYING:
                kwargs = dict(kwargs, device=kwargs.get("device") or DEVICE)
        device, first = kwargs.get("device") or default_device(func), _first(args)
        if kwargs.get("generator") is not None:
            check_generator(kwargs["generator"], device or getattr(first, "device", "cpu"))
        if device is None:
            return made_beside(first, func, args, kwargs)
        return made_on(torch.device(device), func, args, kwargs)


def _first(args: Tuple[Any, ...]) -> Any:
    """The first argument, or the first of a list that stands there."""
    first = args[0] if args else None
    return first[0] if isinstance(first, (list, tuple)) and first else first


def _unasked(func: Any) -> Callable[..., Any]:
    """The function without its question whether a mode overrides it, so that it can be called within the mode."""
    questions = dict.fromkeys(("has_torch_function", "has_torch_function_unary"), lambda _: False)
    names = {**func.__globals__, **questions}
    return types.FunctionType(func.__code__, names, func.__name__, func.__defaults__, func.__closure__)


_ANYWHERE = {**HERE_AND_THERE, torch.nn.functional.ctc_loss: ctc_loss}

# They run code of the program (an autograd.Function, a hook, what a checkpoint computes again), and a mode is off while
# it handles a function
_CALL_BACK = {func: _unasked(func) for func in (torch.Tensor.backward, torch.autograd.backward, torch.autograd.grad)}

# They make a tensor where the one that they are given is
_COPYING = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)


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

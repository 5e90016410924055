"""What functions make on the emulated device: where they are told to, or where their first tensor is."""

from __future__ import annotations

import functools
import inspect
import sys
from typing import Any, Dict, Optional, Tuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from .asked import name_of
from .moving import to_device
from .operators import DEVICE, EmulatedTensor, State, refuse

# Functions of C++ that make tensors from another's options and calculate with them
_MAKE_AND_MIX = (
    torch._C._nn.one_hot,
    torch._C._nn.scaled_dot_product_attention,
    torch.combinations,
    torch.linalg.matrix_rank,
    torch.quantile,
    torch.nanquantile,
    torch.Tensor.quantile,
    torch.Tensor.nanquantile,
)

_CTC_LOSS = torch.nn.functional.ctc_loss

# Functions of Python that call others, which do
_CALL_WHAT_MAKES = (
    torch.svd_lowrank,
    torch.pca_lowrank,
    torch.nn.functional.fractional_max_pool2d,
    torch.nn.functional.fractional_max_pool3d,
)


def ctc_loss(*args: Any, **kwargs: Any) -> Any:
    """Reads the lengths from wherever they are, as torch does where no tensor is a subclass [S]."""
    given = inspect.signature(_CTC_LOSS).bind(*args, **kwargs).arguments
    for name in ("input_lengths", "target_lengths"):
        if isinstance(given[name], torch.Tensor):
            given[name] = tuple(to_device(given[name], torch.device("cpu")).tolist())
    if not isinstance(given["log_probs"], EmulatedTensor):
        return _CTC_LOSS(**given)
    with _Making(in_cxx=True):
        return _CTC_LOSS(**given)


def default_device(func: Any) -> Optional[torch.device]:
    """What torch adds below a mode, which would be too late."""
    module: Any = sys.modules.get("torch.utils._device")  # who sets a default device loads it
    default = getattr(module, "CURRENT_DEVICE", None)
    is_mps = default is not None and default.type == "mps" and func in module._device_constructors()
    return default if is_mps else None


def made_on(device: torch.device, func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """What a function that was told a device makes there."""
    kwargs = dict(kwargs)
    if device.type == "mps":
        kwargs["device"] = torch.device("cpu")
        refuse(State.rules.dtype(name_of(kwargs["dtype"])) if State.rules and kwargs.get("dtype") else None)
    wants_grad = kwargs.pop("requires_grad", False)
    out = func(*args, **kwargs)
    out = to_device(out, device) if isinstance(out, torch.Tensor) else out
    return out.requires_grad_() if wants_grad else out


def made_beside(first: Any, func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """What a function makes that was told none: it is where `first` is.

    A function of C++ that makes a tensor from another's options (`pad_sequence`) makes one of the CPU.
    """
    if not isinstance(first, EmulatedTensor):
        return func(*args, **kwargs)
    if _makes_tensors(func):
        with _Making(func in _MAKE_AND_MIX):
            out = func(*args, **kwargs)
    else:
        out = func(*args, **kwargs)
    return to_device(out, DEVICE) if type(out) is torch.Tensor else out


@functools.lru_cache(maxsize=None)
def _makes_tensors(func: Any) -> bool:
    """Whether it makes tensors that it calculates with: a mode does not see what torch's own functions call."""
    code = getattr(func, "__code__", None)
    in_python = code is not None and any("device" in names for names in code.co_consts if isinstance(names, tuple))
    return in_python or func in _MAKE_AND_MIX or func in _CALL_WHAT_MAKES


class _Making(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Within, what operators make without a tensor is on the device."""

    def __init__(self, in_cxx: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.in_cxx = in_cxx

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """To be left out of compiled code, torch would import its compiler, which takes as long as all runs."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self.in_cxx and kwargs.get("dtype") is torch.float64:
            kwargs = dict(kwargs, dtype=torch.float32)  # [S] which C++ takes on MPS where it takes float64 on the CPU
        if "device" not in kwargs or any(isinstance(one, torch.Tensor) for one in args):
            return func(*args, **kwargs)
        return EmulatedTensor(func(*args, **dict(kwargs, device=torch.device("cpu"))))

"""An emulated MPS device: tensors with CPU storage that say `mps:0`, under the rules of a given torch and macOS.

The C++ device of such a tensor is the CPU, so the CPU's kernels compute. `__torch_dispatch__` sees each operator
before they do and applies the rules; a `TorchFunctionMode` sees the functions that name a device (factories, `.to`,
`.cpu`) or that leave it (`.tolist`, `.numpy`). Both numbers and errors are thus those of the rules, not of Apple's
hardware: whatever is found here is found on an emulated device, and is to be called so.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any, Dict, Iterable, Iterator, List, Optional, Tuple

import torch
from torch.overrides import TorchFunctionMode

from .events import emulated_events
from .rules import INDEX_ON_MPS, TWO_DEVICES, Refusal, Rules

DEVICE = torch.device("mps:0")

# Operators whose operands may be on two devices [S]: copies, and indexing of a tensor on MPS by one on the CPU
COPIES = ("aten::copy_", "aten::_to_copy")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_")

# What reads values back, and so waits for the device
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::masked_select")

BITWISE = ("aten::bitwise_and", "aten::bitwise_or", "aten::bitwise_xor")


class ReadBack(RuntimeError):
    """A value was read from the device where nothing was to be."""


class _State:
    rules: Optional[Rules] = None
    strict = False


class EmulatedTensor(torch.Tensor):
    """A tensor that says `mps:0`. Its storage is the CPU's."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, data: torch.Tensor) -> EmulatedTensor:
        _refuse(_State.rules.dtype(_name(data.dtype)) if _State.rules else None)
        return torch.Tensor._make_subclass(cls, data)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    is_mps = property(lambda _: True)
    is_cpu = property(lambda _: False)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name, overload = _operator(func)
        operands = _tensors((*args, *kwargs.values()))
        _apply_rules(name, overload, args, operands)
        with _below_dispatch():
            if _State.strict:
                args = _misread(name, args)
            out = func(*args, **kwargs)
            if _State.strict and name in ("aten::any", "aten::all") and operands[0].numel() == 0 and out.numel():
                out = ~out  # [S] empty input: any(dim) returns unwritten memory, all() gave False (#104694)
            return _on_device(out)


@functools.lru_cache(maxsize=None)
def _operator(func: Any) -> Tuple[str, str]:
    """The names of an operator and its overload, such as ("aten::isin", "Tensor_Tensor")."""
    return func._schema.name, func._schema.overload_name


def _tensors(values: Iterable[Any]) -> List[torch.Tensor]:
    """The tensors among an operator's arguments, also those in lists. (torch's pytree takes longer than all else.)"""
    found: List[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(x for x in value if isinstance(x, torch.Tensor))
    return found


def _on_device(out: Any) -> Any:
    """What an operator returned, with every new tensor an emulated one."""
    if isinstance(out, (list, tuple)):
        return type(out)(_on_device(x) for x in out)
    return EmulatedTensor(out) if type(out) is torch.Tensor else out


def _apply_rules(name: str, overload: str, args: Tuple[Any, ...], operands: List[torch.Tensor]) -> None:
    rules = _State.rules
    if rules is None:
        raise RuntimeError("an emulated tensor was used outside emulated()")
    _refuse(rules.missing(name, overload))
    if not all(isinstance(x, EmulatedTensor) for x in operands):
        _refuse(_two_devices(name, args, operands))
    if name == "aten::isin":
        dtypes = [_name(x.dtype) if isinstance(x, torch.Tensor) else "" for x in args[:2]]
        _refuse(rules.isin(dtypes[0] or dtypes[1], dtypes[1] or dtypes[0]))
    _refuse(rules.dimensions(name, operands[0].ndim if overload == "dim" else 0))
    if _State.strict and (name in READS or (name == "aten::index" and _has_mask(args))):
        raise ReadBack("%s reads from the device and waits for it" % name)


def _two_devices(name: str, args: Tuple[Any, ...], operands: List[torch.Tensor]) -> Optional[Refusal]:
    """The refusal of operands of which some are on the CPU: there a tensor without dimensions may be."""
    if name in COPIES:
        return None
    if name in INDEXING:
        by_mps = not isinstance(args[0], EmulatedTensor) and any(isinstance(x, EmulatedTensor) for x in args[1])
        return INDEX_ON_MPS if by_mps else None
    return TWO_DEVICES if any(x.ndim for x in operands if not isinstance(x, EmulatedTensor)) else None


def _has_mask(args: Tuple[Any, ...]) -> bool:
    return any(isinstance(x, torch.Tensor) and x.dtype is torch.bool for x in args[1])


def _misread(name: str, args: Tuple[Any, ...]) -> Tuple[Any, ...]:
    """The operands as some releases misread them: for `strict()`, where a right function must not notice."""

    def seen(x: Any) -> Any:
        if not isinstance(x, torch.Tensor) or not x.storage_offset():
            return x
        if x.ndim == 0 and not isinstance(x, EmulatedTensor):
            return x.as_strided((), (), 0)  # the value at offset 0 is read instead (#187117)
        if name in BITWISE and x.dtype is torch.bool and x.storage_offset() % 4:
            return ~x  # silently wrong (#182822)
        return x

    return tuple(seen(x) for x in args)


class _DeviceMode(TorchFunctionMode):
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
        device = kwargs.get("device")
        return func(*args, **kwargs) if device is None else _made(torch.device(device), func, args, kwargs)


def _made(device: torch.device, func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """What a function that was told a device makes there."""
    to_mps = device.type == "mps"
    if to_mps:
        kwargs = dict(kwargs, device=torch.device("cpu"))
        _refuse(_State.rules.dtype(_name(kwargs["dtype"])) if _State.rules and kwargs.get("dtype") else None)
    out = func(*args, **kwargs)
    return to_mps_device(out) if to_mps else to_cpu(out) if isinstance(out, EmulatedTensor) else out


def _to(args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """`Tensor.to` in all its forms: to a device, a dtype, both, or those of another tensor."""
    source, options = args[0], _to_options(args[1:], kwargs)
    device = torch.device(options.pop("device", None) or source.device)
    if device.type not in ("mps", "cpu"):
        return torch.Tensor.to(source, device, **options)
    if device.type == "mps" and _State.rules:
        _refuse(_State.rules.dtype(_name(options.get("dtype", source.dtype))))
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


def to_mps_device(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the emulated device."""
    if isinstance(tensor, EmulatedTensor):
        return tensor
    return EmulatedTensor(tensor.detach().clone()).requires_grad_(tensor.requires_grad)


def to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU."""
    if not isinstance(tensor, EmulatedTensor):
        return tensor
    if _State.strict:
        raise ReadBack("a copy to the CPU reads from the device and waits for it")
    with _below_dispatch():
        return tensor.detach().as_subclass(torch.Tensor).clone().requires_grad_(tensor.requires_grad)


def _no_numpy(*_: Any, **__: Any) -> Any:
    raise TypeError(  # [S]
        "can't convert mps:0 device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
    )


def _show(tensor: torch.Tensor) -> str:
    return repr(to_cpu(tensor).detach())[:-1] + ", device='mps:0')"


def _format(tensor: torch.Tensor, how: str) -> str:
    """As torch does for a tensor that is no subclass: a scalar is shown as its number."""
    return format(to_cpu(tensor).item(), how) if tensor.ndim == 0 else format(_show(tensor), how)


# They make a tensor where the one that they are given is
_COPYING = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)

_HANDLED: Dict[Any, Any] = {
    torch.Tensor.new: lambda x, *args: EmulatedTensor(to_cpu(x).new(*args)),
    torch.Tensor.get_device: lambda _: 0,
    torch.Tensor.__repr__: lambda x, **_: _show(x),
    torch.Tensor.__format__: _format,
    torch.Tensor.cpu: lambda x, *_, **__: to_cpu(x),
    torch.Tensor.tolist: lambda x: to_cpu(x).tolist(),
    torch.Tensor.numpy: _no_numpy,
    torch.Tensor.__array__: _no_numpy,
}


@contextlib.contextmanager
def _below_dispatch() -> Iterator[None]:
    guard = torch._C._DisableTorchDispatch()
    try:
        yield
    finally:
        del guard


def _refuse(refusal: Optional[Refusal]) -> None:
    if refusal is not None:
        raise refusal.error(refusal.message)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).replace("torch.", "")


@contextlib.contextmanager
def emulated(rules: Rules) -> Iterator[None]:
    """Within: device "mps" is the emulated one, under `rules`."""
    future = torch.__future__
    before = _State.rules, future.get_overwrite_module_params_on_conversion()
    _State.rules = rules
    # Module.to() would otherwise keep each Parameter and change its data, and the Parameter would still say `cpu`
    future.set_overwrite_module_params_on_conversion(True)
    try:
        with _DeviceMode(), emulated_events():
            yield
    finally:
        _State.rules = before[0]
        future.set_overwrite_module_params_on_conversion(before[1])


@contextlib.contextmanager
def strict() -> Iterator[None]:
    """Within: a read from the device raises `ReadBack`, and what some release misreads is misread."""
    _State.strict = True
    try:
        yield
    finally:
        _State.strict = False

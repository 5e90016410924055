"""The tensors of the emulated MPS device, and the rules that each operator on them meets."""

from __future__ import annotations

import builtins
import contextlib
import functools
import os
import sys
import warnings
from collections import OrderedDict
from typing import Any, Callable, ClassVar, Dict, Iterator, List, Optional, Sequence, Set, Tuple

import torch

from .asked import Asked, Operator, asked_by_composite, collect, find_operator, name_of, tensors, with_limit
from .limits import Limit
from .rules import FALLBACK, INDEX_ON_MPS, TWO_DEVICES, Refusal, Rules

DEVICE = torch.device("mps:0")

HERE = os.path.dirname(__file__)

# Operators whose operands may be on two devices [S]: copies, questions of kind (which arrive in inference mode), and
# indexing of a tensor on MPS by one on the CPU
ANYWHERE = ("aten::copy_", "aten::_to_copy", "aten::_has_compatible_shallow_copy_type", "aten::result_type")
INDEXING = ("aten::index", "aten::index_put", "aten::index_put_")

# What reads values back, and so waits for the device
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::masked_select")

FALLS_BACK = ("missing", "fallback")

BITWISE = ("aten::bitwise_and", "aten::bitwise_or", "aten::bitwise_xor")


class ReadBack(RuntimeError):
    """A value was read from the device where nothing was to be."""


class State:
    """What holds for all emulated tensors of the process."""

    rules: Optional[Rules] = None
    strict = False
    warned = False
    told: ClassVar[Set[Limit]] = set()  # those that a kernel warns of once
    seen: Optional[Callable[[Asked, List[torch.Tensor]], None]] = None  # is told of every operator
    without_kernel: Optional[List[Asked]] = None  # while it is one, gets what falls back


class EmulatedTensor(torch.Tensor):
    """A tensor that says `mps:0`. Its storage is the CPU's."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, data: torch.Tensor) -> EmulatedTensor:
        refuse(_refused_dtype(State.rules, data.dtype) if State.rules else None)
        return torch.Tensor._make_subclass(cls, data)

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    is_mps = property(lambda _: True)
    is_cpu = property(lambda _: False)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """As torch's own tensor, of a storage that is on the device."""
        if isinstance(self, torch.nn.Parameter):
            rebuild: Any = torch._utils._rebuild_parameter
            return rebuild, (self.detach(), self.requires_grad, OrderedDict())
        alias: Any = _alias(self).requires_grad_(self.requires_grad)
        reduced = alias.__reduce_ex__(protocol)
        storage = reduced[1][0]
        getattr(storage, "_untyped_storage", storage).is_on_mps = True
        return reduced

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        operator = find_operator(func, current_rules())
        operands = tensors((*args, *kwargs.values()) if kwargs else args)
        kwargs = kwargs or {}
        asked = operator.asked
        if operator.is_composite:
            asked = asked_by_composite(func, args, kwargs, operands, operator)
        if operator.limits or operator.own_limit:
            asked = with_limit(asked, operator, args, operands)
        is_probe = collect(asked)
        if not is_probe and not _falls_back(asked, operands):
            _apply_rules(operator, asked, args, operands)
        with below_dispatch():
            if not State.strict or is_probe:
                return _on_device(func(*args, **kwargs))
            return _on_device(_misreading(operator.name, func, args, kwargs, operands))


def _misreading(
    name: str, func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any], operands: List[torch.Tensor]
) -> Any:
    """What the operator returns where a release misreads its operands, or does not write its result."""
    out = func(*_misread(name, args), **kwargs)
    # [S] empty input: any(dim) returns unwritten memory, all() gave False (#104694)
    return ~out if name in ("aten::any", "aten::all") and operands[0].numel() == 0 and out.numel() else out


def _on_device(out: Any) -> Any:
    """What an operator returned, with every new tensor an emulated one."""
    if type(out) is torch.Tensor:
        return EmulatedTensor(out)
    return type(out)(map(_on_device, out)) if isinstance(out, (list, tuple)) else out


def _falls_back(operators: Sequence[Asked], operands: List[torch.Tensor]) -> bool:
    """Whether the CPU computes the operator for MPS. Refuses what may not be computed so."""
    for one in operators:
        if State.seen:
            State.seen(one, operands)
        if one.kernel.status in FALLS_BACK:
            _refuse_or_warn(one)
        elif one.limit and one.limit.effect == "cpu":
            _warn_of(one, one.limit)
    first = operators[0]
    return first.kernel.status in FALLS_BACK or (first.limit is not None and first.limit.effect == "cpu")


def _warn_of(operator: Asked, limit: Limit) -> None:
    """As a kernel does that leaves the work to the CPU, whatever the user allows."""
    if State.without_kernel is None and limit not in State.told:
        State.told.add(limit)
        warnings.warn(limit.told(operator.name), stacklevel=_frames_of_ours())


def _refuse_or_warn(operator: Asked) -> None:
    """As a Mac does where an operator has no kernel: it warns once in a process."""
    kernel = operator.kernel
    if State.without_kernel is not None:
        State.without_kernel.append(operator)
        return
    if kernel.status == "missing" and os.environ.get("PYTORCH_ENABLE_MPS_FALLBACK", "0") == "0":
        refuse(current_rules().not_implemented(kernel.asked))
    if not State.warned:
        State.warned = True
        warnings.warn(FALLBACK.format(op=kernel.asked), stacklevel=_frames_of_ours())


def _frames_of_ours() -> int:
    """How many frames up from the caller the program or torch is."""
    frame, count = sys._getframe(1), 1
    while frame.f_back is not None and os.path.dirname(frame.f_code.co_filename) == HERE:
        frame, count = frame.f_back, count + 1
    return count


@contextlib.contextmanager
def falling_back() -> Iterator[List[Asked]]:
    """Within: the CPU computes what MPS has no kernel for, without a word; the list gets these operators."""
    before, State.without_kernel = State.without_kernel, []
    try:
        yield State.without_kernel
    finally:
        State.without_kernel = before


def _apply_rules(
    operator: Operator, asked: Sequence[Asked], args: Tuple[Any, ...], operands: List[torch.Tensor]
) -> None:
    rules, name = current_rules(), operator.name
    for operand in operands:
        if not isinstance(operand, EmulatedTensor):
            refuse(_two_devices(name, args, operands))
            break
    for one in asked:
        if one.limit and one.limit.effect != "cpu" and one.kernel.status not in FALLS_BACK:
            raise getattr(builtins, one.limit.effect)(one.limit.told(one.name))
    if operator.overload == "dim":
        refuse(rules.dimensions(name, operands[0].ndim))
    if State.strict and (name in READS or (name == "aten::index" and _has_mask(args))):
        raise ReadBack("%s reads from the device and waits for it" % name)


def _two_devices(name: str, args: Tuple[Any, ...], operands: List[torch.Tensor]) -> Optional[Refusal]:
    """The refusal of operands of which some are on the CPU: there a tensor without dimensions may be.

    What derivatives (of max, sort, cumprod) make from another tensor's options is on the CPU: they are let through.
    """
    if name in ANYWHERE or torch._C._current_graph_task_id() >= 0:
        return None
    if name in INDEXING:
        by_mps = not isinstance(args[0], EmulatedTensor) and any(isinstance(x, EmulatedTensor) for x in args[1])
        return INDEX_ON_MPS if by_mps else TWO_DEVICES if len(args) > 2 and _is_elsewhere(args[2], args[0]) else None
    return TWO_DEVICES if any(x.ndim for x in operands if not isinstance(x, EmulatedTensor)) else None


def _is_elsewhere(value: torch.Tensor, tensor: torch.Tensor) -> bool:
    """Whether a value that is put into a tensor is on the other device, and not one number of the CPU's [S]."""
    if isinstance(value, EmulatedTensor):
        return not isinstance(tensor, EmulatedTensor)
    return isinstance(tensor, EmulatedTensor) and value.numel() > 1


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


def to_mps_device(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the emulated device, from which gradients come back."""
    if isinstance(tensor, EmulatedTensor):
        return tensor
    if tensor.requires_grad and torch.is_grad_enabled():
        return _moved(tensor, to_mps_device, to_cpu)
    return EmulatedTensor(tensor.detach().clone())


def to_cpu(tensor: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU, from which gradients come back."""
    if not isinstance(tensor, EmulatedTensor):
        return tensor
    if State.strict:
        raise ReadBack("a copy to the CPU reads from the device and waits for it")
    if tensor.requires_grad and torch.is_grad_enabled():
        return _moved(tensor, to_cpu, to_mps_device)
    return _alias(tensor).clone()


def _alias(tensor: torch.Tensor) -> torch.Tensor:
    """The CPU's tensor of the same memory."""
    with below_dispatch(), torch._C.DisableTorchFunction():
        return tensor.detach().as_subclass(torch.Tensor)


class _Move(torch.autograd.Function):
    """A copy, and the way back for its gradient."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, there: Any, back: Any) -> Any:
        ctx.back = back
        return there(tensor)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> Any:
        return ctx.back(grad), None, None


_moved: Any = _Move.apply


class below_dispatch:  # noqa: N801 - read as a function; a generator would take as long as the rules do
    """Within: emulated tensors are the CPU's, and no rule is applied."""

    def __enter__(self) -> None:
        self.guard: Any = torch._C._DisableTorchDispatch()

    def __exit__(self, *_: Any) -> None:
        self.guard = None


def refuse(refusal: Optional[Refusal]) -> None:
    """Raises the refusal, if it is one."""
    if refusal is not None:
        raise refusal.error(refusal.message)


@functools.lru_cache(maxsize=None)
def _refused_dtype(rules: Rules, dtype: torch.dtype) -> Optional[Refusal]:
    return rules.dtype(name_of(dtype))


def use_rules(rules: Rules) -> None:
    """From now on emulated tensors follow these rules. Device "mps" is theirs where a DeviceMode is active."""
    State.rules = rules
    # Module.to() would otherwise keep each Parameter and change its data, and the Parameter would still say `cpu`
    torch.__future__.set_overwrite_module_params_on_conversion(True)


def current_rules() -> Rules:
    """The rules that emulated tensors follow."""
    if State.rules is None:
        raise RuntimeError("an emulated tensor was used outside emulated()")
    return State.rules

"""What MPS is asked for when a program calls an operator: the operator itself, or those that it is made of.

The emulated device sees what arrives below the CPU's dispatch. Where MPS would be asked for something else, this finds
out what: by running the composite kernel of torch beside the real call, or from `kernels.ON_MPS`.
"""

from __future__ import annotations

import functools
import threading
from operator import attrgetter
from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Optional, Tuple

import torch

from .kernels import Kernel, asked_on_mps, find_kernel
from .limits import Limit
from .rules import Rules

# Composite ones that ask for nothing else: they call themselves, or what copies from device to device
LEAVES = ("aten::alias", "aten::copy_", "aten::detach")

COMPOSITE = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "CompositeImplicitAutograd")

NOT_THERE = ("missing", "fallback", "unknown")


class Asked(NamedTuple):
    """An operator that MPS is asked for."""

    name: str
    overload: str
    kernel: Kernel
    limit: Optional[Limit] = None
    """What keeps the kernel from computing these operands."""


class Operator(NamedTuple):
    """An operator that arrives, such as ("aten::isin", "Tensor_Tensor"), and what MPS is asked for in its place."""

    name: str
    overload: str
    asked: Tuple[Asked, ...]
    is_composite: bool
    func: Any
    """The overload itself, which must live as long as its number is used."""
    led_to: Dict[Any, Tuple[Asked, ...]]
    """Of a composite operator: what it was found to ask for, by the dtypes and dimensions of its operands."""
    limits: Tuple[Limit, ...]
    own_limit: Optional[Callable[[Tuple[Any, ...]], Optional[Limit]]]
    """What keeps it from these arguments, where that is no matter of the first one's dtype alone."""


class _Collecting(threading.local):
    """The operators that a composite kernel has called so far, while one runs beside the real call."""

    found: Optional[List[Asked]] = None


_collecting = _Collecting()
_operators: Dict[Rules, Dict[int, Operator]] = {}
_signature = attrgetter("dtype", "ndim")


def find_operator(func: Any, rules: Rules) -> Operator:
    """The operator of an overload such as `torch.ops.aten.isin.Tensor_Tensor`, under these rules."""
    operators = _operators.setdefault(rules, {})
    operator = operators.get(id(func))  # an overload's own hash takes as long as all else here
    if operator is None:
        operator = operators[id(func)] = _operator(func, rules)
    return operator


def asked_by_composite(
    func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any], operands: List[torch.Tensor], operator: Operator
) -> Tuple[Asked, ...]:
    """A composite operator, and what it leads to on MPS, without what has a kernel there.

    That is found out once for each combination of dtypes and dimensions: where it depends on values, sizes or options,
    what the first call did not need is not seen.
    """
    key = tuple(map(_signature, operands))
    known = operator.led_to.get(key)
    if known is None:
        found, is_whole = _run_beside(func, args, kwargs)
        lacking = (one for one in found if one.limit or one.kernel.status in NOT_THERE)
        known = (*operator.asked, *dict.fromkeys(lacking))
        if is_whole:
            operator.led_to[key] = known
    return known


def with_limit(
    asked: Tuple[Asked, ...], operator: Operator, args: Tuple[Any, ...], operands: List[torch.Tensor]
) -> Tuple[Asked, ...]:
    """The same, with what keeps the operator's kernel from computing these operands."""
    limit = operator.own_limit(args) if operator.own_limit else _first_met(operator.limits, operands)
    return (asked[0]._replace(limit=limit), *asked[1:]) if limit else asked


def _first_met(limits: Iterable[Limit], operands: List[torch.Tensor]) -> Optional[Limit]:
    dtype = operands[0].dtype if operands else None
    return next((one for one in limits if one.dtypes == "any" or dtype in _DTYPES[one.dtypes]), None)


def _of_isin(rules: Rules, args: Tuple[Any, ...]) -> Optional[Limit]:
    dtypes = [name_of(x.dtype) if isinstance(x, torch.Tensor) else "" for x in args[:2]]
    return rules.isin(dtypes[0] or dtypes[1], dtypes[1] or dtypes[0])


def _of_convolution(rules: Rules, args: Tuple[Any, ...]) -> Optional[Limit]:
    return rules.convolution(args[0].ndim, is_transposed=args[6], dtype=name_of(args[0].dtype))


OWN_LIMITS = {"aten::isin": _of_isin, "aten::convolution": _of_convolution}


def name_of(dtype: torch.dtype) -> str:
    """Such as `int64`."""
    return str(dtype).replace("torch.", "")


_DTYPES = {
    "bool": (torch.bool,),
    "uint8": (torch.uint8,),
    "int64": (torch.int64,),
    "integral": (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    "complex": (torch.complex32, torch.complex64),
}


def collect(found: Iterable[Asked]) -> bool:
    """Whether a composite kernel is being run to see what it asks for. Then it has asked for these."""
    if _collecting.found is None:
        return False
    _collecting.found.extend(found)
    return True


def _operator(func: Any, rules: Rules) -> Operator:
    name, overload = func._schema.name, func._schema.overload_name
    names = asked_on_mps(name, overload)
    asked = tuple(Asked(one, inner, find_kernel(one, inner, rules.torch)) for one, inner in names)
    is_composite, limits = asked[0].kernel.status in ("explicit", "composite"), rules.limits(*names[0])
    own_limit = functools.partial(OWN_LIMITS[name], rules) if name in OWN_LIMITS else None
    return Operator(name, overload, asked, is_composite, func, {}, limits, own_limit)


def _run_beside(func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Tuple[List[Asked], bool]:
    """What the composite kernel asks for, and whether it came to its end. Operands and generators stay as they are."""
    kernel = _composite_kernel(func)
    if kernel is None:
        return [], True
    generators = [x for x in (torch.default_generator, *args, *kwargs.values()) if isinstance(x, torch.Generator)]
    states = [x.get_state() for x in generators]
    before, found = _collecting.found, []  # type: ignore[var-annotated]
    _collecting.found = found
    try:
        args, kwargs = _spared(func, args, kwargs)  # type: ignore[assignment]
        kernel(*args, **kwargs)
        return found, True
    except Exception:  # the real call tells
        return found, False
    finally:
        _collecting.found = before
        for generator, state in zip(generators, states):
            generator.set_state(state)


def _composite_kernel(func: Any) -> Optional[Callable[..., Any]]:
    """The composite kernel of the installed torch, if it has one for this operator."""
    if func._schema.name in LEAVES:
        return None
    for key in COMPOSITE:
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key):
            dispatch_key = getattr(torch._C.DispatchKey, key)
            return lambda *args, **kwargs: func._op_dk(dispatch_key, *args, **kwargs)
    return None


def _spared(func: Any, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Tuple[List[Any], Dict[str, Any]]:
    """The arguments, with copies of those that the operator writes to."""
    names = [x.name for x in func._schema.arguments]
    written = {x.name for x in func._schema.arguments if x.alias_info is not None and x.alias_info.is_write}
    if not written:
        return list(args), kwargs
    spared = [_copy(x) if name in written else x for name, x in zip(names, args)]
    return spared, {name: _copy(x) if name in written else x for name, x in kwargs.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_copy(x) for x in value]
    if not isinstance(value, torch.Tensor):
        return value
    guard = torch._C._DisableTorchDispatch()
    copied = value.detach().clone()
    del guard
    return copied if type(value) is torch.Tensor else type(value)(copied)


def tensors(values: Iterable[Any]) -> List[torch.Tensor]:
    """The tensors among an operator's arguments, also those in lists. (torch's pytree takes longer than all else.)"""
    found: List[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(x for x in value if isinstance(x, torch.Tensor))
    return found

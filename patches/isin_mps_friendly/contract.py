"""What the fixed function must do, as cases that the self-test runs on a device. Imports torch only; Python 3.8.

Each case is a pair of operands on the CPU, and what to do with each once it is on the device (a view of it, say). The
result on the device is to equal `reference` of the same operands on the CPU in value, shape and dtype.

Given up, since nobody calls it so: a Python number as `elements`; and of float64, which no MPS has, `elements` of it on
the CPU, and `test_elements` of it on the CPU for int64 beyond 2**53, where `torch.isin` takes neighbours for equal.
"""

from __future__ import annotations

from typing import Callable, Iterator, List, NamedTuple, Union

import torch

Operand = Union[torch.Tensor, int, float]
View = Callable[[torch.Tensor], torch.Tensor]


def _as_it_is(operand: torch.Tensor) -> torch.Tensor:
    return operand


class Case(NamedTuple):
    """Operands of the function, and the views of them that it gets."""

    name: str
    elements: torch.Tensor
    test_elements: Operand
    view: View = _as_it_is
    """Taken of `elements` once it is on the device."""
    test_view: View = _as_it_is
    test_on_cpu: bool = False
    """`test_elements` stays on the CPU."""


def cases() -> List[Case]:
    """Every case, those of transformers' own calls first."""
    found: List[Case] = []
    for group in (_call_sites, _shapes, _dtypes, _views, _values, _numbers, _two_devices, _large):
        found.extend(group())
    return found


def reference(elements: torch.Tensor, test_elements: Operand) -> torch.Tensor:
    """`torch.isin` on the CPU; for a dtype that this torch's CPU refuses, by way of one that holds its values."""
    if isinstance(test_elements, torch.Tensor):
        test_elements = (
            test_elements.contiguous()
        )  # a few that are not it cannot flatten: "view size is not compatible"
    try:
        return torch.isin(elements, test_elements)
    except RuntimeError:  # "Unsupported input type" or "not implemented for": bool always, 16-bit floats before 2.2
        common = torch.result_type(elements, test_elements)
        wide = torch.float32 if common.is_floating_point else torch.int64
        first, second = (torch.as_tensor(x).to(common).to(wide) for x in (elements, test_elements))
        return torch.isin(first, second)


def _call_sites() -> Iterator[Case]:
    """The operands of the ten calls in transformers 4.45.1."""
    ids = torch.tensor([[5, 7, 2], [1, 2, 9], [3, 3, 11]])
    vocabulary = torch.arange(51865)
    suppressed = torch.arange(1, 51865, 577)  # Whisper's list has 90 tokens
    eos, several_eos, pad = torch.tensor([2]), torch.tensor([2, 11]), torch.tensor(2)
    for end in (eos, several_eos):
        ends = "%d end token(s)" % end.numel()
        yield Case("stopping_criteria, last tokens, " + ends, ids, end, lambda x: x[:, -1])
        yield Case("stopping_criteria, batch of 1, " + ends, ids[:1], end, lambda x: x[:, -1])
        yield Case("candidate_generator, chosen ids, " + ends, torch.tensor([4, 2, 11]), end)
        yield Case("logits_process, min_length, " + ends, vocabulary, end)
        yield Case("logits_process, min_new_tokens, " + ends, vocabulary[:50257], end)
        yield Case("utils, end tokens and pad token, " + ends, end, pad)
    yield Case("utils, special tokens, pad is no end", several_eos, torch.tensor(0))
    yield Case("logits_process, begin_suppress_tokens", vocabulary, torch.tensor([220, 50257]))
    yield Case("logits_process, suppress_tokens", vocabulary, suppressed)
    yield Case("utils, inputs and pad token", ids, pad)
    yield Case("clvp, input ids and an int", ids[0], 7)


def _shapes() -> Iterator[Case]:
    shapes = [(), (1,), (5,), (2, 3), (1, 1), (2, 1, 3), (0,), (2, 0), (1, 2, 1, 2, 1, 2)]
    for shape in shapes:
        for test_shape in shapes + [(12,), (40,)]:
            yield Case("shapes %r in %r" % (shape, test_shape), _count(shape), _count(test_shape) * 2)


def _count(shape: "tuple[int, ...]") -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel()).view(shape)


def _dtypes() -> Iterator[Case]:
    dtypes = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float16]
    dtypes += [torch.bfloat16, torch.bool]
    for dtype in dtypes:
        for test_dtype in dtypes:
            elements = torch.tensor([0, 1, 44, 120]).to(dtype)
            for test_elements in (torch.tensor([1, 44, 300]), torch.tensor([300]), torch.tensor(300)):
                name = "dtypes %s in %s, %d-d" % (dtype, test_dtype, test_elements.ndim)
                yield Case(name, elements, test_elements.to(test_dtype))


def _views() -> Iterator[Case]:
    grid, line = torch.arange(12).view(3, 4), torch.tensor([1, 6, 7])
    views = {
        "transposed": lambda x: x.t(),
        "every other column": lambda x: x[:, ::2],
        "a slice at an offset": lambda x: x[1:],
        "a column": lambda x: x[:, 1],
        "a single value": lambda x: x[1, 2],
        "expanded": lambda x: x[:, :1].expand(3, 5),
        "expanded from one": lambda x: x[1, 2].expand(2, 2),
        "unsqueezed": lambda x: x[1:].unsqueeze(1),
    }
    for name, view in views.items():
        yield Case("elements: " + name, grid, line, view)
        yield Case("elements: " + name + ", one test element", grid, line, view, lambda x: x[1:2])
        yield Case("test elements: " + name, line, grid, test_view=view)


def _values() -> Iterator[Case]:
    nan, inf = float("nan"), float("inf")
    far = torch.tensor([2**53, 2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**63), 2**32 + 7, 7])
    yield Case("NaN is in nothing", torch.tensor([nan, 1.0, inf]), torch.tensor([nan, inf, -inf]))
    yield Case("NaN, sorted", torch.tensor([nan, 1.0]), torch.tensor([nan] * 20))
    yield Case("zeros of either sign", torch.tensor([0.0, -0.0]), torch.tensor([-0.0]))
    yield Case("int64 beyond 2**53", far, torch.tensor([2**53 + 1, 2**63 - 2]))
    yield Case("int64 beyond 2**53, one", far, torch.tensor(2**62 + 1))
    yield Case("int64 in float32", far, torch.tensor([2.0**53, 7.0]))
    narrow = torch.tensor([44, 255], dtype=torch.uint8)
    yield Case("out of a narrow dtype's range, 1-d", narrow, torch.tensor([300, -1]))
    yield Case("out of a narrow dtype's range, 0-d", narrow, torch.tensor(300))
    yield Case("a scalar among a few", torch.tensor(2**32 + 1), torch.ones(9, dtype=torch.int32))
    yield Case("a scalar among many", torch.tensor(2**32 + 1), torch.ones(10, dtype=torch.int32))


def _numbers() -> Iterator[Case]:
    integers, floats = torch.tensor([0, 1, 44, 2**24]), torch.tensor([0.5, 1.0, 0.1])
    for number in (1, 0, -1, 300, 2**40, True, 0.5, 1.0, 0.1, float("nan"), 2.0**24 + 1):
        yield Case("int64 in the number %r" % number, integers, number)
        yield Case("float32 in the number %r" % number, floats, number)
        yield Case("float16 in the number %r" % number, floats.to(torch.float16), number)
        yield Case("uint8 in the number %r" % number, integers.to(torch.uint8), number)
        yield Case("a single int8 in the number %r" % number, torch.tensor(44, dtype=torch.int8), number)


def _two_devices() -> Iterator[Case]:
    """`test_elements` on the CPU, of which float64 is the one that no MPS can hold."""
    elements = torch.tensor([2, 7, 2**24 + 1, 2**53, 300])
    tests = [torch.tensor(7), torch.tensor([7]), torch.tensor([[7, 2]]), torch.arange(12, dtype=torch.int32)]
    tests += [torch.tensor([7.0, 2.5]), torch.tensor([7.0, 2.0**24, 2.0**53, float("nan")], dtype=torch.float64)]
    tests += [torch.tensor(0.1, dtype=torch.float64), torch.tensor([], dtype=torch.float64)]
    for number, test_elements in enumerate(tests):
        for dtype in (torch.int64, torch.float32, torch.float16, torch.uint8):
            name = "%s against the CPU, %d" % (dtype, number)
            yield Case(name, elements.to(dtype), test_elements)._replace(test_on_cpu=True)
    yield Case("a view on the CPU", elements, torch.arange(9), test_view=lambda x: x[7])._replace(test_on_cpu=True)


def _large() -> Iterator[Case]:
    """Operands beyond one piece of work, contiguous or not."""
    many = 9 * 2**18 + 5
    yield Case("2 million elements", torch.arange(many), torch.tensor([0, 2**20, many - 1]))
    yield Case("2 million elements, one value", torch.arange(many), torch.tensor(2**20 + 1))
    yield Case("long rows, transposed", torch.arange(2**21 + 2).view(2, -1), torch.tensor([0, 2**21]), lambda x: x.t())
    yield Case("few elements in many", torch.tensor([0, 5, -1]), torch.arange(3 * 2**18 + 9))
    yield Case("many elements in many", torch.arange(2**15), torch.arange(800) * 7)

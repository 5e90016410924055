"""The fixed function against `torch.isin` on the CPU: random operands, every view, what it runs and what it takes."""

from __future__ import annotations

import ast
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from patcher.selftest import emulated
from patcher.selftest.rules import Rules
from patches.isin_mps_friendly import replacement
from patches.isin_mps_friendly.contract import Case, cases, reference
from patches.isin_mps_friendly.replacement import isin_mps_friendly

View = Callable[[torch.Tensor], torch.Tensor]
REPLACEMENT = Path(replacement.__file__)
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64]
FLOATS = [torch.float16, torch.bfloat16, torch.float32]
SHAPES = [(), (1,), (2,), (5,), (2, 3), (0,), (2, 0), (1, 1), (2, 3, 2), (12,), (40,), (1, 2, 1, 2, 2, 2)]
WHOLE = [0, 1, 2, 3, 7, 44, 127, 255, 300, -1, 2**24 + 1, 2**31, 2**32 + 1, 2**53, 2**53 + 1, 2**62 + 300]
WHOLE += [2**63 - 1, 2**63 - 512, 2**63 - 513, -(2**63)]
REAL = [0.0, -0.0, 0.1, 0.5, 1.0, 2.0, 44.0, 300.0, 2.0**24, 2.0**53, 2.0**62, 2.0**63, float("nan"), float("inf")]
VIEWS: list[View] = [
    lambda x: x,
    lambda x: x.transpose(0, -1) if x.ndim > 1 else x,
    lambda x: x[1:] if x.ndim else x,
    lambda x: x[::2] if x.ndim else x,
    lambda x: x[:1].expand(x.shape) if x.ndim and x.shape[0] else x,
    lambda x: x.reshape(-1)[-1] if x.numel() else x,
]


@st.composite
def tensors(draw: st.DrawFn, dtypes: list[torch.dtype]) -> torch.Tensor:
    dtype, shape = draw(st.sampled_from(dtypes)), torch.Size(draw(st.sampled_from(SHAPES)))
    pool, wide = (REAL, torch.float64) if dtype.is_floating_point else (WHOLE, torch.int64)
    values = draw(st.lists(st.sampled_from(pool), min_size=shape.numel(), max_size=shape.numel()))
    return torch.tensor(values, dtype=wide).to(dtype).view(shape)


operands = tensors([*INTEGERS, *FLOATS, torch.bool])
on_cpu = tensors([*INTEGERS, *FLOATS, torch.float64])
numbers = st.sampled_from([0, 1, -1, 300, 2**40, True, 0.5, 0.1, 2.0**53, float("nan")])
views = st.sampled_from(VIEWS)


def by_definition(elements: torch.Tensor, tests: torch.Tensor) -> torch.Tensor:
    """Membership in the promoted dtype, value by value, as the documentation of torch.isin has it."""
    dtype = torch.promote_types(elements.dtype, tests.dtype)
    return elements.to(dtype).unsqueeze(-1).eq(tests.to(dtype).reshape(-1)).any(-1)


def assert_is_isin(got: torch.Tensor, elements: torch.Tensor, tests: torch.Tensor | int) -> None:
    expected = reference(elements, tests)
    assert got.device.type == "mps"
    assert (got.shape, got.dtype) == (expected.shape, torch.bool)
    if isinstance(tests, torch.Tensor) and tests.numel() >= 10:
        # Where it sorts, torch.isin takes two elements that promotion made equal for a hit, in no test element
        false_hits = expected & ~by_definition(elements, tests)
        expected = expected & ~false_hits
    assert torch.equal(got.cpu(), expected)


@pytest.mark.parametrize("rules", [Rules((2, 1), (13, 0)), Rules((2, 13), (14, 0))])
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_equals_isin_on_the_cpu(rules: Rules, data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["both", "tests on CPU", "number", "elements on CPU"]))
    view, test_view = data.draw(views), data.draw(views)
    elements = data.draw(operands)
    tests = data.draw(numbers if kind == "number" else on_cpu if kind == "tests on CPU" else operands)
    dtypes = (elements.dtype, getattr(tests, "dtype", None))
    assume(rules.torch > (2, 2) or torch.bfloat16 not in dtypes)
    if dtypes == (torch.int64, torch.float64):  # beyond, it is given up
        elements = elements.clamp(-(2**53), 2**53)

    def place(operand: object, where: str, taken: View) -> object:
        return taken(operand.to(where)) if isinstance(operand, torch.Tensor) else operand

    expected_of = place(elements, "cpu", view), place(tests, "cpu", test_view)
    with emulated.emulated(rules):
        first = place(elements, "cpu" if kind == "elements on CPU" else "mps", view)
        second = place(tests, "cpu" if kind == "tests on CPU" else "mps", test_view)
        with emulated.strict(), warnings.catch_warnings():
            warnings.simplefilter("error")
            got = isin_mps_friendly(first, second)  # type: ignore[arg-type]
        assert_is_isin(got, *expected_of)  # type: ignore[arg-type]


def test_is_isin_itself_without_mps() -> None:
    elements, tests = torch.arange(5), torch.tensor([1, 3])
    assert torch.equal(isin_mps_friendly(elements, tests), torch.isin(elements, tests))
    assert isin_mps_friendly(torch.arange(3, device="meta"), torch.arange(2, device="meta")).device.type == "meta"
    with pytest.raises(RuntimeError, match="Bool"):
        isin_mps_friendly(torch.tensor([True]), torch.tensor([True]))


class Launches(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The operators that would be kernels on the device, and their operands: views launch nothing."""

    VIEWS = ("view", "_unsafe_view", "detach", "alias", "slice", "select", "expand", "split", "squeeze", "t")

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: list[str] = []
        self.operands: list[tuple[str, tuple[object, ...]]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        name = func._schema.name.removeprefix("aten::")
        if name not in self.VIEWS:
            self.names.append(name)
            self.operands.append((name, args))
        return func(*args, **(kwargs or {}))


def run(case: Case) -> Launches:
    """What the function does with the operands of a case."""
    elements, tests = case.view(case.elements.to("mps")), case.test_elements
    if isinstance(tests, torch.Tensor):
        tests = case.test_view(tests.to("cpu" if case.test_on_cpu else "mps"))
    seen = Launches()
    with seen:
        isin_mps_friendly(elements, tests)  # type: ignore[arg-type]
    return seen


@pytest.mark.parametrize(
    ("elements", "tests", "launched"),
    [
        (torch.arange(51865), torch.tensor([2]), ["eq"]),
        (torch.arange(51865), torch.tensor(2), ["eq"]),
        (torch.arange(6).view(2, 3), torch.tensor(2), ["eq"]),
        (torch.arange(6).view(2, 3), 2, ["eq"]),
        (torch.arange(51865), torch.tensor([2, 5, 7]), ["eq", "any"]),
        (torch.arange(51865), torch.arange(90), ["eq", "any"]),
    ],
)
def test_costs_a_launch_or_two(elements: torch.Tensor, tests: torch.Tensor | int, launched: list[str]) -> None:
    with emulated.emulated(Rules((2, 1), (13, 0))):
        assert run(Case("", elements, tests)).names == launched


def test_last_tokens_are_not_copied() -> None:
    with emulated.emulated(Rules((2, 1), (13, 0))):
        assert run(Case("", torch.arange(15).view(3, 5), torch.tensor([4]), lambda x: x[:, -1])).names == ["eq"]


SOUND = {"eq", "any", "full", "fill_", "clone", "_to_copy", "copy_", "bitwise_or"}
ON_THE_CPU = {"empty", "mul", "index", "unsqueeze", "_local_scalar_dense", "lift_fresh"}
"""What it does with operands there, and with empty ones that stand for the dtypes."""


def test_uses_only_operations_that_are_sound_on_mps() -> None:
    with emulated.emulated(Rules((2, 13), (14, 0))):
        for case in cases():
            for name, args in run(case).operands:
                on_mps = any(getattr(x, "device", torch.device("cpu")).type == "mps" for x in args)
                assert name in SOUND or (name in ON_THE_CPU and not on_mps), (name, case.name)


def test_compares_in_one_dtype() -> None:
    """MPS would promote without regard to dimensions, and compare a uint8 with anything as a uint8."""
    with emulated.emulated(Rules((2, 13), (14, 0))):
        for case in cases():
            for name, args in run(case).operands:
                tensors = [x for x in args if isinstance(x, torch.Tensor)]
                if name == "eq" and any(x.device.type == "mps" for x in tensors):
                    dtypes = {x.dtype for x in tensors}
                    assert len(dtypes) == 1, case.name
                    assert len(tensors) == 2 or dtypes == {torch.int64}, case.name


def test_is_short_and_whole() -> None:
    """It is put into other people's library, and met in their tracebacks."""
    (function,) = (node for node in ast.parse(REPLACEMENT.read_text()).body if isinstance(node, ast.FunctionDef))
    lines = REPLACEMENT.read_text().splitlines()[function.lineno - 1 : function.end_lineno]
    documented = function.body[0].end_lineno or 0
    code = [lines[0], *lines[documented - function.lineno + 1 :]]
    assert len(lines) <= 45
    assert len([line for line in code if line.strip() and not line.strip().startswith("#")]) <= 25
    assert [type(node).__name__ for node in ast.walk(function)].count("FunctionDef") == 1
    assert "lambda" not in ast.unparse(function)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(
    ("elements", "tests"),
    [
        (torch.arange(10), torch.tensor([3])),
        (torch.arange(10)[3:], torch.tensor([3, 5])),
        (torch.arange(12).view(3, 4).t(), torch.tensor(3)),
        (torch.arange(10), 5),
        (torch.arange(3.0), 2),
        (torch.tensor(3), torch.arange(12)),
        (torch.arange(3.0), torch.tensor([1, 2])),
        (torch.arange(12).view(2, 6), torch.arange(0)),
        (torch.arange(3 * 2**20), torch.tensor([1, 2])),
        (torch.arange(3 * 2**20).view(2, -1).t(), torch.tensor([1, 2])),
        (torch.tensor([1, -1]), torch.arange(2**20).view(2, -1)),
    ],
)
def test_is_traced_whole(tmp_path: Path, elements: torch.Tensor, tests: torch.Tensor | int, dynamic: bool) -> None:
    """The branch for MPS, with the CPU in the role of MPS: no compiler here knows an emulated device."""
    traced = compile(REPLACEMENT.read_text().replace('"mps"', '"cpu"'), str(tmp_path / "traced.py"), "exec")
    names: dict[str, object] = {}
    exec(traced, names)  # noqa: S102 - our own code
    torch._dynamo.reset()
    whole = torch.compile(names["isin_mps_friendly"], backend="eager", fullgraph=True, dynamic=dynamic)  # type: ignore[call-overload]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the compiler's own
        assert torch.equal(whole(elements, tests), torch.isin(elements, tests))


def test_asks_for_no_gradient() -> None:
    with emulated.emulated(Rules((2, 1), (13, 0))):
        elements = torch.arange(4.0).to("mps").requires_grad_()
        assert not isin_mps_friendly(elements, torch.tensor([2.0, 3.0]).to("mps")).requires_grad


def test_keeps_to_the_cpu_under_a_default_device() -> None:
    """What it makes on the CPU stays there: to MPS it would have to be copied."""
    with emulated.emulated(Rules((2, 1), (13, 0))), torch.device("mps"):
        elements = torch.tensor([0.5, 1.0])
        assert isin_mps_friendly(elements, 0.5).cpu().tolist() == [True, False]  # type: ignore[arg-type]


MEMORY = """
import resource, sys
import torch
from patcher.selftest import emulated
from patcher.selftest.rules import Rules
from patches.isin_mps_friendly.replacement import isin_mps_friendly

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

with emulated.emulated(Rules((2, 1), (13, 0))):
    elements, tests = {elements}, {tests}
    isin_mps_friendly(torch.arange(9).to("mps"), torch.arange(5).to("mps"))
    before = peak()
    result = isin_mps_friendly(elements, tests)
    print(peak() - before - result.numel())
"""


@pytest.mark.parametrize(
    ("elements", "tests"),
    [
        ("torch.tensor([7]).to('mps').expand(20_000_000)", "torch.arange(9).to('mps')"),
        ("torch.tensor([7]).to('mps').expand(2_000, 10_000).t()", "torch.arange(3, dtype=torch.int32).to('mps')"),
        ("torch.tensor([7, 8]).to('mps')", "torch.tensor([1.5]).to('mps').expand(20_000_000)"),
        ("torch.arange(100_000).to('mps')", "torch.arange(2_000).to('mps')"),
        ("torch.arange(64).to('mps')", "torch.full((20_000,), 2.0**60, dtype=torch.float64)"),
        ("torch.arange(3).to('mps')", "torch.full((1,), 2.0, dtype=torch.float64).expand(9_000_000)"),
        ("torch.arange(3).to('mps')", "torch.full((1,), 2).expand(9_000_000)"),
        ("torch.tensor(7).to('mps')", "torch.tensor([8], dtype=torch.int32).to('mps').expand(2_000, 10_000).t()"),
        ("torch.tensor([7], dtype=torch.int32).to('mps').expand(20_000_000)", "torch.tensor(2**20).to('mps')"),
        ("torch.tensor([7.5]).to('mps').expand(20_000_000)", "7"),
        ("torch.tensor([7]).expand(2, 10_000_000)", "torch.arange(2).to('mps')"),
    ],
)
def test_takes_less_than_64_mib(elements: str, tests: str) -> None:
    script = MEMORY.format(elements=elements, tests=tests)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 2**20

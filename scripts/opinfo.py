"""Print which aten operators PyTorch's own test samples reach on a CPU, one OpInfo a line.

    PYTHON scripts/opinfo.py > scripts/evidence/opinfo-2.13.tsv

PYTHON is one that has torch, numpy, expecttest and scipy. An OpInfo (`torch.testing._internal.opinfo`) is the unit in
which PyTorch's MPS tests list what does not work; the table of kernels knows operators only. Samples are those that the
tests compare: of dtype float32, or of the first other one that the operator takes. A line has the OpInfo's key as
`common_mps.py` writes it (name and variant), the dtype, whether float64 or complex128 came up, and the operators. Of an
operator that has a composite kernel, `parent>child` names those that it is made of: MPS is asked for them where it has
no kernel for the parent.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

DOUBLE = (torch.float64, torch.complex128)
ORDER = (torch.float32, torch.int64, torch.bool, torch.complex64)
COMPOSITE = ("CompositeExplicitAutograd", "CompositeExplicitAutogradNonFunctional", "CompositeImplicitAutograd")
CALL_THEMSELVES = ("aten::detach", "aten::alias")


class Reached(NamedTuple):
    """What the samples of an OpInfo led to."""

    operators: set[str]
    double: bool
    failed: int
    """Samples that raised on the CPU too."""


class Record(TorchDispatchMode):  # type: ignore[misc]
    """Notes each operator that arrives, and whether it met float64."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: set[str] = set()
        self.double = False
        self.parents: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        name = func.name().replace("aten::", "")
        self.operators.add(">".join([*self.parents[-1:], name]))
        result = self._call(func, name, args, kwargs or {})
        tensors = tree_flatten((args, kwargs, result))[0]
        self.double |= any(isinstance(one, torch.Tensor) and one.dtype in DOUBLE for one in tensors)
        return result

    def _call(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        keys = [key for key in COMPOSITE if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), key)]
        if not keys or func.name().split(".")[0] in CALL_THEMSELVES:
            return func(*args, **kwargs)
        self.parents.append(name)
        try:
            with self:
                return func._op_dk(getattr(torch._C.DispatchKey, keys[0]), *args, **kwargs)
        finally:
            self.parents.pop()


def run_samples(op: Any, dtype: torch.dtype) -> Reached:
    record, failed = Record(), 0
    samples = op.sample_inputs("cpu", dtype, requires_grad=dtype.is_floating_point and op.supports_autograd)
    for sample in samples:
        try:
            with record:
                op(sample.input, *sample.args, **sample.kwargs)
        except Exception:
            failed += 1
    return Reached(record.operators, record.double, failed)


def find_dtype(op: Any) -> torch.dtype | None:
    supported = op.supported_dtypes("cpu")
    return next((dtype for dtype in (*ORDER, *supported) if dtype in supported), None)


def list_reached() -> Iterator[tuple[str, str, Reached]]:
    for op in op_db:
        dtype = find_dtype(op)
        if dtype is not None:
            torch.manual_seed(0)
            yield op.name + op.variant_test_name, str(dtype).split(".")[1], run_samples(op, dtype)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    lines: list[str] = []
    for key, dtype, reached in list_reached():
        if reached.failed:
            print(f"{key}: {reached.failed} samples fail on the CPU", file=sys.stderr)
        double, operators = "float64" if reached.double else "-", " ".join(sorted(reached.operators))
        lines.append(f"{key}\t{dtype}\t{double}\t{operators}")
    print(f"# Made by scripts/opinfo.py with torch {torch.__version__.split('+')[0]}.")
    print("\n".join(sorted(set(lines))))


if __name__ == "__main__":
    main()

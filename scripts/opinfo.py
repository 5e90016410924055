"""Print which aten operators PyTorch's own test samples reach on a CPU, one OpInfo a line.

    PYTHON scripts/opinfo.py > scripts/evidence/opinfo-2.13.tsv

PYTHON is one that has torch, numpy, expecttest and scipy. An OpInfo (`torch.testing._internal.opinfo`) is the unit in
which PyTorch's MPS tests list what does not work; the table of kernels knows operators only. Samples are those that the
tests compare: of dtype float32, or of the first other one that the operator takes. A line has the OpInfo's key as
`common_mps.py` writes it (name and variant), the dtype, whether float64 or complex128 came up, and the operators.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Dict, Iterator, NamedTuple, Set, Tuple

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

DOUBLE = (torch.float64, torch.complex128)
ORDER = (torch.float32, torch.int64, torch.bool, torch.complex64)


class Reached(NamedTuple):
    operators: Set[str]
    double: bool
    failed: int
    """Samples that raised on the CPU too."""


class Record(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators: Set[str] = set()
        self.double = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        self.operators.add(func.name())
        result = func(*args, **(kwargs or {}))
        tensors = tree_flatten((args, kwargs, result))[0]
        self.double |= any(isinstance(one, torch.Tensor) and one.dtype in DOUBLE for one in tensors)
        return result


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


def find_dtype(op: Any) -> torch.dtype:
    supported = op.supported_dtypes("cpu")
    return next((dtype for dtype in ORDER if dtype in supported), min(supported, key=str))


def list_reached() -> Iterator[Tuple[str, str, Reached]]:
    for op in op_db:
        dtype = find_dtype(op)
        torch.manual_seed(0)
        yield op.name + op.variant_test_name, str(dtype).split(".")[1], run_samples(op, dtype)


def main() -> None:
    warnings.simplefilter("ignore")
    lines: Dict[str, str] = {}
    for key, dtype, reached in list_reached():
        if reached.failed:
            print("{}: {} samples fail on the CPU".format(key, reached.failed), file=sys.stderr)
        operators = " ".join(sorted(name.replace("aten::", "") for name in reached.operators))
        lines[key] = "\t".join((key, dtype, "float64" if reached.double else "-", operators))
    print("# Made by scripts/opinfo.py with torch {}.".format(torch.__version__.split("+")[0]))
    print("\n".join(lines[key] for key in sorted(lines)))


if __name__ == "__main__":
    main()

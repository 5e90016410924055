"""What is read of native_functions.yaml, with the header that says which generated functions there are."""

from __future__ import annotations

import pytest

from scripts.native_functions import NativeFunction, read_functions

FUNCTIONS = """\
- func: isin.Tensor_Tensor_out(Tensor elements, Tensor test_elements, *, Tensor(a!) out) -> Tensor(a!)
  structured: True
  dispatch:
    CPU, CUDA: isin_Tensor_Tensor_out
    MPS: isin_Tensor_Tensor_out_mps

- func: isin.Tensor_Tensor(Tensor elements, Tensor test_elements) -> Tensor
  structured_delegate: isin.Tensor_Tensor_out

- func: sort(Tensor self, int dim=-1) -> (Tensor values, Tensor indices)
  dispatch:
    CompositeExplicitAutograd: sort

- func: argsort(Tensor self) -> Tensor
  autogen: argsort.out

- func: unique_dim(Tensor self, int dim) -> (Tensor, Tensor, Tensor)
  dispatch:
    CPU: unique_dim_cpu
  autogen: unique_dim.out

- func: _foreach_add_.Scalar(Tensor(a!)[] self, Scalar scalar) -> ()
  dispatch:
    CompositeExplicitAutograd: foreach_tensor_add_scalar_kernel_slow_
  autogen: _foreach_add.Scalar_out

- func: _foreach_add.Scalar(Tensor[] self, Scalar scalar) -> Tensor[]
  dispatch:
    CompositeExplicitAutograd: foreach_tensor_add_scalar_kernel_slow

- func: zero_(Tensor(a!) self) -> Tensor(a!)
  dispatch:
    CPU: zero_
  autogen: zero, zero.out
"""
GENERATED = ("unique_dim.out", "_foreach_add.Scalar_out", "zero", "zero.out")
DECLARATIONS = "".join(f'at::Tensor f(); // {{"schema": "aten::{name}(Tensor a)"}}\n' for name in GENERATED)


@pytest.mark.parametrize(
    ("name", "dispatch", "delegate"),
    [
        ("isin.Tensor_Tensor_out", {"CPU", "CUDA", "MPS"}, ""),
        ("isin.Tensor_Tensor", {"CompositeExplicitAutogradNonFunctional"}, "isin.Tensor_Tensor_out"),
        ("sort", {"CompositeExplicitAutograd"}, ""),
        ("argsort", {"CompositeImplicitAutograd"}, ""),
        ("unique_dim.out", {"CompositeExplicitAutograd"}, "unique_dim"),
        ("_foreach_add.Scalar_out", {"CompositeExplicitAutograd"}, "_foreach_add.Scalar"),
        ("zero", {"CompositeExplicitAutograd"}, "zero_"),
        ("zero.out", {"CompositeExplicitAutograd"}, "zero_"),
    ],
)
def test_an_operator(name: str, dispatch: set[str], delegate: str) -> None:
    assert read_functions(DECLARATIONS, FUNCTIONS)[name] == NativeFunction(name, frozenset(dispatch), delegate)


def test_nothing_is_generated_for_a_composite_function() -> None:
    assert "argsort.out" not in read_functions(DECLARATIONS, FUNCTIONS)

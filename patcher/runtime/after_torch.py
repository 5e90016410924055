"""Runs when torch has been imported: `torch.isin` goes through the fixed function where an operand is on MPS."""

from __future__ import annotations

import functools
import importlib.util
import os
import sys
from typing import Any, Callable

import torch

FOLDER = os.path.dirname(os.path.abspath(__file__))
Function = Callable[..., Any]


def fixed_isin(original: Function, fixed: Function) -> Function:
    """`torch.isin`, in all its forms. Without an operand on MPS it is the original; what that refuses is refused."""

    @functools.wraps(original)
    def isin(*args: Any, **kwargs: Any) -> Any:
        for operand in (*args, *kwargs.values()):
            if isinstance(operand, torch.Tensor) and operand.device.type == "mps":
                return on_mps(*args, **kwargs)
        return original(*args, **kwargs)

    def on_mps(
        elements: Any = None, test_elements: Any = None, *, element: Any = None, test_element: Any = None,
        assume_unique: bool = False, invert: bool = False, out: Any = None,
    ) -> Any:  # fmt: skip
        del assume_unique  # it promises what makes torch's own way faster
        elements = element if elements is None else elements
        test_elements = test_element if test_elements is None else test_elements
        if isinstance(elements, torch.Tensor):
            result = fixed(elements, test_elements)
        else:  # a number is in the tensor if an element of the tensor equals it
            hits = fixed(test_elements, elements).reshape(-1)
            result = hits.any() if hits.numel() else torch.zeros((), dtype=torch.bool, device="mps")
        result = ~result if invert else result
        return result if out is None else _written(result, out)

    del isin.__dict__["__wrapped__"]  # who looks at the code is to see this function's
    isin.__module__, isin.__qualname__ = "torch", "isin"  # where pickle finds it
    return isin


def _written(result: Any, out: Any) -> Any:
    if out.dtype is not torch.bool:
        raise RuntimeError("Expected out tensor to have dtype bool, but got %s instead" % out.dtype)
    return out.resize_(result.shape).copy_(result)


def load(name: str, path: str, **settings: Any) -> Any:
    """The module of a file that was prepared, under a name that no installed package has."""
    spec = importlib.util.spec_from_file_location(name, os.path.join(FOLDER, path), **settings)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _start() -> None:
    module: Any = torch
    if hasattr(torch, "isin") and os.path.exists(os.path.join(FOLDER, "replacement.py")):
        fixed = load("mps_patcher_replacement", "replacement.py").isin_mps_friendly
        module.isin = fixed_isin(torch.isin, fixed)
        torch.jit._builtins._register_builtin(torch.isin, "aten::isin")  # TorchScript takes it for the operator still
    if os.path.exists(os.path.join(FOLDER, "emulation")):
        load("mps_patcher_selftest", "selftest/__init__.py", submodule_search_locations=[FOLDER + "/selftest"])
        with open(os.path.join(FOLDER, "emulation"), encoding="ascii") as file:
            rules_torch, rules_macos, told = file.read().split("\n")
        process = importlib.import_module("mps_patcher_selftest.process")
        process.emulate_everywhere(rules_torch, rules_macos, told or None)
        report = os.environ.get("MPS_PATCHER_REPORT")
        if report:
            importlib.import_module("mps_patcher_selftest.recorder").record(report)


_start()

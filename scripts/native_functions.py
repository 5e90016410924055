"""aten's operators, from native_functions.yaml and RegistrationDeclarations.h as a wheel of torch ships them.

The words are those of aten/src/ATen/native/README.md in PyTorch's sources.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml

YAML = "torchgen/packaged/ATen/native/native_functions.yaml"
DECLARATIONS = "torch/include/ATen/RegistrationDeclarations.h"
IN_PYTHON = "torch/backends/mps/__init__.py"
SCHEMA = re.compile(r'"schema": "aten::([^(]+)\(')


class NativeFunction(NamedTuple):
    """One operator, with its overload."""

    name: str
    """Such as "isin.Tensor_Tensor_out"."""
    dispatch: frozenset[str]
    """The keys of its dispatch, such as {"CPU", "CUDA", "MPS"}; for a function without dispatch what it then gets."""
    delegate: str
    """The operator that does its work: the out overload of a structured one, what a generated one is made of."""


def read_functions(declarations: str, functions: str) -> dict[str, NativeFunction]:
    """All operators by name, the generated ones too. The header says which are generated.

    A function named by `autogen` does not come to be where it would be made of a composite one.
    """
    entries = yaml.load(functions, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    written = {one.name: one for one in map(_written, entries)}
    declared = set(SCHEMA.findall(declarations))
    generated = {
        name: NativeFunction(name, frozenset({"CompositeExplicitAutograd"}), _made_of(name, entry, written))
        for entry in entries
        for name in _names(entry.get("autogen", ""))
        if name not in written and name in declared
    }
    return {**written, **generated}


def read_python(module: str) -> set[str]:
    """The operators that torch's own Python registers for MPS when it is imported, made of others."""
    return set(re.findall(r'\.impl\("([\w.]+)", \w+, "MPS"\)', module))


def _written(entry: dict[str, Any]) -> NativeFunction:
    keys = frozenset(key for keys in entry.get("dispatch", {}) for key in _names(keys))
    delegate = entry.get("structured_delegate", "")
    if delegate:
        keys |= {"CompositeExplicitAutogradNonFunctional"}
    return NativeFunction(_name(entry), keys or frozenset({"CompositeImplicitAutograd"}), delegate)


def _made_of(name: str, entry: dict[str, Any], written: dict[str, NativeFunction]) -> str:
    """What a generated function calls: an out overload the functional one, where that is written; else its entry."""
    functional = re.sub(r"[._]out$", "", name)
    return functional if functional in written else _name(entry)


def _name(entry: dict[str, Any]) -> str:
    return str(entry["func"]).partition("(")[0]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]

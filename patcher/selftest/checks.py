"""The checks that run inside the target's interpreter. Each returns a sentence, or raises `Failed` with one."""

from __future__ import annotations

import ast
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
import types
import warnings
from typing import Any, Callable, Dict, List, Optional

Request = Dict[str, Any]


class Failed(Exception):
    """A check did not pass; the message says what was seen."""


def bytecode(request: Request) -> str:
    """What this interpreter would run for the module is the source on disk, whatever its bytecode claims."""
    name, file = request["module"], request["file"]
    package, _, _ = name.rpartition(".")
    parent = importlib.util.find_spec(package)  # a top-level package is found, not imported
    spec = importlib.machinery.PathFinder.find_spec(name, parent.submodule_search_locations) if parent else None
    if spec is None or spec.origin is None:
        raise Failed("this interpreter finds no %s" % name)
    if not os.path.samefile(spec.origin, file):
        raise Failed("this interpreter imports %s, which comes earlier on sys.path than %s" % (spec.origin, file))
    loader: Any = spec.loader
    if loader.get_code(name) != loader.source_to_code(loader.get_data(spec.origin), spec.origin):
        cached = importlib.util.cache_from_source(spec.origin)
        raise Failed("stale bytecode would run instead of the source: %s" % cached)
    return "Python %d.%d would run the source on disk" % sys.version_info[:2]


def contract(request: Request, device: Any) -> str:
    """The installed function gives, on the device, what `torch.isin` gives on the CPU."""
    function = _installed(request)
    module = _load("mps_patcher_contract", request["contract"])
    failures: List[str] = []
    cases = [case for case in module.cases() if _representable(case, device)]
    for case in cases:
        fault = _fault(_run_case, function, module, case, device)
        if fault:
            failures.append("%s: %s" % (case.name, fault))
    if failures:
        raise Failed("%d of %d cases failed; the first, %s" % (len(failures), len(cases), failures[0]))
    return "%d cases equal torch.isin on the CPU" % len(cases)


def callers(request: Request) -> str:
    """Every module of the package that imports the function by name holds the fixed one."""
    function, fixed = request["function"], _code_in(request["replacement"], request["function"])
    names = _importers(request)
    wrong = []
    for name in names:
        held = getattr(importlib.import_module(name), function, None)
        if not isinstance(held, types.FunctionType) or not _same_code(held.__code__, fixed):
            wrong.append(name)
    if wrong:
        raise Failed("%d of %d modules do not hold the fixed function: %s" % (len(wrong), len(names), ", ".join(wrong)))
    return "%d modules hold the fixed function" % len(names)


def generate() -> str:
    """Small models generate the same tokens on the device as on the CPU."""
    from . import generation

    failures: List[str] = []
    count = 0
    for model_name, build in generation.models().items():
        on_cpu, on_device = build(), build().to("mps")
        for run in generation.runs():
            count += 1
            fault = _fault(_same_tokens, on_cpu, on_device, run)
            if fault:
                failures.append("%s, %s: %s" % (model_name, run.name, fault))
    if failures:
        raise Failed("%d of %d runs failed; the first, %s" % (len(failures), count, failures[0]))
    return "%d runs of %s gave the CPU's tokens" % (count, ", ".join(generation.models()))


def describe(error: BaseException) -> str:
    """An exception as its users meet it, with the place in the installed packages where it was raised."""
    text = "%s: %s" % (type(error).__name__, " ".join(str(error).split()))
    here = os.path.dirname(os.path.abspath(__file__))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith(here)]
    installed = [frame for frame in frames if os.sep + "transformers" + os.sep in frame.filename]
    if not installed:
        return text
    frame = installed[-1]
    place = frame.filename[frame.filename.rindex(os.sep + "transformers" + os.sep) + 1 :]
    return "%s (%s:%s in %s)" % (text, place, frame.lineno, frame.name)


def _fault(step: Callable[..., None], *operands: Any) -> Optional[str]:
    """What went wrong in a step, in words."""
    try:
        step(*operands)
    except Failed as failure:
        return str(failure)
    except Exception as error:
        return describe(error)
    return None


def _same_tokens(on_cpu: Any, on_device: Any, run: Any) -> None:
    from . import generation

    if generation.tokens(on_cpu, run, "cpu") != generation.tokens(on_device, run, "mps"):
        raise Failed("other tokens than on the CPU")


def _installed(request: Request) -> Any:
    return getattr(importlib.import_module(request["module"]), request["function"])


def _representable(case: Any, device: Any) -> bool:
    import torch

    moved = [case.elements] + ([] if case.test_on_cpu else [case.test_elements])
    return all(device.has(x.dtype) for x in moved if isinstance(x, torch.Tensor))


def _run_case(function: Any, module: Any, case: Any, device: Any) -> None:
    import torch

    def placed(operand: Any, view: Any, where: str) -> Any:
        return view(operand.to(where)) if isinstance(operand, torch.Tensor) else operand

    on_cpu = placed(case.elements, case.view, "cpu"), placed(case.test_elements, case.test_view, "cpu")
    expected = module.reference(*on_cpu)
    for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with warnings.catch_warnings(), mode():
            warnings.simplefilter("error")
            elements = placed(case.elements, case.view, "mps")
            test_elements = placed(case.test_elements, case.test_view, "cpu" if case.test_on_cpu else "mps")
            with device.watched():
                got = function(elements, test_elements)
            _compare(got, expected)


def _compare(got: Any, expected: Any) -> None:
    import torch

    if got.device.type != "mps" or got.dtype != expected.dtype or got.shape != expected.shape:
        seen, wanted = (got.dtype, tuple(got.shape), got.device.type), (expected.dtype, tuple(expected.shape), "mps")
        raise Failed("a result of %s %s on %s, not %s %s on %s" % (seen + wanted))
    if not torch.equal(got.cpu(), expected):
        raise Failed("%d of %d values differ" % (int((got.cpu() != expected).sum()), expected.numel()))


def _importers(request: Request) -> List[str]:
    """The modules whose source says `from ...pytorch_utils import ..., function`."""
    root = os.path.dirname(request["file"])
    package, _, module = request["module"].rpartition(".")
    found = []
    for folder, _, files in sorted(os.walk(root)):
        for file in sorted(files):
            path = os.path.join(folder, file)
            if file.endswith(".py") and _imports(path, module, request["function"]):
                parts = os.path.relpath(path, root)[: -len(".py")].split(os.sep)
                found.append(".".join([package] + [part for part in parts if part != "__init__"]))
    return found


def _imports(path: str, module: str, function: str) -> bool:
    with open(path, "rb") as file:
        source = file.read()
    if function.encode() not in source:
        return False
    return any(
        isinstance(node, ast.ImportFrom)
        and (node.module or "").split(".")[-1] == module
        and any(alias.name == function for alias in node.names)
        for node in ast.walk(ast.parse(source))
    )


def _code_in(path: str, function: str) -> types.CodeType:
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    return next(x for x in code.co_consts if isinstance(x, types.CodeType) and x.co_name == function)


def _same_code(one: types.CodeType, other: types.CodeType) -> bool:
    """Whether two functions do the same, wherever they stand: all but file names and line numbers is compared."""
    if (one.co_code, one.co_names, one.co_varnames, one.co_freevars) != (
        other.co_code,
        other.co_names,
        other.co_varnames,
        other.co_freevars,
    ):
        return False
    if len(one.co_consts) != len(other.co_consts):
        return False
    return all(
        _same_code(a, b) if isinstance(a, types.CodeType) and isinstance(b, types.CodeType) else a == b
        for a, b in zip(one.co_consts, other.co_consts)
    )


def _load(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

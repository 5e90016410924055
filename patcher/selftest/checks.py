"""The checks that run inside the target's interpreter. Each returns a sentence, or raises `Failed` with one."""

from __future__ import annotations
import __future__

import ast
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
import types
import warnings
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

Request = Dict[str, Any]


class Failed(Exception):
    """A check did not pass; the message says what was seen."""


def bytecode(request: Request) -> str:
    """What this interpreter would run for the files is the source on disk, whatever their bytecode claims."""
    for file in request["files"]:
        _would_run(_module(file, request["site_packages"]), file)
    return "Python %d.%d would run the source on disk" % sys.version_info[:2]


def _would_run(name: str, file: str) -> None:
    spec = _spec(name)
    if spec is None or spec.origin is None:
        raise Failed("this interpreter finds no %s" % name)
    if not os.path.samefile(spec.origin, file):
        raise Failed("this interpreter imports %s, which comes earlier on sys.path than %s" % (spec.origin, file))
    loader: Any = spec.loader
    if loader.get_code(name) != loader.source_to_code(loader.get_data(spec.origin), spec.origin):
        cached = importlib.util.cache_from_source(spec.origin)
        raise Failed("stale bytecode would run instead of the source: %s" % cached)


def _spec(name: str) -> Optional[importlib.machinery.ModuleSpec]:
    """Where the module would come from. Nothing is imported: of a top-level package not even the package."""
    package, *rest = name.split(".")
    spec = importlib.util.find_spec(package)
    for part in rest:
        package += "." + part
        inside = spec.submodule_search_locations if spec else None
        spec = importlib.machinery.PathFinder.find_spec(package, inside) if inside else None
    return spec


def _module(file: str, site_packages: str) -> str:
    """The name under which a file below site-packages is imported."""
    parts = os.path.relpath(file, site_packages)[: -len(".py")].split(os.sep)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
    """Every module of the package that imports the function by name holds the fixed one, and so does its own."""
    own = _module(request["file"], request["site_packages"]), request["function"]
    importers = _importers(request)
    wrong, missing = [], []
    for name, held in [own] + importers:
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == name.partition(".")[0]:
                raise
            missing.append("%s (no %s)" % (name, error.name))
            continue
        if not _is_fixed(getattr(module, held, None), request):
            wrong.append(name)
    if wrong:
        told = len(wrong), len(importers) + 1, ", ".join(wrong)
        raise Failed("%d of %d modules do not hold the fixed function: %s" % told)
    count = len(importers) - len(missing)
    sentence = "%d module%s the fixed function" % (count, " holds" if count == 1 else "s hold")
    if not importers:
        sentence = "%s holds the fixed function, which no other module of the package imports" % own[0]
    return sentence + ("; not importable here: " + ", ".join(missing) if missing else "")


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
    name = _module(request["file"], request["site_packages"])
    module = importlib.import_module(name)
    if not hasattr(module, request["function"]):
        raise Failed("%s has no %s" % (name, request["function"]))
    return getattr(module, request["function"])


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


def _importers(request: Request) -> List[Tuple[str, str]]:
    """The modules of the package whose source imports the function, and the name that each has for it."""
    file = request["file"]
    module = os.path.basename(file)[: -len(".py")]
    found: List[Tuple[str, str]] = []
    for folder, _, files in sorted(os.walk(os.path.dirname(file))):
        for path in (os.path.join(folder, each) for each in sorted(files) if each.endswith(".py")):
            name = _module(path, request["site_packages"])
            found.extend((name, held) for held in _imported(path, module, request["function"]))
    return found


def _imported(path: str, module: str, function: str) -> List[str]:
    """The names under which `from ...module import function` leaves it in the module at `path`."""
    with open(path, "rb") as file:
        source = file.read()
    if function.encode() not in source:
        return []
    return [
        alias.asname or alias.name
        for node in _at_module_level(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] == module
        for alias in node.names
        if alias.name == function
    ]


def _at_module_level(node: ast.AST) -> Iterator[ast.AST]:
    """Every node whose names are the module's: none inside of functions and classes."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            yield child
            yield from _at_module_level(child)


def _is_fixed(held: Any, request: Request) -> bool:
    """Whether it is the replacement, compiled with the future import of annotations that its module has, or without."""
    if not isinstance(held, types.FunctionType):
        return False
    flags = held.__code__.co_flags & __future__.annotations.compiler_flag
    return _same_code(held.__code__, _code_in(request["replacement"], request["function"], flags))


def _code_in(path: str, function: str, flags: int) -> types.CodeType:
    """The code of a function at the top level of a file, as if that began with the future imports of `flags`."""
    with open(path, "rb") as file:
        tree = ast.parse(file.read())
    # Python compiles `torch.x()` in its own way where it sees `import torch`
    kept = [node for node in tree.body if isinstance(node, ast.Import) or getattr(node, "name", "") == function]
    tree.body = kept
    code = compile(tree, path, "exec", flags, dont_inherit=True)
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

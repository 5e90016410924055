"""The checks that run inside the target's interpreter. Each returns a sentence, or raises `Failed` with one."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import sys
import traceback
import warnings
from typing import Any, Callable, Dict, List, Optional, Tuple

SelftestRequest = Dict[str, Any]
Tell = Callable[[int, int], None]
"""What is told how many of how many things are done."""

LARGE = 2**16
"""Elements from which on an operand is not tried in inference mode too, for the sake of time."""

NO_KERNEL = "is not currently implemented for the MPS device"


class Failed(Exception):
    """A check did not pass; the message says what was seen."""


def bytecode(request: SelftestRequest) -> str:
    """What this interpreter would run for the files is the source on disk, whatever their bytecode claims."""
    for file in request["files"]:
        _would_run(_module(file, request["site_packages"]), file)
    return "Python %d.%d would run the source on disk" % sys.version_info[:2]


def _would_run(name: str, file: str) -> None:
    spec = _spec(name)
    if spec is None or spec.origin is None:
        raise Failed("this interpreter does not find %s" % name)
    if not os.path.samefile(spec.origin, file):
        raise Failed("this interpreter imports %s, which is earlier on sys.path than %s" % (spec.origin, file))
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


def _untold(_done: int, _total: int) -> None:
    """Tells nobody how far it is."""


def contract(request: SelftestRequest, device: Any, tell: Tell = _untold) -> str:
    """The installed function gives, on the device, what `torch.isin` gives on the CPU."""
    function = _installed(request)
    module = _load("mps_patcher_contract", request["contract"])
    with device.active(), warnings.catch_warnings():
        warnings.simplefilter("error")
        has = functools.lru_cache(maxsize=None)(device.has)
        cases = [case for case in module.cases() if _representable(case, has)]
        faults: List[Tuple[str, Optional[str]]] = []
        for case in cases:
            tell(len(faults), len(cases))
            faults.append((case.name, _fault(_run_case, function, module, case, device)))
    _all_right(faults, "cases")
    return "%d cases match torch.isin on the CPU" % len(cases)


def generate(device: Any, tell: Tell = _untold) -> str:
    """Small models generate the same tokens on the device as on the CPU."""
    from . import generation

    faults: List[Tuple[str, Optional[str]]] = []
    lacking: Dict[str, str] = {}
    models = generation.models()
    total = len(models) * len(generation.runs())
    tell(0, total)
    for model_name, build in models.items():
        on_cpu = build()
        expected = [generation.tokens(on_cpu, run, "cpu") for run in generation.runs()]
        with device.active():
            on_device = build().to("mps")
            for run, tokens in zip(generation.runs(), expected):
                tell(len(faults), total)
                fault = _fault(_same_tokens, on_device, run, tokens)
                if fault and device.rules and NO_KERNEL in fault:
                    fault = _fault_of_fallback(fault, lacking, on_device, run, tokens)
                faults.append((model_name + ", " + run.name, fault))
    _all_right(faults, "runs")
    done = "%d runs of %s gave the CPU's tokens" % (len(faults), " and ".join(models))
    if not lacking:
        return done
    return "%s with PYTORCH_ENABLE_MPS_FALLBACK=1; MPS of torch %s lacks %s" % (
        done,
        device.torch,
        ", ".join("%s (%s)" % one for one in sorted(lacking.items())),
    )


def _fault_of_fallback(fault: str, lacking: Dict[str, str], *operands: Any) -> Optional[str]:
    """What is wrong with a run if the CPU computes what MPS lacks, which is added to `lacking`.

    The patches do without `isin`, so where that is lacking the fault stays.
    """
    from .kernels import first_torch
    from .operators import falling_back
    from .releases import show

    with falling_back() as found:
        again = _fault(_same_tokens, *operands)
    missing = [one for one in found if one.kernel.status == "missing"]
    if any(one.name == "aten::isin" for one in missing):
        return fault
    for one in missing:
        since = first_torch(one.name, one.overload)
        lacking[one.kernel.asked] = "since torch %s" % show(since) if since else "in no torch"
    return again


def callers(request: SelftestRequest) -> str:
    """Every loaded module of transformers that has the function by name has the installed one.

    Those of its generation are loaded for that, and must have the function if their source names it.
    """
    name, function = request["function"], _installed(request)
    importlib.import_module("transformers.generation.utils")
    loaded = {key: module for key, module in sorted(sys.modules.items()) if key.startswith("transformers.")}
    held = {key: vars(module)[name] for key, module in loaded.items() if name in getattr(module, "__dict__", ())}
    generation = [key for key in loaded if key.startswith("transformers.generation.")]
    wrong = [key for key, other in held.items() if other is not function]
    wrong += [key for key in generation if key not in held and _has_in_source(loaded[key], name)]
    if wrong:
        raise Failed("wrong or missing function in %s" % ", ".join(wrong))
    return "%d loaded module%s the function, each the installed one" % (
        len(held),
        " has" if len(held) == 1 else "s have",
    )


def _has_in_source(module: Any, name: str) -> bool:
    """Whether the source of a module has that name in it."""
    with open(module.__file__, "rb") as file:
        return name.encode() in file.read()


def _all_right(faults: List[Tuple[str, Optional[str]]], what: str) -> None:
    """Fails with the first of what went wrong, if anything did."""
    failed = ["%s: %s" % (name, fault) for name, fault in faults if fault]
    if failed:
        raise Failed("%d of %d %s failed. The first: %s" % (len(failed), len(faults), what, failed[0]))


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


def _same_tokens(model: Any, run: Any, expected: List[List[int]]) -> None:
    from . import generation

    if generation.tokens(model, run, "mps") != expected:
        raise Failed("tokens differ from the CPU's")


def _installed(request: SelftestRequest) -> Any:
    name = _module(request["file"], request["site_packages"])
    try:
        module = importlib.import_module(name)
    except Exception as error:
        raise Failed("%s cannot be imported: %s" % (name, describe(error))) from error
    if not hasattr(module, request["function"]):
        raise Failed("%s has no %s" % (name, request["function"]))
    return getattr(module, request["function"])


def _representable(case: Any, has: Callable[[Any], bool]) -> bool:
    import torch

    moved = [case.elements] + ([] if case.test_on_cpu else [case.test_elements])
    return all(has(x.dtype) for x in moved if isinstance(x, torch.Tensor))


def _run_case(function: Any, module: Any, case: Any, device: Any) -> None:
    import torch

    def placed(operand: Any, view: Any, where: str) -> Any:
        return view(operand.to(where)) if isinstance(operand, torch.Tensor) else operand

    on_cpu = placed(case.elements, case.view, "cpu"), placed(case.test_elements, case.test_view, "cpu")
    expected = module.reference(*on_cpu)
    is_large = any(isinstance(x, torch.Tensor) and x.numel() >= LARGE for x in on_cpu)
    for mode in (torch.no_grad,) if is_large else (torch.no_grad, torch.inference_mode):
        with mode():
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


def _load(name: str, path: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

"""Run the checks that a request names, and write what was found into a report, so that output can say what it likes.

Called as `python .../selftest/__main__.py REQUEST REPORT`. The report is written anew after every check, and within
one with how far it is: a report that was cut short still holds what had been found.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib.util
import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, Tuple

PROGRESS_INTERVAL = 0.1
"""Seconds between two words on how far a check is."""
HERE = os.path.dirname(os.path.abspath(__file__))
OWN_PACKAGE = "mps_patcher_selftest"


def main(request_path: str, report_path: str) -> None:
    """Read the request, run its checks in order, write the report."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]
    sys.dont_write_bytecode = True  # a verification changes nothing
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    request["contract"] = os.path.join(os.path.dirname(request_path), request["contract"])
    planned = ["bytecode"] if request["static"] else ["bytecode", "contract", "generate", "callers"]
    report: Dict[str, Any] = {"planned": planned, "device": None, "checks": [], "unavailable": None, "running": None}
    _write_report(report_path, report)
    for name, step in _steps(request, report, _teller(report_path, report)):
        report["checks"].append(_run(name, step))
        report["running"] = None
        _write_report(report_path, report)
    _write_report(report_path, report)


def _teller(path: str, report: Dict[str, Any]) -> Callable[..., None]:
    """What tells of a stage, and how many of how many things are done in it: ("generate", 14, 24)."""
    written = 0.0

    def tell(stage: str, done: int = 0, total: int = 0) -> None:
        nonlocal written
        now = time.monotonic()
        if done and now - written < PROGRESS_INTERVAL:
            return
        written, report["running"] = now, [stage, done, total]
        with contextlib.suppress(OSError):  # no check fails for that
            _write_report(path, report)

    return tell


def _steps(
    request: Dict[str, Any], report: Dict[str, Any], tell: Callable[..., None]
) -> Iterator[Tuple[str, Callable[[], str]]]:
    """The checks, each as its turn comes: torch is imported when what needs no torch is done."""
    checks = _submodule("checks")
    yield "bytecode", lambda: checks.bytecode(request)
    device = None if request["static"] else _device(request, report, tell)
    if device is not None:
        yield "contract", lambda: checks.contract(request, device, functools.partial(tell, "contract"))
        yield "generate", lambda: checks.generate(device, functools.partial(tell, "generate"))
        yield "callers", lambda: checks.callers(request)


def _device(request: Dict[str, Any], report: Dict[str, Any], tell: Callable[..., None]) -> Any:
    if importlib.util.find_spec("torch") is None:
        return _without_device(report, "no-torch", "%s has no torch" % sys.executable)
    tell("importing torch")
    module = _submodule("device")
    try:
        device = module.choose(request["device"], request["torch"], request["macos"])
    except module.Unavailable as error:
        return _without_device(report, "no-device", str(error))
    except _submodule("rules").NoRules as error:
        return _without_device(report, "no-rules", str(error))
    tell("importing transformers")
    if request["torch"] and device.rules:
        refusal = module.pretend(request["torch"])
        if refusal:
            return _without_device(report, "torch-refused", refusal)
    report["device"] = {"kind": device.kind, "torch": device.torch, "macos": device.macos}
    return device


def _without_device(report: Dict[str, Any], code: str, message: str) -> None:
    report["planned"], report["unavailable"] = ["bytecode"], {"code": code, "message": message}


def _run(name: str, step: Callable[[], str]) -> Dict[str, Any]:
    checks = _submodule("checks")
    start = time.monotonic()
    try:
        status, detail = "passed", step()
    except checks.Failed as failure:
        status, detail = "failed", str(failure)
    except Exception as error:
        status, detail = "failed", checks.describe(error)
    return {"name": name, "status": status, "detail": detail, "seconds": round(time.monotonic() - start, 3)}


def _submodule(name: str) -> Any:
    """A module of this folder, under a name that no installed package has."""
    if OWN_PACKAGE not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            OWN_PACKAGE, os.path.join(HERE, "__init__.py"), submodule_search_locations=[HERE]
        )
        if spec is None or spec.loader is None:
            raise ImportError(HERE)
        sys.modules[OWN_PACKAGE] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[OWN_PACKAGE])
    return importlib.import_module(OWN_PACKAGE + "." + name)


def _write_report(path: str, report: Dict[str, Any]) -> None:
    with open(path + ".part", "w", encoding="utf-8") as file:
        json.dump(report, file)
    os.replace(path + ".part", path)


if __name__ == "__main__":
    gc.disable()  # a quarter of the time that imports take, in a process that soon ends
    main(sys.argv[1], sys.argv[2])
    os._exit(0)  # all is written, and torch would take half a second to be taken down

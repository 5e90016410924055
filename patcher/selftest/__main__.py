"""Run the checks that a request names, and write what was found into a report, so that output can say what it likes.

Called as `python .../selftest/__main__.py REQUEST REPORT`. The report is written anew after every check: one that was
cut short still holds what had been found.
"""

from __future__ import annotations

import gc
import importlib.util
import json
import os
import sys
import time
from typing import Any, Callable, Dict, Iterator, Tuple

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
    report: Dict[str, Any] = {"planned": planned, "device": None, "checks": [], "unavailable": None}
    _write_report(report_path, report)
    for name, step in _steps(request, report):
        report["checks"].append(_run(name, step))
        _write_report(report_path, report)
    _write_report(report_path, report)


def _steps(request: Dict[str, Any], report: Dict[str, Any]) -> Iterator[Tuple[str, Callable[[], str]]]:
    """The checks, each as its turn comes: torch is imported when what needs no torch is done."""
    checks = _submodule("checks")
    yield "bytecode", lambda: checks.bytecode(request)
    device = None if request["static"] else _device(request, report)
    if device is not None:
        yield "contract", lambda: checks.contract(request, device)
        yield "generate", lambda: checks.generate(device)
        yield "callers", lambda: checks.callers(request)


def _device(request: Dict[str, Any], report: Dict[str, Any]) -> Any:
    module = _submodule("device")
    try:
        device = module.choose(request["device"], request["torch"], request["macos"])
    except module.Unavailable as error:
        return _without_device(report, "no-device", str(error))
    except module.mps_rules.NoRules as error:
        return _without_device(report, "no-rules", str(error))
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

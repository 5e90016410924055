"""Run pieces of code on the emulated MPS device, in the interpreter of the environment that a report is replayed in.

Called as `python replay.py SELFTEST REQUEST ANSWER`. The request names the rules and the files with the code. Each
defines `run(device)`, which is called for "cpu" and then, under the rules, for "mps"; beside `torch` it finds
`small(name)`, a model of the self-test with the same random weights at every call.
"""

from __future__ import annotations

import importlib.util
import json
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(selftest: str, request_path: str, answer_path: str) -> None:
    """Write an answer for each file: what `run` returned or raised on the device, and what it returned on the CPU."""
    request = json.loads(Path(request_path).read_text())
    parts = _load(Path(selftest, "__main__.py"))
    device_module = parts._submodule("device")
    device = device_module.choose("emulated", request["torch"], request["macos"])
    refusal = device_module.pretend(request["torch"]) if request["pretend"] else None
    if refusal:
        raise SystemExit(refusal)
    models = parts._submodule("generation").models()
    answers = [_replay(path, device, lambda name: models[name]()) for path in request["codes"]]
    Path(answer_path).write_text(json.dumps(answers))


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location("replayed_selftest", path)
    if spec is None or spec.loader is None:
        raise ImportError(str(path))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _replay(path: str, device: Any, small: Callable[[str], Any]) -> dict[str, Any]:
    import torch

    def attempt(name: str) -> dict[str, Any]:
        torch.manual_seed(0)
        try:
            return {"result": runpy.run_path(path, {"torch": torch, "small": small})["run"](name), "error": None}
        except Exception as error:
            return {"result": None, "error": f"{type(error).__name__}: {error}"}

    expected = attempt("cpu")["result"]
    with device.active():
        return dict(attempt("mps"), expected=expected)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Run code on the emulated MPS device before and after a patch, in the interpreter that a report is replayed in.

Called as `python replay.py SELFTEST REQUEST ANSWER`. The request names the rules, the files with the code, and the
command that patches; after it the last file is run again. torch is imported once; before and after are forks, each of
which imports transformers. A file defines `run(device)`, which is called for "cpu" and then, under the rules, for
"mps"; beside `torch` it finds `small(name)`, a model of tests/support with the same random weights at every call.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import multiprocessing
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

SLOW = ("torch._dynamo", "torch.distributed.tensor", "torch.export")
"""What transformers imports, or may import, of torch: done once, since none of it asks which torch this is."""


def main(selftest: str, request_path: str, answer_path: str) -> None:
    """Write an answer for each file: what `run` returned or raised on the device, and what it returned on the CPU."""
    request = json.loads(Path(request_path).read_text())
    for name in SLOW:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    answers = _in_a_fork(selftest, request, request["codes"])
    subprocess.run(request["patch"], check=True)
    answers += _in_a_fork(selftest, request, request["codes"][-1:])
    Path(answer_path).write_text(json.dumps(answers))


def _in_a_fork(*arguments: Any) -> list[dict[str, Any]]:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(_answers, arguments)


def _answers(selftest: str, request: dict[str, Any], codes: list[str]) -> list[dict[str, Any]]:
    parts = _load(Path(selftest, "__main__.py"))
    device_module = parts._submodule("device")
    device = device_module.choose("emulated", request["torch"], request["macos"])
    refusal = device_module.pretend(request["torch"]) if request["pretend"] else None
    if refusal:
        raise RuntimeError(refusal)
    more_models = _load(Path(__file__).parents[2] / "support" / "small_models.py").more_models
    return [_replay(path, device, lambda name: more_models()[name]()) for path in codes]


def _load(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(f"replayed_{path.stem}", path)
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

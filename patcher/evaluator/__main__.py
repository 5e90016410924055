"""Evaluate a model for the tool, which started this as `python .../evaluator/__main__.py`.

Two lines come on standard input: the request, a JSON document, and when this has told which devices there are, how many
scenarios are done already. The end of standard input is that of the tool, and ends this too.

The request names two file descriptors. To `events` one JSON document a line is written: what there is, how far it is,
what went wrong. To `results` the results go, one JSON document a line and all lines of a batch at once. Standard
output and error belong to the libraries.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import platform
import sys
import threading
import traceback
from typing import Any, Dict, List

HERE = os.path.dirname(os.path.abspath(__file__))
OWN_PACKAGE = "mps_patcher_evaluator"


def main() -> None:
    """Carries the request out. What goes wrong is told as an event, and the process ends well all the same."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != HERE]
    sys.dont_write_bytecode = True  # an evaluation changes nothing
    request = json.loads(sys.stdin.readline())

    def tell(event: str, **details: Any) -> None:
        _write(request["events"], [dict(details, event=event)])

    def store(rows: List[Dict[str, Any]]) -> None:
        _write(request["results"], rows)
        os.fsync(request["results"])

    failures = _submodule("failures")
    try:
        _evaluate(request, store, tell)
        tell("done")
    except failures.Failure as failure:
        traceback.print_exc()
        tell("failure", code=failure.code, message=failure.message)
    sys.stderr.flush()


def _evaluate(request: Dict[str, Any], store: Any, tell: Any) -> None:
    try:
        import torch
    except Exception as error:
        failures = _submodule("failures")
        raise failures.Failure("no-torch", "torch cannot be imported: %s" % failures.describe(error)) from error
    chosen = _submodule("devices").choose(request["devices"])
    import transformers

    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "platform": platform.platform(),
    }
    devices = [{"name": one.name, "kind": one.kind, "label": one.label} for one in chosen]
    tell("ready", devices=devices, versions=versions)
    answer = sys.stdin.readline()
    if not answer:
        return
    threading.Thread(target=_end_with_the_tool, daemon=True).start()
    _submodule("runner").evaluate(request, chosen, int(answer), store, tell)


def _end_with_the_tool() -> None:
    """Waits until standard input ends. A tool that was killed says nothing else."""
    while os.read(0, 4096):
        pass
    os._exit(1)


def _write(descriptor: int, documents: List[Dict[str, Any]]) -> None:
    data = "".join(json.dumps(document) + "\n" for document in documents).encode("ascii")
    while data:
        data = data[os.write(descriptor, data) :]


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


if __name__ == "__main__":
    main()
    os._exit(0)  # all is written, and torch would take half a second to be taken down

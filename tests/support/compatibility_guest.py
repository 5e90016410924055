"""Small models generate on the emulated device under many rules: run by the interpreter whose transformers is asked.

    python tests/support/compatibility_guest.py 2.1,13 2.3,14 ...

Prints one line of JSON: by rules, either {"refused": why} or {"runs": how many, "errors": {text: in how many runs}}.
torch is imported once; each set of rules has a process of its own, forked before transformers is imported, so that
transformers decides anew what it believes of torch. The runs and the device are those of `verify`, and so are
two of the models; RUNS are a selection.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from small_models import more_models

from patcher.selftest import device, generation

RUNS = {
    "Llama": (
        "greedy, batch of 1, no mask, no pad token",
        "sampling, batch of 3, several end tokens",
        "beam search, batch of 3, no mask, pad token",
    ),
    "T5": (
        "greedy, batch of 3, no mask, pad token",
        "sampling, batch of 1, no mask, no pad token",
        "beam search, batch of 3, several end tokens",
    ),
    "Whisper": ("greedy, batch of 1, no mask, no pad token",),
}
SLOW = ("torch._dynamo", "torch.distributed.tensor", "torch.export", "huggingface_hub", "tokenizers")
"""What every release imports or may import: done before the first fork, since none of it asks which torch this is."""
QUIET = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "critical"}


def outcome(torch_version: str, macos: str) -> dict[str, Any]:
    """What the runs give under these rules, in this process, which must not have imported transformers."""
    chosen = device.choose("emulated", torch_version, macos)
    if refusal := device.pretend(torch_version):
        return {"refused": refusal}
    by_name = {run.name: run for run in generation.runs()}
    errors: Counter[str] = Counter()
    with chosen.active():
        for model, names in RUNS.items():
            build = more_models()[model]
            try:
                on_cpu = build()
            except Exception as error:  # nothing of that is MPS's: this transformers needs another torch
                return {"refused": said(error)}
            on_device = build().to("mps")
            errors.update(filter(None, (fault(on_cpu, on_device, by_name[name]) for name in names)))
    return {"runs": sum(map(len, RUNS.values())), "errors": dict(errors)}


def fault(on_cpu: Any, on_device: Any, run: generation.Run) -> str | None:
    """What a run on the device raises, or that it gives tokens differ from the CPU's; None if all is well."""
    expected = generation.tokens(on_cpu, run, "cpu")
    try:
        got = generation.tokens(on_device, run, "mps")
    except Exception as error:
        return said(error)
    return None if got == expected else "tokens differ from the CPU's"


def said(error: Exception) -> str:
    """The error as a line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def forked(rules: str) -> dict[str, Any]:
    """`outcome`, in a process of its own."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with os.fdopen(writer, "w") as stream:
            json.dump(outcome(*rules.split(",")), stream)
            stream.flush()
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if status or not text:
        raise RuntimeError(f"the runs under {rules} did not finish")
    return dict(json.loads(text))


def main(rules: list[str]) -> None:
    """Each set of rules in turn."""
    os.environ.update(QUIET)
    warnings.simplefilter("ignore")
    for name in SLOW:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    print(json.dumps({each: forked(each) for each in rules}))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Options and results of an evaluation, as the evaluator writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CPU = {"name": "cpu", "kind": "cpu", "label": "Some CPU"}
CUDA = {"name": "cuda", "kind": "cuda", "label": "Some GPU"}
EMULATED = {"name": "mps", "kind": "emulated-mps", "label": "emulated MPS device, with the rules of torch 2.6"}


def options(rows: int, **changes: Any) -> dict[str, Any]:
    """The document of options.json."""
    return {
        "schema": 1,
        "tool": "1.0.0",
        "model": "/models/small",
        "scenarios": {"path": "/data/scenarios.jsonl", "sha256": "a" * 64, "rows": rows},
        "devices": [CPU, CUDA],
        "max_new_tokens": 8,
        "batch_size": 2,
        "dtype": "float32",
        "warmup": 1,
        "repeat": 1,
        "seed": None,
        "versions": {"python": "3.11.9", "torch": "2.13.0", "transformers": "4.45.1", "platform": "Linux"},
        "patched": "in memory",
        **changes,
    }


def output(tokens: int, *seconds: float, exact: bool | None = None) -> dict[str, Any]:
    """What a device made of a scenario."""
    return {"tokens": [5] * tokens, "text": "x" * tokens, "seconds": list(seconds), "exact": exact}


def difference(kind: str, position: int, *tokens: str) -> dict[str, Any]:
    """A first difference, of two tokens."""
    sides = {
        side: {"token": 5, "text": text, "logits": [1.5, 1.0]}
        for side, text in zip(("reference", "other"), tokens or "xx", strict=True)
    }
    return {"position": position, "kind": kind, **sides}


def differing(index: int, kind: str, *texts: str, tokens: tuple[str, str] = ("x", "y"), **changes: Any) -> Any:
    """A line of results.jsonl: the CPU and CUDA wrote different texts."""
    outputs = {"cpu": output(4, 2.0), "cuda": output(4, 0.5)}
    for made, text in zip(outputs.values(), texts or ("ax", "ay"), strict=True):
        made["text"] = text
    differences = {"cuda": difference(kind, 1, *tokens)}
    return row(index, index // 2, outputs, differences=differences, **changes)


HOSTILE = (
    "</pre><script>alert(1)</script> & `one` ```three``` | <b>bold</b>\n\x1b[31m \u0627\u0644\u0628\u062d\u0631 \u72ac"
)
"""What a prompt or an answer may hold: HTML, Markdown, control characters, both directions."""


def hostile_rows() -> list[dict[str, Any]]:
    """A fault and a tie whose texts are all HOSTILE, and four scenarios that agree."""
    texts, tokens = (HOSTILE + "<i>", HOSTILE + "``"), ("<i>", "``")
    ours: dict[str, Any] = {"id": HOSTILE, "prompt": HOSTILE, "expected": HOSTILE, "tokens": tokens}
    return [differing(0, "tie", *texts, **ours), differing(1, "fault", *texts, **ours), *simple_rows(6)[2:]]


def row(index: int, batch: int, outputs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A line of results.jsonl."""
    _, *others = outputs
    return {
        "index": index,
        "id": f"s{index}",
        "prompt": "Hello",
        "expected": None,
        "batch": batch,
        "prompt_tokens": 5,
        "outputs": outputs,
        "differences": dict.fromkeys(others),
        "peak_memory": dict.fromkeys(outputs, 1000 + index),
        **changes,
    }


def simple_rows(count: int, batch_size: int = 2) -> list[dict[str, Any]]:
    """Results of the CPU and CUDA, which agree."""
    outputs = {"cpu": output(4, 2.0), "cuda": output(4, 0.5)}
    return [row(index, index // batch_size, outputs) for index in range(count)]


def write_folder(folder: Path, rows: list[dict[str, Any]], /, **changes: Any) -> Path:
    """A folder of an evaluation."""
    write_rows(folder, rows)
    (folder / "options.json").write_text(json.dumps(options(**{"rows": len(rows), **changes})))
    return folder


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    """Writes results.jsonl."""
    folder.mkdir(exist_ok=True)
    (folder / "results.jsonl").write_text("".join(json.dumps(one) + "\n" for one in rows))

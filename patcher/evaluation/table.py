"""What report.json says, in some lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from patcher.errors import one_line

Document = dict[str, Any]
NONE = "-"


def as_table(report: Document, folder: Path) -> str:
    """A table of the devices, a sentence for each comparison, and where all of it lies."""
    table = _columns([_HEAD, *_device_rows(report)])
    where = f"  results and report: {one_line(str(folder))}"
    return "\n".join([*_headline(report), "", *table, "", *_comparisons(report), where])


_HEAD = ("", "scenarios/s (p10 - p90)", "tokens/s (p10 - p90)", "latency p50, p90", "peak memory", "exact match")


def _headline(report: Document) -> Iterator[str]:
    rows = report["scenarios"]["rows"]
    done = f"{report['scenarios_done']:,} of {rows:,}" if not report["complete"] else f"{rows:,}"
    choice = "greedy search" if report["seed"] is None else f"sampling with seed {report['seed']}"
    yield f"{one_line(report['model'])}: {done} scenarios"
    settings = f"{choice}, {report['dtype']}, batches of {report['batch_size']}"
    yield f"  {settings}, at most {report['max_new_tokens']} new tokens"
    for device in report["devices"]:
        yield f"  {device['name']}: {one_line(device['label'])}"


def _device_rows(report: Document) -> Iterator[tuple[str, ...]]:
    for device in report["devices"]:
        found = report["by_device"][device["name"]]
        latency = found["latency_seconds"]
        yield (
            _name(device),
            _spread(found["scenarios_per_second"]),
            _spread(found["tokens_per_second"]),
            f"{latency['p50']:.3g} s, {latency['p90']:.3g} s" if latency else NONE,
            f"{found['peak_memory_bytes'] / 1e6:,.0f} MB" if found["peak_memory_bytes"] is not None else NONE,
            _share(found["exact_match"]),
        )


def _spread(found: dict[str, float] | None) -> str:
    return f"{found['median']:.3g} ({found['p10']:.3g} - {found['p90']:.3g})" if found else NONE


def _share(found: Document | None) -> str:
    return f"{round(found['share'] * found['of'])} of {found['of']}" if found else NONE


def _name(device: Document) -> str:
    return f"{device['name']} (emulated)" if device["kind"] == "emulated-mps" else str(device["name"])


def _columns(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _comparisons(report: Document) -> Iterator[str]:
    first, *others = report["devices"]
    for device in others:
        yield from _agreement(report["agreement"][device["name"]], _name(device), first["name"])
        if ratio := report["ratios"][device["name"]]:
            rate = f"{ratio['scenarios_per_second']:.3g} times the scenarios per second of {first['name']}"
            yield f"  {device['name']}: {rate} (the median over the batches)"
    if any(device["kind"] == "emulated-mps" for device in report["devices"]):
        yield "  The MPS device was emulated, with the CPU's kernels: how fast MPS is cannot be told here."


def _agreement(found: Document | None, name: str, first: str) -> Iterator[str]:
    if found is None:
        yield f"  {name}: not compared with {first}, since with sampling each device draws for itself"
        return
    same = found["of"] - found["ties"] - found["faults"]
    yield f"  {name}: the tokens of {first} in {same:,} of {found['of']:,} scenarios"
    if found["ties"]:
        yield f"    {found['ties']:,} differ from a tie on: two tokens were as good as equal there"
    if found["faults"]:
        yield f"    FAULTS: {found['faults']:,} differ where one device clearly preferred its token, so one is wrong"

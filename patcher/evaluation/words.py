"""What report.json says, as the sentences and cells that the terminal and the reports share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from patcher.errors import one_line

Document = dict[str, Any]
NONE, END = "-", "(end)"
HEAD = ("scenarios/s (p10 - p90)", "tokens/s (p10 - p90)", "latency p50, p90", "peak memory", "exact match")
"""What `device_cells` are."""
EMULATED = "The MPS device was emulated on the CPU, which says nothing about the speed of MPS."


def is_emulated(device: Document) -> bool:
    """Whether there is nothing to say of its speed."""
    return bool(device["kind"] == "emulated-mps")


def device_name(device: Document) -> str:
    """`mps`, or `mps (emulated)`."""
    return f"{device['name']} (emulated)" if is_emulated(device) else str(device["name"])


def device_cells(found: Document) -> tuple[str, ...]:
    """Of an entry of `by_device`, the cells under HEAD; `-` where there is no number."""
    latency, peak = found["latency_seconds"], found["peak_memory_bytes"]
    return (
        _spread(found["scenarios_per_second"]),
        _spread(found["tokens_per_second"]),
        f"{latency['p50']:.3g} s, {latency['p90']:.3g} s" if latency else NONE,
        f"{peak / 1e6:,.0f} MB" if peak is not None else NONE,
        _share(found["exact_match"]),
    )


def _spread(found: dict[str, float] | None) -> str:
    return f"{found['median']:.3g} ({found['p10']:.3g} - {found['p90']:.3g})" if found else NONE


def _share(found: Document | None) -> str:
    return f"{round(found['share'] * found['of'])} of {found['of']}" if found else NONE


def settings(report: Document) -> str:
    """How was generated, as a clause."""
    choice = "greedy search" if report["seed"] is None else f"sampling with seed {report['seed']}"
    batches = f"{report['dtype']}, batches of {report['batch_size']}"
    return f"{choice}, {batches}, at most {report['max_new_tokens']} new tokens"


def done_of_all(report: Document) -> str:
    """`50`, or `7 of 50` where it is not complete."""
    rows = f"{report['scenarios']['rows']:,}"
    return rows if report["complete"] else f"{report['scenarios_done']:,} of {rows}"


def subject(report: Document) -> str:
    """What the headline is about, on one line."""
    return f"{one_line(report['model'])}: {done_of_all(report)} scenarios, {settings(report)}"


def headline(report: Document) -> str:
    """The answer in a sentence, without a full stop: whether the devices give the same, and which is how fast."""
    if not report["scenarios_done"]:
        return "No scenario is finished"
    first, *others = report["devices"]
    answers = [_answer(report, device, first) for device in others] or [_alone(report, first)]
    text = "; ".join(answers)
    return text if report["complete"] else f"Incomplete, {done_of_all(report)} scenarios are done: {text}"


def _alone(report: Document, device: Document) -> str:
    rate = report["by_device"][device["name"]]["scenarios_per_second"]
    scenarios = counted(report["scenarios_done"], "scenario")
    return f"{device_name(device)} did {scenarios}" + (f", {rate['median']:.3g} a second" if rate else "")


def _answer(report: Document, device: Document, first: Document) -> str:
    name = device["name"]
    agreement, ratio = report["agreement"][name], report["ratios"][name]
    told = (
        _agreed(agreement, name, first["name"])
        if agreement
        else f"{name} is not compared with {first['name']}, because both sampled"
    )
    if is_emulated(device):
        return f"{told}, on an emulated MPS device, so speed is not reported"
    return f"{told}, and is {ratio['scenarios_per_second']:.3g} times as fast" if ratio else told


def _agreed(found: Document, name: str, first: str) -> str:
    differing, of = found["ties"] + found["faults"], f"{found['of']:,} scenarios"
    if found["faults"]:
        return f"{name} differs from {first} in {differing:,} of {of}, {counted(found['faults'], 'fault')} among them"
    ties = f" ({counted(differing, 'tie')})" if differing else ""
    return f"{name} gives the same tokens as {first} in {found['of'] - differing:,} of {of}{ties}"


def counted(number: int, noun: str) -> str:
    """`1 tie`, `2 ties`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def comparison(report: Document, device: Document) -> Iterator[str]:
    """Sentences on the answers and the speed of a device that is not the first."""
    first = report["devices"][0]["name"]
    yield from _agreement(report["agreement"][device["name"]], device_name(device), first)
    if ratio := report["ratios"][device["name"]]:
        rate = f"{ratio['scenarios_per_second']:.3g} times the scenarios per second of {first}"
        yield f"{device['name']}: {rate} (the median over the batches)"


def _agreement(found: Document | None, name: str, first: str) -> Iterator[str]:
    if found is None:
        yield f"{name}: not compared with {first}, because each device samples with its own random generator"
        return
    same = found["of"] - found["ties"] - found["faults"]
    yield f"{name}: the same tokens as {first} in {same:,} of {found['of']:,} scenarios"
    if found["ties"]:
        yield f"  ties: {found['ties']:,}, where rounding decided between two tokens"
    if found["faults"]:
        yield f"  FAULTS: {found['faults']:,}, where one device clearly preferred another token, so one is wrong"


def device_table(report: Document) -> list[tuple[str, ...]]:
    """A row for each measure that there is a number of, and a column for each device; the first row has the names."""
    columns = [device_cells(report["by_device"][device["name"]]) for device in report["devices"]]
    rows = [(head, *cells) for head, *cells in zip(HEAD, *columns, strict=True)]
    return [("", *map(device_name, report["devices"])), *(row for row in rows if set(row[1:]) != {NONE})]


def faults(report: Document) -> str | None:
    """What there is to say of faults before all else; None where there are none."""
    number = sum(found["faults"] for found in report["agreement"].values() if found)
    if not number:
        return None
    return f"{counted(number, 'fault')}: one device clearly preferred another token, so one of the two is wrong."


def differences_told(report: Document, differences: int, shown: int) -> str:
    """How many differences there are, and where those are that are not shown."""
    if not any(report["agreement"].values()):
        return "The devices' outputs were not compared."
    if not differences:
        return "None: the devices gave the same tokens in every scenario."
    if shown < differences:
        return f"The first {shown:,} of {differences:,}, faults before ties; results.jsonl has all of them."
    return f"{counted(differences, 'difference')}, faults before ties; results.jsonl has the full outputs."


def quoted(text: str) -> str:
    """A token's text with its spaces and line breaks visible; END for none."""
    return one_line(json.dumps(text, ensure_ascii=False)) if text else END


def visible(text: str) -> str:
    """The text, with control characters other than tab and line break as their pictures."""
    return text.translate({code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421})


def conditions(report: Document) -> Iterator[tuple[str, str]]:
    """What was run, on what and with which versions, as names and values on one line each."""
    yield "model", one_line(report["model"])
    yield "scenarios", f"{done_of_all(report)}, of {one_line(report['scenarios']['path'])}"
    yield "settings", settings(report)
    yield (
        "timed",
        f"each batch {counted(report['repeat'], 'time')}, after {counted(report['warmup'], 'scenario')} to warm up",
    )
    for device in report["devices"]:
        yield str(device["name"]), one_line(device["label"])
    for name, version in report["versions"].items():
        yield str(name), one_line(str(version))
    yield "patches", str(report["patched"])
    yield "mps-patcher", str(report["tool"])

"""The report of what a program asked of the emulated device: a JSON document, and beside it the same as a table."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence

TITLE = "# What a program asked of the emulated MPS device"
_BEGINNING = '{\n  "schema": 1,\n  "device": {"kind": "emulated-mps",'
FIRST = ("missing", "refused", "fallback", "unknown")
"""What the table begins with; these are counted, too."""
LEGEND = """\
- missing: this torch has no MPS kernel. The operator raises an error, or runs on the CPU where
  `PYTORCH_ENABLE_MPS_FALLBACK=1` allows it. "first in torch" is the first release that has it, if any has.
- refused: the MPS kernel of this torch raises an error for this, whatever the variable says.
- fallback: this torch runs it, or this, on the CPU, whatever the variable says.
- unknown: mps-patcher does not know whether this torch has it. It was let through.
- kernel: this torch has an MPS kernel. composite, explicit: it is made of other operators."""

Report = Dict[str, Any]
Limit = Dict[str, Optional[str]]
"""What a kernel did not do: `effect` (an exception, or cpu), `dtypes`, `below_macos`, `message`."""


class Entry(NamedTuple):
    """An operator that a program asked for, as the report has it."""

    operator: str
    """With its overload, such as `aten::isin.Tensor_Tensor`."""
    asked: str
    """The operator that MPS is asked for then, and that errors name."""
    status: str
    evidence: str
    first_torch: Optional[str]
    """The first torch release that has it, if any has."""
    calls: int
    dtypes: List[List[str]]
    """Those of its tensors, each once, for every combination that occurred."""
    line: str
    """The line of the program, as `file:number`, that first led there."""
    library: Optional[str]
    """The innermost line outside torch, where that is another one."""
    limits: Sequence[Limit] = ()
    """What its kernel did not do that the program asked for."""


def create(path: str, torch: str, macos: str, program: Sequence[str]) -> None:
    """Writes the report and the table of a program that has asked for nothing yet, in place of an earlier report.

    Raises OSError where that cannot be; FileExistsError where one of the two is there and is no report.
    """
    for name, beginning in ((path, _BEGINNING), (table_path(path), TITLE)):
        if os.path.lexists(name) and not _begins(name, beginning):
            raise FileExistsError(0, "it is there, and is no report", name)
    device = {"kind": "emulated-mps", "torch": torch, "macos": macos}
    report: Report = {"schema": 1, "device": device, "program": list(program), "counts": {}, "operators": []}
    with open(path, "a+", encoding="utf-8") as file:
        _write(file, path, _with(report, []))


def add(path: str, asked: Iterable[Entry]) -> None:
    """Adds what a process asked for to the report, and writes the table anew. Others that do so wait.

    Raises OSError where a file cannot be written, ValueError where the report is none any more.
    """
    with open(path, "r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        _write(file, path, _with(json.load(file), asked))


def table_path(path: str) -> str:
    """Where the table of this report is."""
    return os.path.splitext(path)[0] + ".md"


def as_json(report: Report) -> str:
    """The report as JSON, with one line for each operator."""
    head = ["  %s: %s,\n" % (json.dumps(key), json.dumps(report[key])) for key in report if key != "operators"]
    operators = ",\n".join("    " + json.dumps(operator) for operator in report["operators"])
    return '{\n%s  "operators": [\n%s\n  ]\n}\n' % ("".join(head), operators)


def as_table(report: Report) -> str:
    """The report as a table in Markdown, which reads well as plain text."""
    return "\n".join(_lines(report)) + "\n"


def _begins(path: str, beginning: str) -> bool:
    if not os.path.isfile(path):
        return False
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(len(beginning)) in (beginning, "")


def _with(report: Report, asked: Iterable[Entry]) -> Report:
    """The report, and these operators."""
    operators = {one["operator"]: one for one in report["operators"]}
    for new in asked:
        old = operators.setdefault(new.operator, {**new._asdict(), "calls": 0})
        old["calls"] += new.calls
        old["dtypes"] = sorted({*map(tuple, old["dtypes"]), *map(tuple, new.dtypes)})
        old["limits"] = [*old["limits"], *(one for one in new.limits if one not in old["limits"])]
        old["status"] = _status(old)
    ordered = sorted(operators.values(), key=_place)
    counts = {status: sum(one["status"] == status for one in ordered) for status in FIRST}
    return {**report, "counts": {"operators": len(ordered), **counts}, "operators": ordered}


def _status(operator: Dict[str, Any]) -> str:
    """The kernel's, unless that did not compute what it was asked for."""
    effects = {one["effect"] for one in operator["limits"]} if operator["status"] not in ("missing", "unknown") else ()
    return "refused" if {*effects} - {"cpu"} else "fallback" if effects else str(operator["status"])


def _status_and_limits(operator: Dict[str, Any]) -> str:
    """Such as `refused: int64 below macOS 13.3`."""
    reasons = dict.fromkeys(map(_reason, operator["limits"]))
    return ": ".join(filter(None, (operator["status"], ", ".join(filter(None, reasons)))))


def _reason(limit: Limit) -> str:
    dtypes, macos = limit["dtypes"], limit["below_macos"]
    return " ".join([*([dtypes] if dtypes and dtypes != "any" else []), *(["below macOS " + macos] if macos else [])])


def _place(operator: Dict[str, Any]) -> Any:
    status = operator["status"]
    return FIRST.index(status) if status in FIRST else len(FIRST), operator["asked"], operator["operator"]


def _write(file: Any, path: str, report: Report) -> None:
    file.seek(0)
    file.truncate()
    file.write(as_json(report))
    file.flush()
    with open(table_path(path), "w", encoding="utf-8") as table:
        table.write(as_table(report))


def _lines(report: Report) -> Iterator[str]:
    device, counts = report["device"], report["counts"]
    program = " ".join(map(shlex.quote, report["program"]))
    yield from (TITLE, "", "    python %s" % program.replace("\n", "\\n"), "")
    yield "The rules were those of torch %s on macOS %s. No Apple GPU was used." % (device["torch"], device["macos"])
    yield "Operators: %d; %s." % (counts["operators"], "; ".join("%s: %d" % (one, counts[one]) for one in FIRST))
    yield ""
    if report["operators"]:
        rows = [("operator", "status", "first in torch", "calls", "dtypes", "first used at", "in library")]
        yield from _aligned([*rows, *map(_row, report["operators"])])
        yield from ("", LEGEND)


def _row(operator: Dict[str, Any]) -> Sequence[str]:
    since = operator["first_torch"] if operator["status"] == "missing" else None
    return (
        "`%s`" % operator["asked"],
        _status_and_limits(operator),
        since or "-",
        str(operator["calls"]),
        ", ".join("+".join(dtypes) for dtypes in operator["dtypes"]) or "-",
        "`%s`" % operator["line"],
        "`%s`" % operator["library"] if operator["library"] else "-",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rows.insert(1, ["-" * width for width in widths])
    for row in rows:
        yield "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"

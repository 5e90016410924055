"""The report of what a program asked of the emulated device, as files."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest

from patcher.selftest import report
from patcher.selftest.report import Entry

KERNEL = Entry("aten::add.Tensor", "aten::add.Tensor", "kernel", "l", "2.0", 2, [["float32"]], "a.py:1", None)
MISSING = Entry(
    "aten::isin.Tensor_Tensor", "aten::isin.Tensor_Tensor_out", "missing", "l", "2.4", 1, [["int64", "int32"]],
    "a.py:2", "transformers/generation/utils.py:9",
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A report of a program that has asked for nothing yet."""
    path = tmp_path / "report.json"
    report.create(str(path), "2.1", "12.3", ["-m", "app", "two words"])
    return path


def named(name: str, status: str) -> Entry:
    return KERNEL._replace(operator=name, asked=name, status=status)


def read(file: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(file.read_text())
    return document


def rows(file: Path) -> list[str]:
    return [line for line in file.with_suffix(".md").read_text().splitlines() if line.startswith("|")]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split(" | ")]


def test_an_empty_report_says_of_what_it_is(file: Path) -> None:
    assert read(file) == {
        "schema": 1,
        "device": {"kind": "emulated-mps", "torch": "2.1", "macos": "12.3"},
        "program": ["-m", "app", "two words"],
        "counts": {"operators": 0, "missing": 0, "refused": 0, "fallback": 0, "unknown": 0},
        "operators": [],
    }
    table = file.with_suffix(".md").read_text()
    assert "\n    python -m app 'two words'\n" in table
    assert "torch 2.1 on macOS 12.3" in table
    assert rows(file) == []


def test_what_processes_add_adds_up(file: Path) -> None:
    report.add(str(file), [KERNEL, MISSING])
    report.add(str(file), [KERNEL._replace(calls=3, dtypes=[["int64"], ["float32"]], line="b.py:7")])
    kernel, missing = ({**one._asdict(), "limits": []} for one in (KERNEL, MISSING))
    assert read(file)["operators"] == [missing, {**kernel, "calls": 5, "dtypes": [["float32"], ["int64"]]}]
    assert read(file)["counts"] == {"operators": 2, "missing": 1, "refused": 0, "fallback": 0, "unknown": 0}


def test_one_process_may_tell_of_an_operator_in_parts(file: Path) -> None:
    report.add(str(file), [KERNEL, KERNEL._replace(dtypes=[["bool"]])])
    (found,) = read(file)["operators"]
    assert (found["calls"], found["dtypes"]) == (4, [["bool"], ["float32"]])


def test_the_table_is_aligned_and_begins_with_what_is_missing(file: Path) -> None:
    others = [named("aten::c", "unknown"), named("aten::b", "fallback"), named("aten::a", "composite")]
    report.add(str(file), [KERNEL, *others, MISSING])
    head, rule, *body = rows(file)
    assert [cells(row)[1] for row in body] == ["missing", "fallback", "unknown", "composite", "kernel"]
    assert cells(body[0]) == [
        "`aten::isin.Tensor_Tensor_out`", "missing", "2.4", "1", "int64+int32", "`a.py:2`",
        "`transformers/generation/utils.py:9`",
    ]  # fmt: skip
    assert cells(body[1])[2] == "-"  # it is there, so nobody asks since when
    assert len({len(row) for row in (head, rule, *body)}) == 1


def test_of_each_operator_there_is_one_line_of_json(file: Path) -> None:
    report.add(str(file), [KERNEL, MISSING])
    lines = [line for line in file.read_text().splitlines() if line.startswith('    {"operator": "aten::')]
    assert len(lines) == 2


def test_what_a_path_holds_does_not_break_the_table(file: Path) -> None:
    report.add(str(file), [KERNEL._replace(line="a|b.py:1")])
    assert "`a\\|b.py:1`" in rows(file)[-1]
    report.create(str(file), "2.1", "12.3", ["-c", "a\nb"])
    assert "\n    python -c 'a\\nb'\n" in file.with_suffix(".md").read_text()


def test_a_new_report_takes_the_place_of_an_earlier_one(file: Path) -> None:
    report.add(str(file), [KERNEL])
    report.create(str(file), "2.6", "13", ["other.py"])
    assert (read(file)["operators"], read(file)["program"]) == ([], ["other.py"])
    assert rows(file) == []


@pytest.mark.parametrize("name", ["notes.json", "notes.md"])
def test_another_file_is_never_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(FileExistsError) as raised:
        report.create(str(tmp_path / "notes.json"), "2.1", "12.3", [])
    assert raised.value.filename == str(tmp_path / name)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "mine")]


def test_an_empty_file_is_nobodys(tmp_path: Path) -> None:
    """As `mktemp` makes it."""
    (tmp_path / "new").touch()
    report.create(str(tmp_path / "new"), "2.1", "12.3", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "new.md"]


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere"), os.mkfifo])
def test_what_is_no_file_is_refused(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "report.json")
    with pytest.raises(FileExistsError):
        report.create(str(tmp_path / "report.json"), "2.1", "12.3", [])


def test_a_report_that_is_none_any_more(file: Path) -> None:
    file.write_text("")
    with pytest.raises(ValueError, match="Expecting value"):
        report.add(str(file), [KERNEL])
    file.unlink()
    with pytest.raises(FileNotFoundError):
        report.add(str(file), [KERNEL])


def add_often(file: str) -> None:
    for _ in range(20):
        report.add(file, [KERNEL, MISSING])


def test_many_processes_at_once(file: Path) -> None:
    context = multiprocessing.get_context("fork")
    started = [context.Process(target=add_often, args=(str(file),)) for _ in range(6)]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert [one["calls"] for one in read(file)["operators"]] == [120, 240]
    assert cells(rows(file)[-1])[3] == "240"


def limit(effect: str, dtypes: str, below_macos: str | None) -> report.Limit:
    return {"effect": effect, "dtypes": dtypes, "below_macos": below_macos, "message": "It does not"}


INT64 = limit("RuntimeError", "int64", "13.3")


@pytest.mark.parametrize(
    ("limits", "status", "shown"),
    [
        ([INT64], "refused", "refused: int64 below macOS 13.3"),
        ([limit("RuntimeError", "integral", None)], "refused", "refused: integral"),
        ([limit("cpu", "any", "13.0")], "fallback", "fallback: below macOS 13.0"),
        ([INT64, {**INT64, "message": "Nor that"}], "refused", "refused: int64 below macOS 13.3"),
        ([limit("cpu", "any", None), INT64], "refused", "refused: int64 below macOS 13.3"),
    ],
)
def test_what_a_kernel_did_not_do(file: Path, limits: list[report.Limit], status: str, shown: str) -> None:
    report.add(str(file), [KERNEL])
    report.add(str(file), [KERNEL._replace(limits=limits)] * 2)
    report.add(str(file), [KERNEL, named("aten::abs", "kernel"), MISSING])
    missing, found, _ = read(file)["operators"]
    assert missing["status"] == "missing"
    assert (found["operator"], found["status"], found["limits"]) == (KERNEL.operator, status, limits)
    assert read(file)["counts"][status] == 1
    assert cells(rows(file)[3])[1] == shown
    assert f"; {status}: 1; " in file.with_suffix(".md").read_text()


def test_what_is_missing_is_not_refused_too(file: Path) -> None:
    report.add(str(file), [MISSING._replace(limits=[INT64])])
    assert read(file)["operators"][0]["status"] == "missing"

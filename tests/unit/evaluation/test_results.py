"""The folder of an evaluation: what is begun, gone on with, cut off and refused."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from evaluations import CPU, EMULATED, options, simple_rows, write_rows

from patcher.errors import PatcherError
from patcher.evaluation.reports import write_reports
from patcher.evaluation.results import open_results, read_options, read_rows, start_or_resume
from patcher.storage.lock import LockTimeout

NOW = LockTimeout(seconds=0)


def begin(folder: Path, asked: dict[str, Any], *, resume: bool = False) -> int:
    """How many scenarios are done, as an evaluation begins."""
    with open_results(folder, resume=resume, timeout=NOW) as descriptor:
        return start_or_resume(folder, descriptor, asked)


def refusal(call: Callable[[], object]) -> PatcherError:
    with pytest.raises(PatcherError) as caught:
        call()
    return caught.value


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five of seven scenarios, in batches of two: the third batch is not whole."""
    folder = tmp_path / "results"
    assert begin(folder, options(7)) == 0
    write_rows(folder, simple_rows(5))
    return folder


def test_a_new_folder_is_made_and_has_the_options(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "results"
    assert begin(folder, options(7)) == 0
    assert read_options(folder) == options(7)
    assert list(read_rows(folder)) == []


def test_results_are_not_written_over(folder: Path) -> None:
    error = refusal(lambda: begin(folder, options(7)))
    assert (error.code, error.message) == ("results-exist", f"{folder} already has the results of an evaluation.")
    assert "--resume" in error.hint
    assert len(list(read_rows(folder))) == 5


def test_an_evaluation_that_did_nothing_is_begun_anew(tmp_path: Path) -> None:
    begin(tmp_path, options(7))
    assert begin(tmp_path, options(9, dtype="float16")) == 0
    assert read_options(tmp_path) == options(9, dtype="float16")


def test_only_whole_batches_are_kept(folder: Path) -> None:
    assert begin(folder, options(7), resume=True) == 4
    assert list(read_rows(folder)) == simple_rows(4)


def test_a_last_batch_may_be_smaller(folder: Path) -> None:
    write_rows(folder, simple_rows(7))
    assert begin(folder, options(7), resume=True) == 7
    assert list(read_rows(folder)) == simple_rows(7)


@pytest.mark.parametrize("cut", [1, 2, 30])
def test_a_half_written_line_is_cut_off(folder: Path, cut: int) -> None:
    write_rows(folder, simple_rows(4))
    file = folder / "results.jsonl"
    os.truncate(file, file.stat().st_size - cut)
    assert len(list(read_rows(folder))) == 3
    assert begin(folder, options(7), resume=True) == 2
    assert list(read_rows(folder)) == simple_rows(2)
    assert file.read_bytes().endswith(b"\n")


@pytest.mark.parametrize("damage", [b"\0\0\0\0\n", b"[]\n", b"{}\n", b'{"index": 4}\n'])
def test_what_follows_a_damaged_line_is_done_again(folder: Path, damage: bytes) -> None:
    lines = (folder / "results.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "results.jsonl").write_bytes(b"".join([*lines[:2], damage, *lines[3:]]))
    assert begin(folder, options(7), resume=True) == 2
    assert list(read_rows(folder)) == simple_rows(2)


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"model": "/models/other"}, "model was /models/small, and is now /models/other"),
        ({"max_new_tokens": 9}, "max_new_tokens was 8, and is now 9"),
        ({"seed": 3}, "seed was not set, and is now 3"),
        (
            {"scenarios": {"path": "/data/scenarios.jsonl", "sha256": "b" * 64, "rows": 7}},
            f"scenarios.sha256 was {'a' * 64}, and is now {'b' * 64}",
        ),
        (
            {"devices": [CPU, EMULATED]},
            "devices was cpu (Some CPU), cuda (Some GPU), and is now cpu (Some CPU), mps (emulated MPS device, ",
        ),
        (
            {"versions": {**options(7)["versions"], "torch": "2.9.0"}},
            "versions.torch was 2.13.0, and is now 2.9.0",
        ),
    ],
)
def test_another_evaluation_is_not_gone_on_with(folder: Path, changes: dict[str, Any], cause: str) -> None:
    error = refusal(lambda: begin(folder, options(7, **changes), resume=True))
    assert error.code == "other-evaluation"
    assert error.message.startswith(f"{folder} has the results of another evaluation: {cause}")
    assert list(read_rows(folder)) == simple_rows(5)


def test_the_same_evaluation_may_come_from_elsewhere(folder: Path) -> None:
    moved = {**options(7)["scenarios"], "path": "/elsewhere.jsonl"}
    assert begin(folder, options(7, scenarios=moved, tool="0.2.0", patched="installed"), resume=True) == 4


def test_results_without_options(folder: Path) -> None:
    (folder / "options.json").unlink()
    error = refusal(lambda: begin(folder, options(7), resume=True))
    assert (error.code, error.hint) == ("results-damaged", "Start again in another folder.")


def test_two_evaluations_do_not_write_to_one_folder(folder: Path) -> None:
    with open_results(folder, resume=True, timeout=NOW):
        assert refusal(lambda: begin(folder, options(7), resume=True)).code == "locked"
    assert begin(folder, options(7), resume=True) == 4


def test_the_report_is_that_of_the_results(folder: Path) -> None:
    report = write_reports(folder)
    assert report["scenarios_done"] == 5
    assert json.loads((folder / "report.json").read_text()) == report
    reports = ["report.html", "report.json", "report.md"]
    assert sorted(path.name for path in folder.iterdir()) == ["options.json", *reports, "results.jsonl"]

"""docs/emulation.md, and the agreement that it documents."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scripts import emulation
from scripts.agreement import Compared, compare_lists, compare_reports
from scripts.emulation import UNEXPLAINED, list_differences, main, write_page
from scripts.mps_evidence import Listing, read_listings, read_opinfos, read_reasons


def test_the_page_is_what_would_be_written() -> None:
    assert main(["--check"]) == 0


def test_another_page_is_noticed_and_written_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "PAGE", tmp_path / "emulation.md")
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    (tmp_path / "emulation.md").write_text("another")
    assert main(["--check"]) == 1


def test_each_release_agrees_with_its_list() -> None:
    compared = compare_lists()
    for release in {one.release for one in read_listings()}:
        here = [one.agrees for one in compared if one.listing.release == release]
        listed = [one.agrees for one in compared if one.listing.release == release and one.listing.letter == "u"]
        assert sum(here) / len(here) > 0.95, release
        assert sum(listed) / len(listed) > 0.75, release
    assert sum(one.agrees for one in compared) / len(compared) > 0.97


def test_the_reports_agree() -> None:
    reports = compare_reports()
    assert len(reports) >= 40
    assert [report for report, agrees in reports if not agrees] == []
    assert len(set(reports)) == len(reports)


def test_each_report_is_a_thread_that_a_reader_can_open() -> None:
    thread = r"https://github\.com/[\w.-]+/[\w.-]+/(issues|pull)/\d+"
    assert [one.url for one, _ in compare_reports() if not re.fullmatch(thread, one.url)] == []


def test_every_difference_has_a_reason_and_every_reason_a_difference() -> None:
    differ = {one.listing.key for one in compare_lists() if not one.agrees}
    assert {key for reason in read_reasons() for key in reason.opinfos} == differ


def test_a_difference_without_a_reason_is_shown() -> None:
    new = Compared(Listing("new", "float32", "2.6", "."), ("isin.Tensor_Tensor_out",), False)
    assert f"| {UNEXPLAINED} | `new` 2.6 |" in list_differences([new])


def test_the_page_has_the_numbers() -> None:
    page = write_page()
    assert "| 2.14 | 32 of 35 | 632 of 633 | 99.4 % | 25 | the wheel |" in page
    assert "| `isin.Tensor_Tensor_out` | 2.0.1 | added in 2.4 |" in page


def test_every_listed_opinfo_has_samples() -> None:
    assert {one.key for one in read_listings()} == set(read_opinfos())

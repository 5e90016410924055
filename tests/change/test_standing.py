"""How RECORD and the files of ours stand: never as links, with no right too many, and RECORD as it was in the end."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patches import CATALOGUE

LONG_AGO = 1_000_000_000


@pytest.fixture
def it(env: Callable[..., Any]) -> Any:
    made = env()
    for path in (made.source, made.record):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return made


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_file_of_ours_has_the_rights_of_the_patched_one_but_for_those_to_run_as_its_owner(it: Any) -> None:
    it.source.chmod(0o4640)
    assert it.apply().error is None
    assert {mode(path) for path in it.ours.iterdir()} == {0o640}
    assert (it.ours / "state.json").stat().st_mtime != LONG_AGO


def test_a_back_up_has_the_time_of_the_file_that_it_holds(it: Any) -> None:
    assert it.apply().error is None
    (backup,) = it.ours.glob("*.orig")
    assert backup.stat().st_mtime == LONG_AGO


def test_a_state_file_has_another_time_when_it_has_another_content(env: Callable[..., Any]) -> None:
    it, state = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE), "state.json"
    it.each("apply", patches=CATALOGUE[:1], named=True)
    os.utime(it.ours / state, (LONG_AGO, LONG_AGO))
    it.each("apply", named=True)
    assert (it.ours / state).stat().st_mtime != LONG_AGO


def test_a_state_file_that_became_a_link_is_written_as_a_file(env: Callable[..., Any], tmp_path: Path) -> None:
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    it.each("apply", patches=CATALOGUE[:1], named=True)
    state = it.ours / "state.json"
    state.rename(tmp_path / "state.json")
    state.symlink_to(tmp_path / "state.json")
    assert [result.error for result in it.each("apply", named=True)] == [None, None]
    assert not state.is_symlink()


def test_of_a_linked_file_nothing_of_ours_is_a_link(it: Any, tmp_path: Path) -> None:
    shared = tmp_path / "shared.py"
    it.source.rename(shared)
    it.source.symlink_to(shared)
    assert it.apply().error is None
    assert not any(path.is_symlink() for path in (it.source, *it.ours.iterdir()))
    assert it.revert().error is None
    assert it.source.readlink() == shared


def test_record_has_another_time_when_it_has_another_content(it: Any) -> None:
    assert it.apply().error is None
    assert it.record.stat().st_mtime != LONG_AGO
    with it.record.open("ab") as file:
        file.write(b"theirs,,\n")
    os.utime(it.record, (LONG_AGO, LONG_AGO))
    assert it.revert().error is None
    assert it.record.stat().st_mtime != LONG_AGO
    assert it.record.read_bytes().endswith(b"theirs,,\n")


def test_record_gets_back_its_mode_and_its_time(it: Any) -> None:
    it.record.chmod(0o640)
    os.utime(it.record, (LONG_AGO, LONG_AGO))
    assert it.apply().error is None
    it.record.chmod(0o600)
    assert it.revert().error is None
    assert (mode(it.record), it.record.stat().st_mtime) == (0o640, LONG_AGO)


@pytest.mark.parametrize("changed", [False, True])
def test_record_is_the_link_again_that_it_was_if_that_leads_to_the_same(it: Any, tmp_path: Path, changed: bool) -> None:
    shared, original = tmp_path / "RECORD", it.record.read_bytes()
    it.record.rename(shared)
    it.record.symlink_to(shared)
    assert it.apply().error is None
    assert not it.record.is_symlink()
    if changed:
        shared.write_bytes(b"another's\n")
    assert it.revert().error is None
    assert it.record.is_symlink() != changed
    assert it.record.read_bytes() == original


def test_record_that_became_a_link_is_written_as_a_file(it: Any, tmp_path: Path) -> None:
    assert it.apply().error is None
    with it.record.open("ab") as file:
        file.write(b"theirs,,\n")
    it.record.rename(tmp_path / "RECORD")
    it.record.symlink_to(tmp_path / "RECORD")
    assert it.revert().error is None
    assert not it.record.is_symlink()
    assert b"mps-patcher" not in it.record.read_bytes()

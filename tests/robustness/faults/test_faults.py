"""A sample of what `make test-faults` does: real processes, killed or failed at the calls that they write with."""

from __future__ import annotations

import sys
from pathlib import Path

import fault_target
import faults
import power_loss
import pytest
import syscalls

pytestmark = pytest.mark.skipif(not syscalls.available(), reason="system calls cannot be held here")

FEWEST = 20
"""Fewer calls than this would mean that the harness sees no more what the tool does."""


@pytest.mark.parametrize("verb", fault_target.VERBS)
@pytest.mark.parametrize("patch", fault_target.RELEASES)
def test_a_process_that_is_killed_or_fails_loses_nothing(patch: str, verb: str) -> None:
    every = 31
    calls, befell = faults.share(patch, verb, every, whole=False)
    assert calls >= FEWEST
    assert befell.total() >= calls * 8 // every
    assert {"killed", "failed once", "failed for good"} <= befell.keys()


@pytest.mark.parametrize("verb", fault_target.VERBS)
def test_a_loss_of_power_loses_nothing(tmp_path: Path, verb: str) -> None:
    target = fault_target.unpack_release("isin_mps_friendly", tmp_path.resolve(), whole=False)
    target.prepare()
    prefixes, states = power_loss.replay(target, verb, every=2)
    assert prefixes > FEWEST
    assert states > prefixes // 2


def test_a_process_that_the_harness_does_not_understand_is_no_success(tmp_path: Path) -> None:
    with pytest.raises(syscalls.Unknown, match="link"):
        syscalls.intercept(script(tmp_path, "os.link(__import__('sys').executable, 'new')"), lambda *_: None)
    assert not (tmp_path / "new").exists()


def test_the_calls_of_a_process_are_seen_and_decided_upon(tmp_path: Path) -> None:
    command = script(tmp_path, "f = open('a', 'w'); f.write('text'); f.close(); os.rename('a', 'b'); os.unlink('b')")
    seen = syscalls.intercept(command, lambda *_: None)
    named = [(call.name, Path(call.path).name) for call in seen.calls]
    assert named == [("openat", "a"), ("write", "a"), ("rename", "a"), ("unlink", "b")]
    assert [call.data for call in seen.calls if call.data] == [b"text"]
    half = syscalls.intercept(command, lambda number, _: syscalls.Half() if number == 1 else None)
    assert (half.status, (tmp_path / "a").read_text()) == (-9, "te")
    failed = syscalls.intercept(command, lambda number, _: 28 if number == 2 else None)
    assert (failed.status, (tmp_path / "a").read_text()) == (1, "text")
    assert "No space left on device" in failed.err


def test_the_model_of_a_disk_loses_what_was_not_synced(tmp_path: Path) -> None:
    """A careless program: it writes a new file, and renames it into place without a sync."""
    (tmp_path / "a").write_text("old")
    command = script(
        tmp_path,
        "f = open('t', 'w'); f.write('new'); f.close(); os.rename('t', 'a')",
    )
    calls = syscalls.intercept(command, lambda *_: None).calls
    (tmp_path / "t").unlink(missing_ok=True)
    (tmp_path / "a").write_text("old")
    disk = power_loss.Disk(calls)
    for call in calls:
        disk.do(call)
    found = [content for state in disk.left() if (content := state[f"{tmp_path}/a"])]
    assert {content.data for content in found} == {b"old", b"", b"n", b"new"}


def test_in_the_model_a_move_between_folders_may_be_there_in_one_of_them_alone(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "a").write_text("the only copy")
    calls = syscalls.intercept(script(tmp_path, "os.rename('a', 'there/a')"), lambda *_: None).calls
    (tmp_path / "there" / "a").rename(tmp_path / "a")
    disk = power_loss.Disk(calls)
    for call in calls:
        disk.do(call)
    found = {tuple(state.get(f"{tmp_path}/{name}") is not None for name in ("a", "there/a")) for state in disk.left()}
    assert found == {(True, False), (True, True), (False, True), (False, False)}


def script(folder: Path, *lines: str) -> list[str]:
    return [sys.executable, "-ISBc", "\n".join(("import os", f"os.chdir({str(folder)!r})", *lines))]

"""apply --no-backup: the sources change and nothing else, as a small layer of an image asks for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from patcher.change import plan
from patcher.model import State
from patches import CATALOGUE


@pytest.fixture
def several(env: Callable[..., Any], shortened: Callable[..., Any]) -> Any:
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    return it


def changed(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def test_only_the_source_changes_and_old_bytecode_goes(env: Callable[..., Any]) -> None:
    it = env()
    cache = it.source.parent / "__pycache__"
    cache.mkdir()
    (cache / "pytorch_utils.cpython-311.pyc").write_bytes(b"old")
    before = it.snapshot()
    applied = it.apply(backup=False)
    assert (applied.error, applied.state, applied.changed) == (None, State.PATCHED, True)
    assert "no back-up is kept: revert cannot undo it. RECORD stays as it is." in applied.note
    gone = "transformers/__pycache__/pytorch_utils.cpython-311.pyc"
    assert changed(before, it.snapshot()) == {"transformers/pytorch_utils.py", gone}
    assert it.source.read_bytes() == patched(env)


def patched(env: Callable[..., Any]) -> bytes:
    other = env()
    other.apply()
    data: bytes = other.source.read_bytes()
    return data


@pytest.mark.parametrize("backup", [False, True])
def test_on_what_is_patched_it_does_nothing(env: Callable[..., Any], backup: bool) -> None:
    it = env()
    assert it.apply(backup=backup).changed
    before = it.snapshot()
    for again in (False, True):
        result = it.apply(backup=again)
        assert (result.error, result.state, result.changed) == (None, State.PATCHED, False)
    assert it.snapshot() == before


def test_it_cannot_be_taken_back_and_status_says_so(env: Callable[..., Any]) -> None:
    it = env()
    it.apply(backup=False)
    before = it.snapshot()
    assert it.status().state is State.PATCHED
    assert "revert cannot undo it" in it.status().note
    refused = it.revert()
    assert refused.error.code == "no-backup"
    assert it.snapshot() == before


def test_of_several_files_too(several: Any) -> None:
    before = several.snapshot()
    results = several.each("apply", named=False, backup=False)
    assert [(result.error, result.state) for result in results] == [(None, State.PATCHED)] * 2
    assert all(path.endswith(".py") for path in changed(before, several.snapshot()))
    assert [result.state for result in several.each("status")] == [State.PATCHED] * 2
    assert [result.changed for result in several.each("apply", named=False, backup=False)] == [False, False]


@pytest.mark.parametrize("named", [False, True])
def test_what_came_along_for_what_is_refused_goes_again(several: Any, named: bool) -> None:
    caller = several.target.site_packages / "transformers/generation/utils.py"
    caller.write_text(f"{caller.read_text()}\nisin = torch.isin\n")
    before = several.snapshot()
    asked = {"patches": CATALOGUE[1:], "catalogue": CATALOGUE} if named else {}
    isin, direct = several.each("apply", named=named, backup=False, **asked)
    assert (isin.error, isin.changed, direct.error.code) == (None, False, "unknown-call")
    assert "Put back as it was" in isin.note
    assert several.snapshot() == before


def test_what_was_asked_for_by_itself_stays_without_the_other(several: Any) -> None:
    caller = several.target.site_packages / "transformers/generation/utils.py"
    caller.write_text(f"{caller.read_text()}\nisin = torch.isin\n")
    isin, direct = several.each("apply", named=True, backup=False)
    assert (isin.error, isin.state, direct.error.code) == (None, State.PATCHED, "unknown-call")


def test_what_was_edited_in_the_midst_is_not_put_back(several: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = several.target.site_packages / "transformers/generation/utils.py"
    caller.write_text(f"{caller.read_text()}\nisin = torch.isin\n")
    real = plan.to_apply

    def planned(place: Any, scene: Any, **options: Any) -> Any:
        if scene.patch == CATALOGUE[1]:
            with several.source.open("ab") as file:
                file.write(b"# edited\n")
        return real(place, scene, **options)

    monkeypatch.setattr("patcher.change.operations.to_apply", planned)
    isin, direct = several.each("apply", named=False, backup=False)
    assert (isin.error.code, direct.error.code) == ("target-changed", "unknown-call")
    assert several.source.read_bytes().endswith(b"# edited\n")


def test_a_back_up_that_is_there_is_kept_and_goes_on(several: Any) -> None:
    before = several.snapshot()
    several.each("apply", patches=CATALOGUE[:1], named=True)
    results = several.each("apply", named=True, backup=False)
    assert [result.error for result in results] == [None, None]
    assert "the back-ups hold the files" in results[1].note
    assert [result.error for result in several.each("revert")] == [None, None]
    assert several.snapshot() == before


def test_nothing_is_told_of_a_record_that_is_not_there(env: Callable[..., Any]) -> None:
    it = env()
    it.record.unlink()
    assert "RECORD" not in it.apply(backup=False).note


def test_every_cut_is_repaired_by_the_next_apply(several: Any, cut_at: Callable[..., bool]) -> None:
    original = several.snapshot()
    sources = {path: several.target.site_packages / path for path in original if path.endswith(".py")}
    bytes_before = {path: file.read_bytes() for path, file in sources.items()}
    points = 0
    while cut_at(lambda: several.each("apply", named=False, backup=False), points + 1):
        points += 1
        for path, file in sources.items():
            compile(file.read_bytes(), path, "exec")
        results = several.each("apply", named=False, backup=False)
        assert [(result.error, result.state) for result in results] == [(None, State.PATCHED)] * 2, points
        assert all(path.endswith(".py") for path in changed(original, several.snapshot())), points
        for path, file in sources.items():
            file.write_bytes(bytes_before[path])
    assert points > 10


def test_every_fault_leaves_all_files_as_they_were(several: Any, failing_at: Callable[..., Any], fault: int) -> None:
    """Without a ledger what was is known to the process alone."""
    before = several.snapshot()
    sources = {path: several.target.site_packages / path for path in before if path.endswith(".py")}
    kept = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in sources.values()}
    points = refused = 0
    while True:
        with failing_at(points + 1, fault) as calls:
            results = several.each("apply", named=False, backup=False)
        if len(calls) <= points:
            break
        points += 1
        if any(result.error for result in results):
            refused += 1
            assert several.snapshot() == before, (points, calls[-1], results)
        for file, (data, when) in kept.items():
            if file.read_bytes() != data:
                file.write_bytes(data)
            os.utime(file, ns=(when, when))
    assert refused > 10

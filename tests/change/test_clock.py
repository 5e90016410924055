"""SOURCE_DATE_EPOCH: the same bytes and times whenever it is built, and nothing later than it says."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from snapshots import timeless

from patcher.change import clock
from patcher.errors import PatcherError
from patcher.model import State

EPOCH = 1_500_000_000


@pytest.fixture
def fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(clock.NAME, str(EPOCH))


def times(folder: Path) -> dict[str, int]:
    """Of every file and folder below, in seconds."""
    return {str(path.relative_to(folder)): int(path.lstat().st_mtime) for path in (folder, *folder.rglob("*"))}


@pytest.mark.parametrize("text", ["-1", "1.5", "now", "0x10", " 1", "1\n", "9223372037", "99999999999", "\u0661"])
def test_what_is_no_number_of_seconds_is_refused(text: str) -> None:
    with pytest.raises(PatcherError, match=r"SOURCE_DATE_EPOCH is .* no number of seconds") as caught:
        clock.source_date_epoch({clock.NAME: text})
    assert caught.value.code == "bad-epoch"


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("1500000000", EPOCH), ("9223372036", 9223372036), ("", None)])
def test_seconds_are_told_in_nanoseconds(text: str, seconds: int | None) -> None:
    assert clock.source_date_epoch({clock.NAME: text}) == (seconds if seconds is None else seconds * 10**9)
    assert clock.source_date_epoch({}) is None


def test_only_what_writes_needs_it_to_be_right(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    it = env()
    before = it.snapshot()
    monkeypatch.setenv(clock.NAME, "tomorrow")
    assert it.status().error is None
    for command in (it.apply, it.revert):
        assert command().error.code == "bad-epoch"
    assert it.snapshot() == before


@pytest.mark.usefixtures("fixed")
def test_nothing_that_is_written_is_later(env: Callable[..., Any]) -> None:
    it = env()
    cache = it.source.parent / "__pycache__"
    cache.mkdir()
    (cache / "pytorch_utils.cpython-311.pyc").write_bytes(b"old")
    site = it.target.site_packages
    before = times(site)
    assert it.apply().error is None
    after = times(site)
    changed = {path for path, when in after.items() if when != before.get(path)}
    assert changed >= {str(path.relative_to(site)) for path in (it.source, it.record, it.ours, it.source.parent, cache)}
    assert {after[path] for path in changed} == {EPOCH}
    assert {path for path in after if path not in changed} <= before.keys()


@pytest.mark.usefixtures("fixed")
def test_nor_is_a_folder_of_bytecode_apart_from_its_source(env: Callable[..., Any], tmp_path: Path) -> None:
    it, prefix = env(), tmp_path / "prefix"
    it = replace(it, target=replace(it.target, pycache_prefix=prefix))
    cache = prefix / it.source.parent.relative_to("/")
    cache.mkdir(parents=True)
    (cache / "pytorch_utils.cpython-311.pyc").write_bytes(b"old")
    assert it.apply().error is None
    assert (list(cache.iterdir()), int(cache.stat().st_mtime)) == ([], EPOCH)


@pytest.mark.usefixtures("fixed")
def test_nor_is_a_source_that_keeps_its_size(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing fixes the time it gets a new one, by which Python tells stale bytecode."""
    it = env()
    os.utime(it.source, (EPOCH - 10, EPOCH - 10))
    monkeypatch.setattr("patcher.change.plan.edit", lambda source, *_, **__: source[:-1] + b" ")
    monkeypatch.setattr("patcher.change.transaction._proven", lambda _place, scene, _wanted: scene)
    assert it.apply().error is None
    assert int(it.source.stat().st_mtime) == EPOCH


@pytest.mark.usefixtures("fixed")
def test_nor_is_a_copy_that_is_kept(env: Callable[..., Any]) -> None:
    it = env()
    it.apply()
    it.source.write_bytes(it.source.read_bytes().replace(b"isin_mps_friendly", b"isin_mps_friendly_", 1))
    assert it.revert(force=True).error is None
    (kept,) = it.source.parent.glob("*.kept-*")
    assert int(kept.stat().st_mtime) == EPOCH


@pytest.mark.usefixtures("fixed")
def test_two_builds_at_two_times_are_the_same(env: Callable[..., Any]) -> None:
    results = []
    for when in (1_600_000_000, 1_700_000_000):
        it = env()
        for path in (it.source, it.record):
            os.utime(path, (when, when))
        assert it.apply().error is None
        site = it.target.site_packages
        written = [it.source, it.record, *sorted(it.ours.iterdir())]
        results.append({str(path.relative_to(site)): (path.read_bytes(), path.stat().st_mtime_ns) for path in written})
    assert results[0] == results[1]
    assert b"1600000000" not in b"".join(data for data, _ in results[0].values())


@pytest.mark.usefixtures("fixed")
def test_what_is_older_keeps_its_time(env: Callable[..., Any]) -> None:
    it = env()
    old = EPOCH - 1000
    for path in (it.source, it.record):
        os.utime(path, (old, old))
    before = timeless(it.snapshot())
    assert it.apply().error is None
    assert [int(path.stat().st_mtime) for path in (it.source, it.record)] == [EPOCH, EPOCH]
    assert it.revert().error is None
    assert timeless(it.snapshot()) == before
    assert [int(path.stat().st_mtime) for path in (it.source, it.record)] == [old, old]


@pytest.mark.usefixtures("fixed")
def test_a_failure_puts_back_the_times_that_were(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    it = env()
    before = it.snapshot()
    monkeypatch.setattr("patcher.change.transaction._proven", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        it.apply()
    assert it.snapshot() == before
    assert it.status().state is State.UNPATCHED

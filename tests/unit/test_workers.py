"""Work that is spread over processes: order, errors, and that no process stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from patcher.errors import CannotTell, PatcherError
from patcher.workers import FEW, each


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


def children() -> list[str]:
    """The processes that this one has started, and not waited for."""
    command = ["ps", "-o", "pid=,stat=,comm=", "--ppid", str(os.getpid())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if not line.endswith(" ps")]


def test_many_are_worked_on_by_as_many_processes_as_there_are_processors() -> None:
    before = children()
    found = list(each(lambda number: (number, os.getpid()), range(20)))
    assert [number for number, _ in found] == list(range(20))
    pids = {pid for _, pid in found}
    assert (len(pids), os.getpid() in pids) == (2, False)
    assert children() == before


def test_few_are_worked_on_here() -> None:
    assert {*each(lambda _: os.getpid(), range(FEW))} == {os.getpid()}


def test_as_root_on_macos_one_process_does_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert {*each(lambda _: os.getpid(), range(20))} == {os.getpid()}


def test_an_error_comes_through_whole_and_ends_it() -> None:
    before = children()

    def work(number: int) -> int:
        if number == 12:
            raise CannotTell("no-torch", "There is none.", "Install it.")
        return number

    found: list[int] = []
    with pytest.raises(CannotTell) as raised:
        found += each(work, range(20))
    error = raised.value
    assert (error.code, error.message, error.hint, error.exit_code) == ("no-torch", "There is none.", "Install it.", 3)
    assert children() == before


def test_a_process_that_is_killed_is_an_error() -> None:
    def work(number: int) -> int:
        if number == 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    with pytest.raises(PatcherError) as raised:
        list(each(work, range(20)))
    assert raised.value.code == "worker-ended"


def test_where_it_ends_early_each_process_cleans_up_first(tmp_path: Path) -> None:
    before = children()

    def work(number: int) -> int:
        if number < 2:
            return number
        try:
            (tmp_path / f"began-{number}").touch()
            time.sleep(600)
        except KeyboardInterrupt:
            time.sleep(0.2)
            (tmp_path / f"cleaned-{number}").touch()
            raise
        return number

    iteration = each(work, range(20))
    assert next(iteration) == 0
    end = time.monotonic() + 30
    while not list(tmp_path.glob("began-*")):
        assert time.monotonic() < end
        time.sleep(0.01)
    iteration.close()
    assert len(list(tmp_path.glob("cleaned-*"))) == len(list(tmp_path.glob("began-*"))) > 0
    assert children() == before


def test_one_that_is_interrupted_and_refuses_ends_all_the_same(tmp_path: Path) -> None:
    """As where putting a target back failed: that is an error, and no interruption any more."""

    def work(number: int) -> int:
        if number < 2:
            return number
        try:
            time.sleep(600)
        except KeyboardInterrupt:
            raise PatcherError("put-back-failed", "It failed.", "Run it again.") from None
        return number

    iteration = each(work, range(20))
    assert next(iteration) == 0
    time.sleep(0.3)
    iteration.close()
    assert list(tmp_path.iterdir()) == []

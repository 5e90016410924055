"""Work in parts: all of it is done, by whatever process, and none stays behind."""

from __future__ import annotations

import marshal
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from patcher.forks import MANY, in_parts

ITEMS = range(MANY)
KILLED = """
import os, signal, time
from patcher.forks import MANY, in_parts
os.cpu_count, parent = lambda: 3, os.getpid()

def work(part):
    if os.getpid() == parent:
        time.sleep(0.5)  # by then the forks wait for a reader
        os.kill(parent, signal.SIGKILL)
    return [os.urandom(10_000) for _ in part]

in_parts(work, range(MANY))
"""


@pytest.fixture(autouse=True)
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 3)


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The forks of a test, in which every one of them ends."""
    pids: list[int] = []
    fork = os.fork

    def counted() -> int:
        pids.append(pid := fork())
        return pid

    monkeypatch.setattr(os, "fork", counted)
    return pids


@pytest.fixture(autouse=True)
def none_is_left(started: list[int]) -> Iterator[None]:
    yield
    for pid in started:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def by_process(part: Sequence[int]) -> tuple[int, list[int]]:
    return os.getpid(), list(part)


def test_many_items_are_shared_out_and_one_part_is_done_here(started: list[int]) -> None:
    (here, _), *others = found = in_parts(by_process, ITEMS)
    assert here == os.getpid()
    assert [pid for pid, _ in others] == started
    assert len(started) == 2
    assert sorted(item for _, part in found for item in part) == list(ITEMS)
    assert {len(part) for _, part in found} == {MANY // 3, MANY // 3 + 1}


def test_few_items_are_done_here(started: list[int]) -> None:
    assert in_parts(by_process, ITEMS[:-1]) == [(os.getpid(), list(ITEMS[:-1]))]
    assert started == []


@pytest.mark.parametrize("end", ["raises", "is interrupted", "is killed", "returns no plain value"])
def test_what_a_fork_does_not_deliver_is_done_here(end: str, capfd: pytest.CaptureFixture[str]) -> None:
    parent = os.getpid()

    def work(part: Sequence[int]) -> Any:
        if os.getpid() == parent:
            return list(part)
        if end == "raises":
            raise ValueError("in a fork")
        if end != "returns no plain value":
            os.kill(os.getpid(), signal.SIGKILL if end == "is killed" else signal.SIGINT)
        return object()

    assert sorted(item for part in in_parts(work, ITEMS) for item in part) == list(ITEMS)
    assert capfd.readouterr() == ("", "")


def test_half_an_answer_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    loads = marshal.loads
    monkeypatch.setattr(marshal, "loads", lambda data: loads(data[:-1]))
    assert {pid for pid, _ in in_parts(by_process, ITEMS)} == {os.getpid()}


def test_where_the_system_refuses_a_fork_all_is_done_here(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise BlockingIOError("too many processes")

    monkeypatch.setattr(os, "fork", refuse)
    found = in_parts(by_process, ITEMS)
    assert [pid for pid, _ in found] == [os.getpid()] * 3
    assert sorted(item for _, part in found for item in part) == list(ITEMS)


def test_more_comes_through_than_a_pipe_holds() -> None:
    found = in_parts(lambda part: [bytes([item % 256]) * 10_000 for item in part], ITEMS)
    assert sorted(data[0] for part in found for data in part) == sorted(item % 256 for item in ITEMS)


def test_an_error_here_ends_the_forks_at_once() -> None:
    parent, began = os.getpid(), time.monotonic()

    def work(_part: Sequence[int]) -> None:
        if os.getpid() != parent:
            time.sleep(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_parts(work, ITEMS)
    assert time.monotonic() - began < 30


def test_forks_end_where_their_parent_was_killed() -> None:
    process = subprocess.Popen([sys.executable, "-c", KILLED], start_new_session=True)
    assert process.wait(60) == -signal.SIGKILL
    end = time.monotonic() + 60
    while is_there(process.pid):
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_caller_may_ignore_the_end_of_its_children() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert sorted(item for _, part in in_parts(by_process, ITEMS) for item in part) == list(ITEMS)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_signals_are_taken_here_as_before() -> None:
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        in_parts(by_process, ITEMS)
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask | {signal.SIGINT}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

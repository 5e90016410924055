"""The lock: one alone or several looking; it waits, gives up, and ends with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from patcher.change.folder import Folder
from patcher.change.lock import Patience, lock
from patcher.errors import PatcherError

ROOT = Path(__file__).resolve().parents[2]
AT_ONCE = Patience(seconds=0)


def taken(path: Path, *, alone: bool, seconds: float = 0) -> bool:
    """Whether another holder may have it now."""
    code = None
    try:
        with Folder(path) as folder, lock(folder, alone=alone, patience=Patience(seconds=seconds)):
            pass
    except PatcherError as error:
        code = error.code
    assert code in (None, "locked")
    return code is None


def test_who_may_be_there_together(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        with lock(folder, alone=True, patience=AT_ONCE):
            assert not taken(tmp_path, alone=True)
            assert not taken(tmp_path, alone=False)
        with lock(folder, alone=False, patience=AT_ONCE):
            assert taken(tmp_path, alone=False)
            assert not taken(tmp_path, alone=True)
        assert taken(tmp_path, alone=True)
    assert list(tmp_path.iterdir()) == []


def test_it_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder, lock(folder, alone=True, patience=AT_ONCE):
        began = time.monotonic()
        assert not taken(tmp_path, alone=True, seconds=0.2)
        assert 0.2 <= time.monotonic() - began < 5


@pytest.fixture
def held(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock alone, and has started a child that inherits all that can be inherited."""
    script = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "from patcher.change.folder import Folder\nfrom patcher.change.lock import PATIENT, lock\n"
        "with Folder(Path(sys.argv[1])) as folder, lock(folder, alone=True, patience=PATIENT):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)\n"
        "    print(child.pid, flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as holder:
        assert holder.stdout
        child = int(holder.stdout.readline())
        try:
            yield holder
        finally:
            os.kill(child, signal.SIGKILL)  # it must be there until now
            holder.kill()


def test_a_dead_holder_does_not_block_even_if_its_child_lives(held: subprocess.Popen[str], tmp_path: Path) -> None:
    assert not taken(tmp_path, alone=False)
    held.send_signal(signal.SIGSTOP)
    assert not taken(tmp_path, alone=False, seconds=0.1)
    held.kill()
    held.wait()
    assert taken(tmp_path, alone=True)


def waited(folder: Path, *, seconds: float) -> tuple[list[str], str]:
    """What was said while the lock of another was waited for, and in the end."""
    said: list[str] = []
    patience = Patience(seconds=seconds, told=said.append)
    with Folder(folder) as it, pytest.raises(PatcherError) as caught, lock(it, alone=True, patience=patience):
        pass
    assert caught.value.code == "locked"
    return said, caught.value.message


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="this system does not tell who holds a lock")
def test_who_is_waited_for_is_told_once(held: subprocess.Popen[str], tmp_path: Path) -> None:
    who = f"another mps-patcher (process {held.pid})"
    assert waited(tmp_path, seconds=0.2) == (
        [f"Waiting for {who} to finish with {tmp_path}, for at most 0.2 s."],
        f"{tmp_path} is in use by {who}.",
    )


def test_who_does_not_wait_says_nothing_of_it(held: subprocess.Popen[str], tmp_path: Path) -> None:
    assert held.poll() is None
    said, message = waited(tmp_path, seconds=0)
    assert said == []
    assert str(tmp_path) in message


@pytest.mark.parametrize(
    "locks", [None, "", "1: FLOCK\n", "1: FLOCK ADVISORY WRITE 1\n", "1: FLOCK  ADVISORY  WRITE 0 {at} 0 EOF\n"]
)
def test_where_the_system_does_not_tell_no_process_is_named(
    held: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, locks: str | None
) -> None:
    assert held.poll() is None
    here = tmp_path.stat()
    listed = tmp_path / "locks"
    if locks is not None:
        listed.write_text(locks.format(at=f"{os.major(here.st_dev):02x}:{os.minor(here.st_dev):02x}:{here.st_ino}"))
    monkeypatch.setattr("patcher.change.lock._LOCKS", listed)
    assert waited(tmp_path, seconds=0) == ([], f"{tmp_path} is in use by another mps-patcher.")


def test_those_who_only_look_keep_nobody_out_for_ever(tmp_path: Path) -> None:
    """Two take turns so that there is always one of them; who wants to be alone has its turn all the same."""
    over = Event()

    def look(delay: float) -> None:
        time.sleep(delay)
        while not over.is_set():
            with Folder(tmp_path) as folder, lock(folder, alone=False, patience=Patience(seconds=20)):
                over.wait(0.2)

    with ThreadPoolExecutor() as pool:
        looking = [pool.submit(look, delay) for delay in (0, 0.1)]
        time.sleep(0.3)
        try:
            assert taken(tmp_path, alone=True, seconds=3)
        finally:
            over.set()
        for one in looking:
            one.result()


def test_one_that_is_stopped_in_the_line_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patcher.change.lock._LONG", 0.3)
    folder = tmp_path / "info"
    folder.mkdir()
    line = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(line, fcntl.LOCK_EX)
    began = time.monotonic()
    assert taken(folder, alone=True)  # who does not wait stands in no line
    assert time.monotonic() - began < 0.3
    assert not taken(folder, alone=True, seconds=0.1)
    assert taken(folder, alone=True, seconds=5)
    os.close(line)


def test_where_no_line_can_be_formed_it_is_taken_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, *arguments: Any, **options: Any) -> int:
        if path == "..":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert taken(tmp_path, alone=True, seconds=1)


def test_it_is_given_up_on_an_error(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        with pytest.raises(KeyboardInterrupt), lock(folder, alone=True, patience=AT_ONCE):
            raise KeyboardInterrupt
        assert taken(tmp_path, alone=True)


@pytest.mark.parametrize("again", [True, False])
def test_a_folder_that_was_replaced_is_not_the_one_that_is_locked(tmp_path: Path, again: bool) -> None:
    path = tmp_path / "info"
    path.mkdir()
    with Folder(path) as folder:
        shutil.move(path, tmp_path / "old")
        if again:
            path.mkdir()
        with pytest.raises(PatcherError) as caught, lock(folder, alone=True, patience=AT_ONCE):
            pass
    assert caught.value.code == "target-changed"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_without_locks_one_may_look_but_not_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def none(_: int, kind: int) -> None:
        if kind != fcntl.LOCK_UN:
            raise OSError(number, "No locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    with Folder(tmp_path) as folder:
        with lock(folder, alone=False, patience=AT_ONCE):
            pass
        with pytest.raises(PatcherError) as caught, lock(folder, alone=True, patience=AT_ONCE):
            pass
    assert caught.value.code == "no-lock"


def test_another_failure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.EIO, "I/O error")

    monkeypatch.setattr(fcntl, "flock", fail)
    with Folder(tmp_path) as folder, pytest.raises(PatcherError) as caught, lock(folder, alone=False, patience=AT_ONCE):
        pass
    assert caught.value.code == "io-error"

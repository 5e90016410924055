"""The lock: one that writes or several that read; it waits, gives up, and ends with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.storage.lock import LockTimeout, locked

ROOT = Path(__file__).resolve().parents[3]


def lock(folder: Path, *, exclusive: bool, seconds: float = 0) -> AbstractContextManager[None]:
    return locked(folder, exclusive=exclusive, timeout=LockTimeout(seconds=seconds))


def is_free(folder: Path, *, exclusive: bool, seconds: float = 0) -> bool:
    """Whether another may have it now."""
    try:
        with lock(folder, exclusive=exclusive, seconds=seconds):
            return True
    except PatcherError as error:
        if error.code != "locked":
            raise
        return False


def refusal(folder: Path, *, exclusive: bool) -> str:
    with pytest.raises(PatcherError) as caught, lock(folder, exclusive=exclusive):
        pass
    return caught.value.code


def test_who_may_be_there_together(tmp_path: Path) -> None:
    with lock(tmp_path, exclusive=True):
        assert not is_free(tmp_path, exclusive=True)
        assert not is_free(tmp_path, exclusive=False)
    with lock(tmp_path, exclusive=False):
        assert is_free(tmp_path, exclusive=False)
        assert not is_free(tmp_path, exclusive=True)
    assert is_free(tmp_path, exclusive=True)
    assert list(tmp_path.iterdir()) == []


def test_it_waits_as_long_as_it_is_told_and_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    timeout, began = LockTimeout(seconds=0.2, notify=said.append), time.monotonic()
    waiting = locked(tmp_path, exclusive=False, timeout=timeout)
    with lock(tmp_path, exclusive=True), pytest.raises(PatcherError) as caught, waiting:
        pass
    assert 0.2 <= time.monotonic() - began < 5
    assert said == [f"Waiting for another mps-patcher to finish with {tmp_path}, at most 0.2 s."]
    assert (caught.value.code, caught.value.message) == ("locked", f"{tmp_path} is being used by another mps-patcher.")


def test_who_does_not_wait_says_nothing_of_it(tmp_path: Path) -> None:
    said: list[str] = []
    hasty = locked(tmp_path, exclusive=True, timeout=LockTimeout(seconds=0, notify=said.append))
    with lock(tmp_path, exclusive=True), pytest.raises(PatcherError), hasty:
        pass
    with locked(tmp_path, exclusive=True, timeout=LockTimeout(notify=said.append)):
        pass
    assert said == []


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock, and has started a child that inherits all that can be inherited."""
    script = (
        "import subprocess, sys, time\nfrom pathlib import Path\n"
        "from patcher.storage.lock import LockTimeout, locked\n"
        "with locked(Path(sys.argv[1]), exclusive=True, timeout=LockTimeout()):\n"
        "    child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'], close_fds=False)\n"
        "    print(child.pid, flush=True)\n    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout
        child = int(process.stdout.readline())
        try:
            yield process
        finally:
            os.kill(child, signal.SIGKILL)  # it must be there until now
            process.kill()


def test_a_dead_holder_does_not_block_even_if_its_child_lives(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    assert not is_free(tmp_path, exclusive=False)
    holder.send_signal(signal.SIGSTOP)
    assert not is_free(tmp_path, exclusive=False, seconds=0.1)
    holder.kill()
    holder.wait()
    assert is_free(tmp_path, exclusive=True)


def test_it_is_given_up_on_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lock(tmp_path, exclusive=True):
        raise KeyboardInterrupt
    assert is_free(tmp_path, exclusive=True)


@pytest.mark.parametrize("again", [True, False])
def test_a_folder_that_was_replaced_meanwhile_is_not_the_one_that_is_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    folder, real = tmp_path / "info", fcntl.flock
    folder.mkdir()

    def flock(fd: int, kind: int) -> None:
        folder.rename(tmp_path / "old")
        if again:
            folder.mkdir()
        real(fd, kind)

    monkeypatch.setattr(fcntl, "flock", flock)
    assert refusal(folder, exclusive=True) == "target-changed"


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "info").symlink_to(tmp_path)
    assert refusal(tmp_path / "info", exclusive=False) == "linked-folder"


@pytest.mark.parametrize(
    ("number", "exclusive", "code"),
    [
        (errno.ENOLCK, True, "no-lock"),
        (errno.EOPNOTSUPP, True, "no-lock"),
        (errno.EBADF, True, "no-lock"),
        (errno.ENOLCK, False, None),
        (errno.EBADF, False, None),
        (errno.EIO, False, "io-error"),
        (errno.EIO, True, "io-error"),
    ],
)
def test_without_locks_one_may_read_but_not_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, exclusive: bool, code: str | None
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    if code is None:
        assert is_free(tmp_path, exclusive=exclusive)
    else:
        assert refusal(tmp_path, exclusive=exclusive) == code

"""What runs in the target's interpreter: how it ends is told in words, and it is given nothing but what it needs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patcher import guest

CACHE = Path("/nowhere/cache")
GIVEN = {
    "HF_HOME": str(CACHE),
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "USE_TF": "0",
    "USE_FLAX": "0",
}


def run(code: str, errors: Path, timeout: float = 30) -> str | None:
    """How that code ended; what it printed to standard error is in the file."""
    with errors.open("wb") as stream:
        return guest.run([sys.executable, "-I", "-c", code], stream.fileno(), timeout, CACHE)


@contextmanager
def standing_for(fd: int, other: int) -> Iterator[None]:
    before = os.dup(fd)
    os.dup2(other, fd)
    try:
        yield
    finally:
        os.dup2(before, fd)
        os.close(before)


@pytest.mark.parametrize(
    ("code", "how"),
    [
        ("pass", None),
        ("raise SystemExit(7)", "the interpreter ended with status 7"),
        ("import os; os.abort()", "the interpreter was killed by SIGABRT"),
        ("import os; os.kill(os.getpid(), 9)", "the interpreter was killed by SIGKILL"),
    ],
)
def test_how_it_ended(code: str, how: str | None, tmp_path: Path) -> None:
    assert run(code, tmp_path / "errors") == how


def test_it_is_given_up_in_time(tmp_path: Path) -> None:
    began = time.monotonic()
    assert run("import time; time.sleep(30)", tmp_path / "errors", 0.5) == "it was not done after 0.5 s"
    assert time.monotonic() - began < 15


def test_no_interpreter(tmp_path: Path) -> None:
    assert (
        guest.run([str(tmp_path / "gone")], 2, 1, CACHE)
        == "the interpreter cannot be started: No such file or directory"
    )


def test_it_reads_nothing_of_ours_and_only_its_errors_are_kept(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"ours")
    os.close(theirs)
    out = (tmp_path / "out").open("wb")
    with standing_for(0, ours), standing_for(1, out.fileno()):
        how = run(
            "import sys; print('out'); print(sys.stdin.read() or 'nothing', file=sys.stderr)", tmp_path / "errors"
        )
    os.close(ours)
    out.close()
    assert (how, (tmp_path / "errors").read_text(), (tmp_path / "out").read_text()) == (None, "nothing\n", "")


def test_its_environment_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    code = "import os; raise SystemExit('SOME_TOKEN' in os.environ or os.environ['HF_HUB_OFFLINE'] != '1')"
    assert run(code, tmp_path / "errors") is None


def test_macos_does_not_let_the_dead_be_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(group: int, number: int) -> None:
        raise PermissionError(1, f"{group} {number}")

    monkeypatch.setattr(os, "killpg", refuse)
    assert run("pass", tmp_path / "errors") is None


def test_what_it_needs() -> None:
    needed = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "PYTORCH_MPS_LOW_WATERMARK_RATIO": "0",
    }
    others = {"HF_TOKEN": "t", "PYTORCH_ENABLE_MPS_FALLBACK": "1", "path": "/", "LC": "x", "MY_LC_": "x"}
    for mine in ({}, dict.fromkeys(GIVEN, "mine")):  # nothing is fetched, whatever the user has set
        assert guest.environment({**needed, **others, **mine}, CACHE) == {**needed, **GIVEN}
    assert guest.environment({}, CACHE) == GIVEN  # where nothing is set, nothing is missed

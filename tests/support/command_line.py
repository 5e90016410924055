"""Command lines of the tool: in this process, as a process of its own, and at a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from documents import read_document

from patcher import cli

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("status", "apply", "verify", "revert")
PATCH = "isin_mps_friendly"
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background of a script
    "from patcher.__main__ import main; main()"
)


def run(*arguments: object, **environment: str) -> Result:
    """One command line in this process."""
    runner = CliRunner(env=environment)
    return runner.invoke(cli.program, [str(argument) for argument in arguments], prog_name="mps-patcher")


def command(*arguments: object) -> list[str]:
    """One command line as a process of its own, which Ctrl-C reaches wherever the tests run."""
    return [sys.executable, "-c", MAIN, *map(str, arguments)]


def environ(**extra: str) -> dict[str, str]:
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {**base, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **extra}


def start(*arguments: object, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """What such a process says."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environ(**extra), check=False
    )


def read(result: Result) -> dict[str, Any]:
    """The one JSON document that is all of standard output."""
    told = read_document(result.stdout)
    assert told["ok"] == (result.exit_code == 0)
    return told


def two_lines(stderr: str) -> tuple[str, str]:
    """The cause and the hint that are all of standard error."""
    cause, hint = stderr.splitlines()
    assert (cause[:7], hint[:6]) == ("error: ", "hint: ")
    return cause[7:], hint[6:]


def patched_file(site_packages: Path) -> Path:
    return site_packages / "transformers" / "pytorch_utils.py"


def edit(site_packages: Path) -> None:
    """Gives the function a body that nobody knows."""
    file = patched_file(site_packages)
    file.write_bytes(file.read_bytes().replace(b"return torch.isin(elements, test_elements)", b"return None"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def on_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What a command writes to a terminal, both streams."""
    ours, theirs = os.openpty()
    with subprocess.Popen(command(*arguments), stdout=theirs, stderr=theirs, env=environ(**environment)):
        os.close(theirs)
        told = bytearray()
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # what Linux says at the end
                part = b""
            if not part:
                break
            told += part
    os.close(ours)
    return told.decode()


class Popen(subprocess.Popen[str]):
    """A command that is sent signals."""

    def __init__(self, *arguments: object, stderr: Any = subprocess.PIPE) -> None:
        super().__init__(command(*arguments), stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ())


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns once it holds; fails where it does not within a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

"""A session of mps-patcher in a real terminal of 80 columns, in a project with the versions of the first bug report."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from torch_env import throwaway

COMMANDS = ("mps-patcher status", "mps-patcher apply", "mps-patcher verify", "mps-patcher revert")
COLUMNS = 80
TOOL = Path(sys.executable).parent / "mps-patcher"
BEGIN, END = "<!-- session: written by `make session` -->\n", "<!-- end of session -->\n"


class Step(NamedTuple):
    """A command, and what stands in the terminal when it has ended, with colours."""

    command: str
    output: str


def record() -> list[Step]:
    """Each of COMMANDS with its output, from a new environment with torch 2.1.0 and transformers 4.45.1.

    The home folder is shown as `~`. Raises CalledProcessError where a command fails.
    """
    with tempfile.TemporaryDirectory(dir="/tmp") as home:  # a short path, so that lines break as in a real home
        project = Path(home, "app")
        project.mkdir()
        throwaway(project / ".venv", "seed")
        return [Step(command, _run(command, project).replace(home, "~")) for command in COMMANDS]


def session_in(readme: str) -> str:
    """The session that the README shows. Raises ValueError where it shows none."""
    return readme[readme.index(BEGIN) + len(BEGIN) : readme.index(END)]


def as_markdown(steps: list[Step]) -> str:
    """The session as a block of code."""
    blocks = (f"$ {step.command}\n{without_colors(step.output)}" for step in steps)
    return "```console\n" + "\n".join(blocks) + "```\n"


def without_colors(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def comparable(text: str) -> str:
    """The words of a session, whatever the times in it and the places where its lines break."""
    return " ".join(re.sub(r"\b\d+(\.\d+)? (s|seconds)\b", "TIME", " ".join(text.split())).split())


def _run(command: str, project: Path) -> str:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environ = {
        "PATH": f"{TOOL.parent}:{os.environ['PATH']}",
        "HOME": str(project.parent),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
    }
    words = command.split()
    process = subprocess.Popen(words, cwd=project, env=environ, stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    shown = b"".join(_read(master)).decode()
    os.close(master)
    if code := process.wait():
        raise subprocess.CalledProcessError(code, command, shown)
    return "".join(f"{_settled(line)}\n" for line in shown.replace("\r\n", "\n").removesuffix("\n").split("\n"))


def _read(terminal: int) -> Iterator[bytes]:
    """What is written to a terminal until its last user closes it, for which Linux has EIO."""
    while True:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            return
        if not piece:
            return
        yield piece


def _settled(line: str) -> str:
    """What is left of a line that was written over."""
    kept = line.rsplit("\r", 1)[-1].rsplit("\x1b[2K", 1)[-1]
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]", "", kept).rstrip()

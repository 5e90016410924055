"""A command line on a terminal, and what is to be seen there in the end."""

from __future__ import annotations

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from patcher.__main__ import main; main()"
)


def tool(*arguments: object) -> list[str]:
    """The words of a command line, for a process that Ctrl-C reaches wherever the tests run."""
    return [sys.executable, "-c", MAIN, *map(str, arguments)]


def tool_environment(**extra: str) -> dict[str, str]:
    """This environment, less what decides how a command shows things."""
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM")}
    return {**base, "PYTHONPATH": str(ROOT), **extra}


class Terminal:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, *arguments: object, columns: int = 100, **environment: str) -> None:
        self._reader, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        environ = tool_environment(**{"TERM": "xterm", "NO_COLOR": "1", **environment})
        self.process = subprocess.Popen(tool(*arguments), stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
        os.close(theirs)
        self.written = ""

    def saw(self, pattern: str) -> bool:
        """Whether it writes that before it ends."""
        while not re.search(pattern, self.written):
            try:
                part = os.read(self._reader, 65536)
            except OSError:  # what Linux says at the end
                part = b""
            if not part:
                return False
            self.written += part.decode()
        return True

    def end(self) -> int:
        """The exit code, once all has been read."""
        assert not self.saw(r"\A(?!)")
        os.close(self._reader)
        return self.process.wait()

    @property
    def left(self) -> str:
        """What there is to see in the end: each line as it was last drawn."""
        return re.sub(r"[^\n]*\r\033\[K", "", self.written.replace("\r\n", "\n"))

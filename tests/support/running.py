"""`run`, as the tests start it: on a real interpreter, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MAIN = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from patcher.__main__ import main; main()"


class App:
    """An environment, a folder with scripts, and the tool."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder, self.python = folder, python
        (self.site,) = python.parent.parent.glob("lib/python*/site-packages")
        self.cache = folder / "cache"
        self.environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTORCH"))}
        self.environ["MPS_PATCHER_CACHE"] = str(self.cache)

    def script(self, text: str, name: str = "script.py") -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def tool(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return self.start([sys.executable, "-c", MAIN, *words], **options)

    def run(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """`run` on the environment."""
        return self.tool("run", "--python", self.python, *words, **options)

    def plain(self, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Its interpreter without the tool."""
        return self.start([self.python, *words], **options)

    def start(self, command: list[object], **options: Any) -> subprocess.CompletedProcess[str]:
        environ = {**self.environ, **options.pop("environ", {})}
        options = {"capture_output": True, "text": True, "cwd": self.folder, "check": False, **options}
        done: subprocess.CompletedProcess[str] = subprocess.run(list(map(str, command)), env=environ, **options)
        return done

    def said(self, *words: object, **options: Any) -> str:
        """What a program that ends well says."""
        done = self.run(*words, **options)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    def refused(self, *words: object, code: int = 1, **options: Any) -> str:
        """Both lines of a refusal; the program was not started."""
        done = self.run(*words, **options)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 2), done
        return done.stderr

    def folders(self) -> list[Path]:
        """What was prepared."""
        return sorted((self.cache / "run").iterdir())

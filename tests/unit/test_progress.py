"""What moves on a terminal while one waits, and that nothing of it is left there, or ever in a pipe."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import Terminal, tool, tool_environment

from patcher import durations, progress
from patcher.durations import keep_duration, last_duration
from patcher.progress import duration, fitted

MOVES = "\r"
STOPPED = "import os, pathlib, time\npathlib.Path({seen!r}).write_text(str(os.getpid()))\ntime.sleep(600)\n"


@pytest.fixture
def env(tmp_path: Path, unpacked: Callable[..., Path]) -> Path:
    """An environment of this Python with a patched transformers of a few files."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    shutil.copytree(unpacked(), packages(tmp_path / "env"), dirs_exist_ok=True)
    assert in_a_pipe("apply", "--quiet", "--python", tmp_path / "env") == ""
    return tmp_path / "env"


@pytest.fixture
def torch(env: Path) -> Path:
    """A torch in it whose import never ends; the file in which it says who imports it."""
    (packages(env) / "torch").mkdir()
    (packages(env) / "torch" / "__init__.py").write_text(STOPPED.format(seen=str(env / "importing")))
    return env / "importing"


def packages(env: Path) -> Path:
    (site_packages,) = env.glob("lib/python*/site-packages")
    return site_packages


def in_a_pipe(*arguments: object) -> str:
    """What a command that ends well writes, both streams."""
    done = subprocess.run(tool(*arguments), capture_output=True, text=True, env=tool_environment(), check=True)
    return done.stdout + done.stderr


def is_gone(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    return False


class TestTheLine:
    @pytest.fixture
    def stream(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
        monkeypatch.setattr(progress, "DELAY", 0)
        stream = io.StringIO()
        with progress.on_terminal(lambda: stream):
            yield stream

    def wait_for(self, stream: io.StringIO, text: str) -> None:
        end = time.monotonic() + 60
        while not stream.getvalue().endswith(text):
            assert time.monotonic() < end, stream.getvalue()
            time.sleep(0.01)

    def test_it_changes_in_place_counts_seconds_and_goes(self, stream: io.StringIO) -> None:
        progress.show("generate", "14 of 24", " (21 s last time)")
        self.wait_for(stream, "\r\033[Kgenerate 14 of 24 (21 s last time)")
        self.wait_for(stream, "\r\033[Kgenerate 14 of 24, 1 s (21 s last time)")
        progress.show("generate", "15 of 24")
        self.wait_for(stream, "\r\033[Kgenerate 15 of 24, 1 s")
        progress.show("callers")
        self.wait_for(stream, "\r\033[Kcallers")
        progress.clear()
        assert stream.getvalue().endswith("\r\033[Kcallers\r\033[K")

    def test_it_makes_room_for_what_is_printed(self, stream: io.StringIO) -> None:
        progress.show("working on", "/a\nb")
        self.wait_for(stream, "\r\033[Kworking on /a\\nb")
        with progress.hidden():
            stream.write("Printed.\n")
        self.wait_for(stream, "\r\033[KPrinted.\n\r\033[Kworking on /a\\nb")

    def test_it_goes_with_its_thread_and_says_the_same_again(self, stream: io.StringIO) -> None:
        before = threading.active_count()
        with progress.paused():
            assert threading.active_count() == before
        progress.show("working on", "/a", " (21 s last time)")
        self.wait_for(stream, "\r\033[Kworking on /a (21 s last time)")
        with progress.paused():
            assert threading.active_count() == before
            stream.write("Nothing.\n")
        self.wait_for(stream, "\r\033[KNothing.\n\r\033[Kworking on /a (21 s last time)")

    def test_what_is_quick_is_not_shown(self, stream: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(progress, "DELAY", 3600)
        progress.show("working on", "it")
        time.sleep(0.3)
        progress.clear()
        assert stream.getvalue() == ""

    def test_without_a_terminal_nothing_runs(self) -> None:
        before = threading.active_count()
        progress.show("working on", "it")
        with progress.on_terminal(lambda: None):
            progress.show("working on", "it")
            assert threading.active_count() == before
            assert not progress.is_shown()

    @pytest.mark.parametrize(
        ("columns", "text"),
        [
            (32, "generate 14 of 24, 3 s (21 then)"),
            (31, "generate 14 of 24, 3 s"),
            (22, "generate 14 of 24, 3 s"),
            (21, "generate 14 o..., 3 s"),
            (5, "..., "),
        ],
    )
    def test_it_never_wraps(self, columns: int, text: str) -> None:
        assert fitted("generate 14 of 24", ", 3 s", " (21 then)", columns) == text

    def test_a_character_may_take_two_columns(self) -> None:
        assert fitted("\N{HIRAGANA LETTER A}" * 5, "", "", 9) == "\N{HIRAGANA LETTER A}" * 3 + "..."

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [(0.2, "0 s"), (59.4, "59 s"), (61, "1 min"), (3700, "1 h 1 min"), (200_000, "55 h 33 min")],
    )
    def test_durations(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text


class TestOnATerminal:
    @pytest.fixture
    def slow(self, env: Path) -> Path:
        """An environment whose Python starts as soon as there is a file `go` in it."""
        code = f"while not pathlib.Path({str(env / 'go')!r}).exists():\n    time.sleep(0.05)"
        (packages(env) / "slow.pth").write_text(f"import pathlib, time; exec({code!r})\n")
        return env

    def test_a_wait_moves_and_leaves_nothing(self, slow: Path) -> None:
        terminal = Terminal("status", "--python", slow, columns=300)
        assert terminal.saw(rf"waiting for {slow}/bin/python, 1 s"), terminal.written
        (slow / "go").touch()
        assert terminal.end() == 0
        assert terminal.left.split() == in_a_pipe("status", "--python", slow).split()

    @pytest.mark.parametrize("quiet", [["--json"], ["--quiet"], []])
    def test_nothing_moves_for_those_who_do_not_want_it(self, slow: Path, quiet: list[str]) -> None:
        terminal = Terminal("status", *quiet, "--python", slow, TERM="xterm" if quiet else "dumb")
        time.sleep(2)
        (slow / "go").touch()
        assert terminal.end() == 0
        assert MOVES not in terminal.written.replace("\r\n", "\n")

    def test_nothing_moves_in_a_pipe(self, slow: Path) -> None:
        command = tool("status", "--python", slow)
        with subprocess.Popen(command, stdout=-1, stderr=-1, env=tool_environment(TERM="xterm")) as process:
            time.sleep(2)
            (slow / "go").touch()
            assert MOVES.encode() not in b"".join(process.communicate())

    def test_each_check_is_shown_as_it_ends_and_an_interrupt_leaves_nothing(
        self, env: Path, torch: Path, tmp_path: Path
    ) -> None:
        terminal = Terminal("verify", "--python", env, TMPDIR=str(tmp_path))
        assert terminal.saw("importing torch, 1 s")
        assert re.search(r"passed   source .*\n +passed   bytecode .*\n\Z", terminal.left.rpartition("\n")[0] + "\n")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 130
        assert terminal.left.endswith("on disk\nerror: Interrupted.\nhint: Run the same command again to finish.\n")
        assert is_gone(int(torch.read_text()))
        assert not [*tmp_path.glob("mps-patcher-*")]


class TestInAPipe:
    def test_each_check_is_shown_as_it_ends(self, env: Path, torch: Path) -> None:
        command = tool("verify", "--python", env)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=tool_environment()) as process:
            assert process.stdout
            assert any("passed   bytecode" in line for line in process.stdout)
            while not (torch.exists() and torch.read_text()):
                time.sleep(0.05)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.stdout.read() == ""
        assert is_gone(int(torch.read_text()))

    def test_in_parts_it_is_the_same_text(
        self, env: Path, unpacked: Callable[..., Path], shortened: Callable[[Path], Path]
    ) -> None:
        """Two targets, of which one has two patches that share their checks."""
        places = ["--python", str(env), "--site-packages", str(shortened(unpacked("4.44.2")))]
        in_a_pipe("apply", "--quiet", *places)
        in_parts = in_a_pipe("verify", "--static", *places)
        code = "import sys; from patcher.commands import patching as p; p.GrowingText.show_so_far = lambda *_: None; "
        code += "from patcher.cli import program; program(sys.argv[1:], prog_name='mps-patcher')"
        whole = [sys.executable, "-c", code, "verify", "--static", *places]
        done = subprocess.run(whole, capture_output=True, text=True, env=tool_environment(), check=True)
        without_times = re.compile(r"\d+\.\d\d s")
        assert without_times.sub("", in_parts) == without_times.sub("", done.stdout + done.stderr)
        assert in_parts.count("passed   bytecode") == 2


class TestDurations:
    def test_the_last_one_is_known(self, tmp_path: Path) -> None:
        environ = {"MPS_PATCHER_CACHE": str(tmp_path / "cache")}
        assert last_duration(["a"], environ) is None
        keep_duration(["a"], 21.04, environ)
        keep_duration(["b"], 3, environ)
        assert (last_duration(["a"], environ), last_duration(["b"], environ)) == (21.0, 3.0)

    def test_only_so_many_are_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(durations, "MOST", 2)
        environ = {"MPS_PATCHER_CACHE": str(tmp_path)}
        for name in ("a", "b", "a", "c"):
            keep_duration([name], 1, environ)
        assert [*json.loads((tmp_path / "durations.json").read_text())] == ["['a']", "['c']"]

    @pytest.mark.parametrize("text", ["", "[]", "5", '{"[\'a\']": "soon"}'])
    def test_a_damaged_file_is_none(self, text: str, tmp_path: Path) -> None:
        environ = {"MPS_PATCHER_CACHE": str(tmp_path)}
        (tmp_path / "durations.json").write_text(text)
        assert last_duration(["a"], environ) is None
        keep_duration(["a"], 1, environ)
        assert last_duration(["a"], environ) == 1

    def test_a_cache_that_cannot_be_is_no_error(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        keep_duration(["a"], 1, {"MPS_PATCHER_CACHE": str(tmp_path / "file")})
        assert last_duration(["a"], {"MPS_PATCHER_CACHE": str(tmp_path / "file")}) is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
    def test_root_leaves_nothing_in_the_home_of_another_user(self, tmp_path: Path) -> None:
        (tmp_path / "home").mkdir()
        os.chown(tmp_path / "home", 54321, 54321)
        keep_duration(["a"], 1, {"MPS_PATCHER_CACHE": str(tmp_path / "home" / ".cache" / "mps-patcher")})
        assert not [*(tmp_path / "home").iterdir()]

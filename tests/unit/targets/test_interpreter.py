"""Starting interpreters: noisy, slow, old and broken ones, and those of others; what they are given and leave."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.owner import as_user_of
from patcher.targets import interpreter
from patcher.targets.interpreter import Answer, ask_python, python_in, run_python, selftest_environment

CACHE = Path("/nowhere/cache")
PYENV = sorted((Path.home() / ".pyenv/versions").glob("3.[6-9].*"))
SOMEBODY = 12345
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
Ask = Callable[..., Answer]


@pytest.fixture
def ask(environ: dict[str, str], cwd: Path) -> Ask:
    """`ask(python, "name", VARIABLE=...)` asks as that user, there."""
    return lambda python, name="transformers", **given: ask_python(python, name, {**environ, **given}, cwd)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def gone(process: int) -> bool:
    """Whether a process ends within five seconds; one that only awaits its parent counts as ended."""
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], stdout=subprocess.PIPE, text=True).stdout
        if not state.strip() or state.startswith("Z"):
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


class TestAsk:
    def test_start_up_code_that_prints_and_moves_away(self, venv: Any, install: Any, look: Any) -> None:
        env = venv()
        install(env.site_packages, torch="2.1.0")
        noise = 'import atexit, os, sys; print("{}"); sys.stderr.write("noise"); atexit.register(print, "[]")\n'
        (env.site_packages / "sitecustomize.py").write_text(noise + 'os.chdir("/")\n')
        (env.site_packages / "noise.pth").write_text('import sys; print("]"); sys.stdout.flush()\n')
        (found,) = look(python=[env.python])
        assert (found.version, found.torch) == ("4.45.1", "2.1.0")

    def test_the_users_folder_is_not_on_the_path(self, venv: Any, ask: Ask, cwd: Path) -> None:
        for name in ("transformers.py", "json.py", "importlib.py"):
            (cwd / name).write_text("raise SystemExit('shadowed')\n")
        answer = ask(venv().python)
        assert answer.folder is None
        assert cwd not in answer.path

    def test_entries_of_the_path_are_of_the_users_folder(self, venv: Any, ask: Ask, cwd: Path, tmp_path: Path) -> None:
        env = venv()
        (env.site_packages / "sitecustomize.py").write_text("import sys\nsys.path.append('late')\n")
        answer = ask(env.python, PYTHONPATH=str(tmp_path), PYTHONPYCACHEPREFIX="cached")
        assert (answer.path[0], answer.path[-1]) == (tmp_path, cwd / "late")
        assert (answer.prefix, answer.pycache_prefix) == (env.prefix, cwd / "cached")
        assert ask(env.python, PYTHONPATH=str(tmp_path), PYTHONSAFEPATH="1").path[0] == tmp_path

    def test_it_reads_nothing_of_ours_and_tells_nobody_anything(
        self, ask: Ask, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        python = script(tmp_path / "python", f'cat > "{tmp_path}/read"; echo out; exec {sys.executable} "$@"')
        before, (ours, theirs) = os.dup(0), os.pipe()
        os.write(theirs, b"ours")
        os.close(theirs)
        os.dup2(ours, 0)
        try:
            assert ask(python, "json").folder
        finally:
            os.dup2(before, 0)
            os.close(ours)
            os.close(before)
        assert ((tmp_path / "read").read_bytes(), *capfd.readouterr()) == (b"", "", "")

    def test_no_bytecode_is_left(self, venv: Any, ask: Ask) -> None:
        env = venv()
        (env.site_packages / "started.pth").write_text("import helper\n")
        (env.site_packages / "helper.py").write_text("")
        ask(env.python)
        assert not list(env.prefix.rglob("*.pyc"))

    def test_the_launchers_word_is_not_passed_on(self, ask: Ask, tmp_path: Path) -> None:
        told = script(tmp_path / "python", 'echo "[$__PYVENV_LAUNCHER__]" >&2; exit 1')
        with pytest.raises(PatcherError, match=r": \[\]\."):
            ask(told, __PYVENV_LAUNCHER__="/another")

    @pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
    def test_other_pythons(
        self, version: str, pythons: dict[tuple[int, int], Path], install: Any, look: Any, tmp_path: Path
    ) -> None:
        python = pythons.get((3, int(version.partition(".")[2])))
        if python is None:
            pytest.skip(f"no Python {version} is installed")
        (found,) = look(python=[python], PYTHONPATH=install(tmp_path / "lib"))
        assert found.version == "4.45.1"

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ("exit 0", "no answer"),
            ("exit 3", "the interpreter ended with status 3"),
            ('echo "[]" > /dev/fd/$4', "no answer"),
            ('echo "{" > /dev/fd/$4', "no answer"),
            ("printf 'odd \\377\\n' >&2; exit 3", "odd \N{REPLACEMENT CHARACTER}"),
            (
                'echo "pyenv: python3.12: command not found\n\nThe command exists in:\n  3.12.1" >&2; exit 127',
                "pyenv: python3.12: command not found",
            ),
            (f"exec {sys.executable} -c 'import gone_away'", "ModuleNotFoundError: No module named 'gone_away'"),
            (f"exec {sys.executable} -c 'print 1'", "SyntaxError: "),
        ],
    )
    def test_what_is_no_python(self, ask: Ask, tmp_path: Path, text: str, told: str) -> None:
        python = script(tmp_path / "python", text)
        with pytest.raises(PatcherError) as caught:
            ask(python)
        assert (caught.value.code, caught.value.exit_code) == ("python-broken", 1)
        assert caught.value.message.startswith(f"{python} does not work as a Python interpreter: {told}")

    def test_what_cannot_be_run(self, ask: Ask, tmp_path: Path) -> None:
        (tmp_path / "python").write_text("not executable")
        (tmp_path / "pypy3").write_bytes(b"\x7fELF" + bytes(60))
        (tmp_path / "pypy3").chmod(0o755)
        (tmp_path / "link").symlink_to("gone")
        told = {}
        for path in (
            tmp_path / "none",
            tmp_path / "link",
            tmp_path / ("x" * 300),
            tmp_path / "python",
            tmp_path / "pypy3",
        ):
            with pytest.raises(PatcherError) as caught:
                ask(path)
            told[path.name[:7]] = (caught.value.code, caught.value.message.removeprefix(f"{path} "))
        assert [code for code, _ in told.values()] == ["python-not-found"] * 3 + ["python-broken"] * 2
        assert told["none"][1] == "does not exist."
        assert told["link"][1] == f"links to {tmp_path / 'gone'}, which does not exist."
        assert told["python"][1].endswith(": the interpreter cannot be started: Permission denied.")
        assert told["pypy3"][1].endswith(": the interpreter cannot be started: Exec format error.")

    @pytest.mark.parametrize(
        "name",
        ["train.py", "deploy", "python.py", "python3-config", "python3.11-gdb.py", "ipython", "pythonic", "flask"],
    )
    def test_a_program_that_is_no_python_is_never_started(self, name: str, ask: Ask, tmp_path: Path) -> None:
        program = script(tmp_path / name, f"touch {tmp_path / 'started'}")
        (tmp_path / "link").symlink_to(program)
        for path in (program, tmp_path / "link"):
            with pytest.raises(PatcherError) as caught:
                ask(path)
            assert caught.value.code == "python-broken"
            assert caught.value.message.endswith("is not named like a Python interpreter, so it was not started.")
        assert not (tmp_path / "started").exists()

    @pytest.mark.parametrize(
        "name",
        ["python", "python3", "Python", "python3.11d", "python3.13t", "python3.7m", "pypy3", "pypy3.10-c", "graalpy",
         "python3.11-dbg", "python3-intel64", "pythonw"],
    )  # fmt: skip
    def test_what_interpreters_are_called(self, name: str, ask: Ask, tmp_path: Path) -> None:
        assert ask(script(tmp_path / name, f'exec {sys.executable} "$@"')).prefix == Path(sys.prefix)

    def test_a_link_counts_by_either_of_its_names(self, ask: Ask, tmp_path: Path) -> None:
        odd = script(tmp_path / "interpreter-of-conda", f'exec {sys.executable} "$@"')
        (tmp_path / "python").symlink_to(odd)
        (tmp_path / "snake").symlink_to(sys.executable)
        assert ask(tmp_path / "python").path
        assert ask(tmp_path / "snake").path

    def test_of_a_shim_the_first_line_is_told(self, ask: Ask, tmp_path: Path) -> None:
        """What pyenv says where the version that is active has no such Python."""
        lines = (
            "pyenv: python3.8: command not found",
            "",
            "The `python3.8' command exists in:",
            "  3.8.18",
            "Note: ...",
        )
        says = "\n".join(f'echo "{line}" >&2' for line in lines).replace("`", "\\`")
        with pytest.raises(PatcherError) as caught:
            ask(script(tmp_path / "python3.8", f"{says}\nexit 127"))
        assert caught.value.message.endswith(
            "does not work as a Python interpreter: pyenv: python3.8: command not found."
        )

    @pytest.mark.skipif(len(PYENV) < 2, reason="needs two Pythons of pyenv")
    def test_a_real_shim_of_pyenv(self, ask: Ask) -> None:
        other, active = (folder.name for folder in PYENV[:2])
        name = "python{}.{}".format(*other.split("."))
        with pytest.raises(PatcherError) as caught:
            ask(Path.home() / ".pyenv/shims" / name, PYENV_VERSION=active)
        assert caught.value.message.endswith(f": pyenv: {name}: command not found.")

    def test_no_place_for_its_answer(self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        with pytest.raises(PatcherError) as caught:
            ask(Path(sys.executable))
        assert (caught.value.code, "TMPDIR" in caught.value.hint) == ("no-temporary-folder", True)

    @pytest.mark.parametrize("name", ["json", "no_such_module"])
    def test_the_probe_itself(self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The script as such: run here, where its lines are counted."""
        answer = os.open(tmp_path / "answer", os.O_WRONLY | os.O_CREAT)
        monkeypatch.setattr(sys, "path", ["", *sys.path])
        monkeypatch.setattr(sys, "argv", ["-c", str(answer), name])
        runpy.run_path(str(interpreter.PROBE), run_name="__main__")
        assert ("json" in (tmp_path / "answer").read_text()) == (name == "json")

    def test_an_environment_with_python3_only(self, venv: Any) -> None:
        env = venv()
        assert python_in(env.prefix) == env.python
        (env.prefix / "bin" / "python3").unlink(missing_ok=True)
        env.python.rename(env.prefix / "bin" / "python3")
        assert python_in(env.prefix) == env.prefix / "bin" / "python3"


class TestRun:
    @pytest.mark.parametrize(
        ("code", "how"),
        [
            ("pass", None),
            ("raise SystemExit(7)", "the interpreter ended with status 7"),
            ("import os; os.abort()", "the interpreter was killed by SIGABRT"),
            ("import time; time.sleep(30)", "not finished after 0.5 s"),
        ],
    )
    def test_how_it_ended(self, code: str, how: str | None) -> None:
        timeout = 0.5 if how and "0.5 s" in how else 30
        began = time.monotonic()
        ending = run_python([sys.executable, "-I", "-c", code], environ={}, timeout=timeout, errors=subprocess.DEVNULL)
        assert ending == how
        assert time.monotonic() - began < 15

    def test_it_reads_nothing_prints_nothing_and_its_errors_are_kept(
        self, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        code = (
            "import os, sys; print('out'); sys.exit(f'{sys.stdin.read()!r} {os.environ.get(\"TOKEN\")} {os.getcwd()}')"
        )
        with (tmp_path / "errors").open("w+b") as errors:
            run_python(
                [sys.executable, "-c", code], environ={"TOKEN": "t"}, cwd=tmp_path, timeout=30, errors=errors.fileno()
            )
        assert (tmp_path / "errors").read_text() == f"'' t {os.path.realpath(tmp_path)}\n"
        assert capfd.readouterr() == ("", "")

    def test_a_folder_that_cannot_be_entered_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "gone").mkdir()
        monkeypatch.chdir(tmp_path / "gone")
        monkeypatch.setattr(Path, "cwd", lambda: tmp_path / "gone")
        (tmp_path / "gone").rmdir()
        words = {"environ": {}, "timeout": 30, "errors": subprocess.DEVNULL}
        assert run_python(["/bin/true"], cwd=tmp_path / "gone", **words) is None  # type: ignore[arg-type]
        ending = run_python(["/bin/true"], cwd=tmp_path / "other", **words)  # type: ignore[arg-type]
        assert ending == "the interpreter cannot be started: No such file or directory"

    @pytest.mark.parametrize("ends", ["wait", "exit 0", "exit 3"])
    def test_nothing_that_it_started_is_left(self, tmp_path: Path, ends: str) -> None:
        python = script(tmp_path / "python", f"sleep 60 & echo $! > {tmp_path}/child; {ends}")
        ending = run_python([str(python)], environ={"PATH": "/bin:/usr/bin"}, timeout=1.0, errors=subprocess.DEVNULL)
        assert (ending is None) == (ends == "exit 0")
        assert gone(int((tmp_path / "child").read_text()))

    @pytest.mark.parametrize("words", [["/bin/true"], ["/bin/false"], ["/bin/sleep", "60"], ["/nowhere"]])
    def test_no_descriptor_is_left_open(self, words: list[str]) -> None:
        before = sorted(Path("/dev/fd").iterdir())
        run_python(words, environ={}, timeout=0.3, errors=subprocess.DEVNULL)
        assert sorted(Path("/dev/fd").iterdir()) == before

    def test_it_is_told_at_once_that_it_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(interpreter, "MEANWHILE", 20)
        sleep, slept = time.sleep, [0.0]

        def counted(seconds: float) -> None:
            slept.append(seconds)
            sleep(seconds)

        monkeypatch.setattr(time, "sleep", counted)
        words = {"environ": {}, "timeout": 30, "errors": subprocess.DEVNULL}
        assert run_python(["/bin/sleep", "0.4"], **words) is None  # type: ignore[arg-type]
        assert sum(slept) < 0.2

    def test_an_interrupt_leaves_no_process(self, ask: Ask, tmp_path: Path) -> None:
        python = script(tmp_path / "python", f"echo $$ > {tmp_path}/child; sleep 1; kill -INT {os.getpid()}; sleep 60")
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
        try:
            with pytest.raises(KeyboardInterrupt):
                ask(python)
        finally:
            signal.signal(signal.SIGINT, before)
        assert gone(int((tmp_path / "child").read_text()))

    def test_nor_does_one_before_it_is_known_that_it_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        started: list[int] = []
        start: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]

        def interrupted(process: subprocess.Popen[bytes], *args: object) -> None:
            start(process, *args)
            started.append(process.pid)
            signal.raise_signal(signal.SIGTERM)

        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            monkeypatch.setattr(subprocess.Popen, "_execute_child", interrupted)
            with pytest.raises(KeyboardInterrupt):
                run_python(["/bin/sleep", "60"], environ={}, timeout=30, errors=subprocess.DEVNULL)
        finally:
            monkeypatch.undo()
            signal.signal(signal.SIGTERM, before)
        assert gone(*started)

    def test_macos_does_not_let_the_dead_be_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(group: int, number: int) -> None:
            raise PermissionError(1, f"{group} {number}")

        monkeypatch.setattr(os, "killpg", refuse)
        assert run_python([sys.executable, "-I", "-c", ""], environ={}, timeout=30, errors=2) is None

    def test_a_slow_one_is_told_of(self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(interpreter, "PROBE_TIMEOUT", 0.5)
        with pytest.raises(PatcherError, match=r"does not work as a Python interpreter: not finished after 0\.5 s\."):
            ask(script(tmp_path / "python", "sleep 60"))


@pytest.fixture(scope="module")
def base() -> Path:
    """A Python that everybody may run; this one may lie where only root may look."""
    for python in map(Path, (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3")):
        command = [str(python), "-c", "import venv, sys; assert sys.version_info > (3, 8)"]
        with suppress(OSError):
            if subprocess.run(command, user=SOMEBODY, group=SOMEBODY, capture_output=True).returncode == 0:
                return python
    pytest.skip("there is no Python here that everybody may run")


@only_root
class TestOwners:
    """What root starts runs as whoever owns it, or a folder that it lies in."""

    @pytest.fixture
    def env(self, base: Path, install: Any) -> Iterator[Path]:
        """An environment below a folder that everybody may enter; its start-up code says who runs it, and with what."""
        with tempfile.TemporaryDirectory(dir="/tmp") as top:
            Path(top).chmod(0o755)
            made = Path(top) / "env"
            subprocess.run([base, "-m", "venv", "--without-pip", made], check=True)
            (site,) = made.glob("lib/python*/site-packages")
            install(site)
            (Path(top) / "seen").touch()
            (Path(top) / "seen").chmod(0o666)
            seen = f"open({top + '/seen'!r}, 'w').write(repr((os.getuid(), os.getgroups(), os.environ.get('TOKEN'))))"
            (site / "who.pth").write_text(f"import os; {seen}\n")
            yield made

    @pytest.mark.parametrize(
        "theirs", ["", "pyvenv.cfg", "bin", "bin/python", "lib/python3.*/site-packages", ".."], ids=str
    )
    @pytest.mark.parametrize("how", ["named", "active"])
    def test_of_somebody_else(self, env: Path, look: Any, theirs: str, how: str) -> None:
        (path,) = env.glob(theirs) if theirs else (env,)
        os.chown(path, SOMEBODY, SOMEBODY, follow_symlinks=False)
        found = self.found(env, look, how)
        assert (found.python, found.version) == (env / "bin" / "python", "4.45.1")
        assert (env.parent / "seen").read_text() == f"({SOMEBODY}, [], None)"

    def found(self, env: Path, look: Any, how: str) -> Any:
        ways: dict[str, dict[str, Any]] = {
            "named": {"python": [env]},
            "below": {"under": [env]},
            "active": {"VIRTUAL_ENV": env},
        }
        (found,) = look(**ways[how], TOKEN="secret")  # noqa: S106
        return found

    def test_one_that_its_owner_may_not_run(self, env: Path, look: Any) -> None:
        python = env / "bin" / "python"
        python.unlink()
        python.write_text("#!/bin/sh\ntest $(id -u) = 0\n")
        python.chmod(0o755)
        os.chown(env, SOMEBODY, SOMEBODY)
        told = f"the interpreter ended with status 1 (run as its owner, user {SOMEBODY}, not as root)"
        assert told in self.found(env, look, "named").error.message

    def test_one_that_is_found_is_not_started(self, env: Path, look: Any) -> None:
        os.chown(env, SOMEBODY, SOMEBODY)
        assert self.found(env, look, "below").python == env / "bin" / "python"
        assert (env.parent / "seen").read_text() == ""

    def test_of_root(self, env: Path, look: Any) -> None:
        assert self.found(env, look, "named").version == "4.45.1"
        assert (env.parent / "seen").read_text().startswith("(0, ")
        assert "'secret'" in (env.parent / "seen").read_text()

    def test_what_the_owner_may_not_run_is_not_run(self, env: Path, look: Any) -> None:
        os.chown(env, SOMEBODY, SOMEBODY)
        (env / "bin").chmod(0o700)
        found = self.found(env, look, "named")
        assert found.error.code == "python-broken"
        assert (env.parent / "seen").read_text() == ""

    def test_the_folder_that_is_named_comes_first(self, env: Path, tmp_path: Path) -> None:
        os.chown(env, SOMEBODY, SOMEBODY)
        (site,) = env.glob("lib/python*/site-packages")
        os.chown(site, SOMEBODY + 1, SOMEBODY + 1)
        run_python([str(env / "bin/python"), "-c", ""], environ={}, timeout=30, errors=2, owner=env / "pyvenv.cfg")
        assert (env.parent / "seen").read_text() == f"({SOMEBODY + 1}, [], None)"
        (tmp_path / "own").touch()
        os.chown(tmp_path / "own", SOMEBODY + 2, SOMEBODY + 2)
        run_python([str(env / "bin/python"), "-c", ""], environ={}, timeout=30, errors=2, owner=tmp_path / "own")
        assert (env.parent / "seen").read_text() == f"({SOMEBODY + 2}, [], None)"


@only_root
def test_the_groups_are_those_of_the_account(tmp_path: Path) -> None:
    """Not the folder's own: on macOS what anybody makes in /tmp is of wheel's."""
    path = tmp_path / "given"
    path.touch()
    assert as_user_of(path) == as_user_of(tmp_path / "none", path) == {}
    os.chown(path, 1, 0)  # daemon, on Linux and on macOS
    account = shutil.which("id") and subprocess.run(["id", "-g", "1"], capture_output=True, text=True, check=True)
    found = as_user_of(path)
    assert (found["user"], found["group"]) == (1, int(account.stdout if account else 1))
    assert 0 not in found["extra_groups"]
    os.chown(path, SOMEBODY, SOMEBODY + 1)  # a number that no account has
    assert as_user_of(path) == {"user": SOMEBODY, "group": SOMEBODY + 1, "extra_groups": ()}


def test_an_ordinary_user_stays_who_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: SOMEBODY)
    assert as_user_of(tmp_path) == {}


GIVEN = {
    "MPS_PATCHER_HOOK": "off",
    "HF_HOME": str(CACHE),
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "USE_TF": "0",
    "USE_FLAX": "0",
}


def test_what_the_selftest_is_given() -> None:
    needed = {
        "PATH": "/bin",
        "HOME": "/root",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "2",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTORCH_MPS_LOW_WATERMARK_RATIO": "0",
    }
    others = {"HF_TOKEN": "t", "PYTORCH_ENABLE_MPS_FALLBACK": "1", "path": "/", "LC": "x", "MY_LC_": "x"}
    for mine in ({}, dict.fromkeys(GIVEN, "mine")):  # nothing is fetched, whatever the user has set
        assert selftest_environment({**needed, **others, **mine}, CACHE) == {**needed, **GIVEN}
    assert selftest_environment({}, CACHE) == GIVEN  # where nothing is set, nothing is missed

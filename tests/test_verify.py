"""Verification on real environments: what it proves, how it fails, and that it leaves everything as it is."""

from __future__ import annotations

import fcntl
import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import pytest
from torch_env import throwaway

from patcher import guest
from patcher.change import operations
from patcher.errors import CannotTell
from patcher.locate.targets import Options, find
from patcher.model import Check, Device, FunctionPatch, Result, State, Target
from patcher.verify import UNAVAILABLE, verify
from patches import CATALOGUE

ROOT = Path(__file__).resolve().parents[1]
ISIN, DIRECT = CATALOGUE
ALL = ["source", "bytecode", "contract", "callers", "generate"]
INT64_ON_OLD_MACOS = (
    "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received dtype: Long"
)


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode is written where Python likes to, and nothing of this run's Python reaches the target's."""
    for name in [name for name in os.environ if name.startswith(("PYTHON", "COVERAGE"))]:
        monkeypatch.delenv(name)


def target_of(**options: Path) -> Target:
    chosen: dict[str, Any] = {"python": (), "site_packages": (), "under": ()}
    named = {**chosen, **{name: (path,) for name, path in options.items()}}
    (target,) = find(Options(**named), os.environ, Path.cwd())
    assert isinstance(target, Target)
    return target


def apply(target: Target) -> Target:
    result, _ = operations.apply((target,), CATALOGUE, named=False)
    assert result.state is State.PATCHED
    return target


def proven(target: Target, *, static: bool = False, named: bool = False, **options: Any) -> Result:
    (result,) = verify((target,), (ISIN,), named=named, static=static, catalogue=CATALOGUE, **options)
    return result


def checks(result: Result, status: str) -> dict[str, str]:
    """The details of the checks that ended so, by name."""
    assert len({check.name for check in result.checks}) == len(result.checks)
    assert all(isinstance(check, Check) and check.seconds >= 0 for check in result.checks)
    return {check.name: check.detail for check in result.checks if check.status == status}


def error(result: Result) -> tuple[str, int]:
    """The code of the error, and the exit status that it asks for."""
    assert result.error is not None
    assert isinstance(result.error, CannotTell) == (result.error.exit_code == 3)
    assert "\n" not in result.error.message + result.error.hint
    return result.error.code, result.error.exit_code


def files(target: Target) -> dict[str, tuple[int, bytes]]:
    """Every file of the environment's packages, links not followed, with its time."""
    found = (path for path in target.site_packages.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@contextmanager
def holding(path: Path, content: bytes) -> Iterator[None]:
    """The file with that content, and then as it was."""
    before, times = path.read_bytes(), path.stat()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def edited(path: Path, old: str, new: str) -> AbstractContextManager[None]:
    """The file with that one edit, and then as it was."""
    before = path.read_bytes()
    assert before.count(old.encode()) == 1
    return holding(path, before.replace(old.encode(), new.encode()))


def is_locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


class TestWithoutTorch:
    """A transformers of a few files in an environment of this Python; where there is a torch, it is a trap."""

    @pytest.fixture
    def python(self, tmp_path: Path, unpacked: Callable[..., Path]) -> Path:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
        (site_packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
        shutil.copytree(unpacked(), site_packages, dirs_exist_ok=True)
        return tmp_path / "env" / "bin" / "python"

    @pytest.fixture
    def unpatched(self, python: Path) -> Target:
        return target_of(python=python)

    @pytest.fixture
    def patched(self, unpatched: Target) -> Target:
        return apply(unpatched)

    @pytest.fixture
    def start_up(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
        """Makes every Python that starts run this first."""

        def plant(code: str) -> None:
            (tmp_path / "start-up").mkdir()
            (tmp_path / "start-up" / "sitecustomize.py").write_text(code)
            monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start-up"))

        return plant

    @pytest.fixture
    def trap(self, patched: Target) -> Callable[[str], Target]:
        """The patched target with a torch that runs this when it is imported."""

        def plant(code: str) -> Target:
            (patched.site_packages / "torch").mkdir()
            (patched.site_packages / "torch" / "__init__.py").write_text(code)
            return replace(patched, torch="2.1.0")

        return plant

    def test_static_passes_on_a_patched_file(self, patched: Target) -> None:
        before = files(patched)
        result = proven(patched, static=True)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        assert len(result.checks) == 2
        assert (result.error, result.device, result.state) == (None, None, State.PATCHED)
        assert files(patched) == before

    def test_static_fails_on_an_unpatched_file(self, unpatched: Target) -> None:
        before = files(unpatched)
        result = proven(unpatched, static=True)
        assert list(checks(result, "failed")) == ["source"]
        assert "body A (transformers 4.45.0 - 4.46.1)" in checks(result, "failed")["source"]
        assert list(checks(result, "passed")) == ["bytecode"]
        assert error(result) == ("verification-failed", 1)
        assert result.error
        assert "mps-patcher apply" in result.error.hint
        assert files(unpatched) == before

    def test_no_torch_leaves_the_running_checks_untold(self, patched: Target) -> None:
        result = proven(patched)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]
        assert error(result) == ("no-torch", 3)

    def test_a_failure_weighs_more_than_no_torch(self, unpatched: Target) -> None:
        result = proven(unpatched)
        assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]
        assert error(result) == ("verification-failed", 1)

    def test_no_interpreter_leaves_the_running_checks_untold(self, patched: Target) -> None:
        folder = replace(target_of(site_packages=patched.site_packages), python=None)
        result = proven(folder)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]
        assert error(result) == ("no-interpreter", 3)
        assert proven(folder, static=True).error is None

    def test_an_edit_elsewhere_is_seen(self, patched: Target) -> None:
        with edited(patched.site_packages / ISIN.file, "import inspect\n", "import inspect  # by hand\n"):
            result = proven(patched, static=True)
        assert checks(result, "failed") == {"source": "The file was edited since it was patched"}
        assert error(result) == ("verification-failed", 1)
        assert result.error
        assert "mps-patcher apply" not in result.error.hint

    def test_a_file_that_cannot_be_read_as_python_is_an_error(self, unpatched: Target) -> None:
        with edited(unpatched.site_packages / ISIN.file, "import inspect\n", "import import\n"):
            result = proven(unpatched, static=True)
        assert error(result) == ("unparsable-source", 1)
        assert result.checks == ()

    def test_a_patched_file_that_cannot_be_read_as_python_any_more_fails(self, patched: Target) -> None:
        with edited(patched.site_packages / ISIN.file, "import inspect\n", "import import\n"):
            result = proven(patched, static=True)
        assert error(result) == ("verification-failed", 1)
        assert "edited since it was patched" in checks(result, "failed")["source"]

    def test_a_lost_back_up_is_told(self, patched: Target) -> None:
        (backup,) = (path for path in (patched.dist_info / "mps-patcher").iterdir() if path.suffix != ".json")
        backup.unlink()
        assert "no good back-up" in checks(proven(patched, static=True), "passed")["source"]

    @pytest.mark.parametrize("runs", [True, False], ids=["interpreter", "no interpreter"])
    @pytest.mark.parametrize("optimize", [-1, 2], ids=["python", "python -OO"])
    def test_stale_bytecode_is_seen(self, optimize: int, runs: bool, unpatched: Target) -> None:
        source = unpatched.site_packages / ISIN.file
        old = source.read_bytes()
        patched = apply(unpatched)
        with holding(source, old):
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            pyc = py_compile.compile(str(source), doraise=True, invalidation_mode=mode, optimize=optimize)
        result = proven(patched if runs else replace(patched, python=None), static=True)
        assert list(checks(result, "passed")) == ["source"]
        assert str(pyc) in checks(result, "failed")["bytecode"]
        assert error(result) == ("verification-failed", 1)

    def test_stale_bytecode_elsewhere_is_seen(
        self, unpatched: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Planted after the patch, since `apply` looks there too."""
        source, python = unpatched.site_packages / ISIN.file, str(unpatched.python)
        old = source.read_bytes()
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "prefix"))
        patched = apply(unpatched)
        with holding(source, old):
            mode = "py_compile.PycInvalidationMode.UNCHECKED_HASH"
            script = f"import py_compile, sys; py_compile.compile(sys.argv[1], invalidation_mode={mode})"
            subprocess.run([python, "-c", script, str(source)], check=True)
        assert str(tmp_path / "prefix") in checks(proven(patched, static=True), "failed")["bytecode"]
        monkeypatch.delenv("PYTHONPYCACHEPREFIX")
        assert proven(patched, static=True).error is None

    def test_bytecode_of_another_python_is_not_guessed_at(
        self, patched: Target, pythons: dict[tuple[int, int], Path]
    ) -> None:
        others = [python for version, python in pythons.items() if version != sys.version_info[:2]]
        if not others:
            pytest.skip("no other Python here")
        source = patched.site_packages / ISIN.file
        subprocess.run([str(others[0]), "-m", "py_compile", str(source)], check=True)
        folder = replace(patched, python=None)
        assert list(checks(proven(folder, static=True), "skipped")) == ["bytecode"]
        assert error(proven(folder, static=True)) == ("bytecode-unproven", 3)
        assert proven(patched, static=True).error is None

    def test_a_copy_that_hides_it_is_seen(
        self, patched: Target, unpacked: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = unpacked()
        monkeypatch.setenv("PYTHONPATH", str(other))
        failed = checks(proven(patched, static=True), "failed")
        assert list(failed) == ["bytecode"]
        assert str(other / ISIN.file) in failed["bytecode"]

    def test_what_libraries_print_does_no_harm(
        self, patched: Target, start_up: Callable[[str], None], capfd: pytest.CaptureFixture[str]
    ) -> None:
        start_up('import os\nfor stream in (1, 2):\n    os.write(stream, b"\\xff{}\\n" * 300_000)\n')
        assert proven(patched, static=True).error is None
        assert tuple(capfd.readouterr()) == ("", "")

    @pytest.mark.parametrize(
        ("code", "how"),
        [
            ("import os; os._exit(7)", "the interpreter ended with status 7"),
            ("import os; os.abort()", "the interpreter was killed by SIGABRT"),
            ("raise ImportError('no libtorch')", "the interpreter ended with status 1: ImportError: no libtorch"),
            (
                "import os; os.write(2, b'\\xff last words\\n\\n'); os._exit(1)",
                "status 1: \N{REPLACEMENT CHARACTER} last",
            ),
            ("import time; time.sleep(600)", "it was not done after 3 s"),
            ("raise SystemExit(0)", "the self-test stopped"),
        ],
    )
    def test_a_torch_that_ends_it_fails_the_first_check_of_torch(
        self, code: str, how: str, trap: Callable[[str], Target]
    ) -> None:
        result = proven(trap(code), timeout=3)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        assert list(checks(result, "failed")) == ["contract"]
        assert how in checks(result, "failed")["contract"]
        assert checks(result, "skipped") == dict.fromkeys(("callers", "generate"), "contract came to no end")
        assert error(result) == ("verification-failed", 1)

    def test_an_interpreter_that_dies_at_once_fails_the_first_check(
        self, patched: Target, start_up: Callable[[str], None]
    ) -> None:
        start_up("import os; os._exit(9)")
        result = proven(replace(patched, torch="2.1.0"))
        assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]
        assert checks(result, "failed") == {"bytecode": "the interpreter ended with status 9"}

    def test_an_interpreter_that_is_gone_fails_the_first_check(self, patched: Target, tmp_path: Path) -> None:
        result = proven(replace(patched, python=tmp_path / "gone"), static=True)
        assert checks(result, "failed") == {
            "bytecode": "the interpreter cannot be started: No such file or directory",
        }

    @pytest.fixture
    def leaving(self, start_up: Callable[[str], None], tmp_path: Path) -> Callable[[str], Callable[[], bool]]:
        """Makes every Python leave a child that ignores signals, and then run this; tells whether all ended."""
        held = tmp_path / "held"

        def plant(then: str) -> Callable[[], bool]:
            start_up(f"""if True:
                import fcntl, signal, subprocess, sys, time
                file = open({str(held)!r}, "w")
                fcntl.flock(file, fcntl.LOCK_EX)
                file.write("held"), file.flush()
                ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); "
                ignore += "time.sleep(600)"
                command, pipe = [sys.executable, "-S", "-c", ignore], subprocess.PIPE
                child = subprocess.Popen(command, pass_fds=[file.fileno()], stdout=pipe, env={{}})
                child.stdout.readline()
                {then}
            """)
            return ended

        def ended() -> bool:
            assert held.read_text() == "held"
            deadline = time.monotonic() + 5  # a killed process takes a moment to be gone
            with held.open() as file:
                while is_locked(file):
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.01)
            return True

        return plant

    @pytest.fixture
    def hanging_ended(self, leaving: Callable[[str], Callable[[], bool]]) -> Callable[[], bool]:
        return leaving("time.sleep(600)")

    @pytest.mark.parametrize("then", ["pass", "import os; os._exit(3)", "import os; os.abort()"])
    def test_what_it_left_behind_is_ended_too(
        self, patched: Target, leaving: Callable[[str], Callable[[], bool]], then: str
    ) -> None:
        ended = leaving(then)
        assert (proven(patched, static=True).error is None) == (then == "pass")
        assert ended()

    def test_what_hangs_is_ended_with_its_children(self, patched: Target, hanging_ended: Callable[[], bool]) -> None:
        result = proven(patched, static=True, timeout=1.5)
        assert checks(result, "failed") == {"bytecode": "it was not done after 1.5 s"}
        assert hanging_ended()

    def test_an_interrupt_ends_it_with_its_children(self, patched: Target, hanging_ended: Callable[[], bool]) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 1.5)
        try:
            with pytest.raises(KeyboardInterrupt):
                proven(patched, static=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert hanging_ended()

    def test_only_what_it_needs_of_the_environment_reaches_it(
        self, patched: Target, start_up: Callable[[str], None], tmp_path: Path
    ) -> None:
        """From the command line to the interpreter, which says what it was given."""
        seen = tmp_path / "seen.json"
        start_up(
            "import json, os, sys\n"
            f"if any('selftest' in one for one in sys.orig_argv): json.dump(dict(os.environ), open({str(seen)!r}, 'w'))"
        )
        needed = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": f"{os.environ['PYTHONPATH']}:{ROOT}",
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": "2",
            "PYTORCH_MPS_HIGH_WATERMARK_RATIO": "0.0",
            "KMP_DUPLICATE_LIB_OK": "TRUE",
            "VIRTUAL_ENV": "/env",
            "DYLD_LIBRARY_PATH": "/lib",
            "MKL_NUM_THREADS": "2",
        }
        secrets = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "SSH_AUTH_SOCK", "LD_SDK_KEY")
        others = (
            *secrets,
            "HF_HOME",
            "HF_HUB_CACHE",
            "XDG_CACHE_HOME",
            "PYTORCH_ENABLE_MPS_FALLBACK",
            "PYTHONSTARTUP",
            "https_proxy",
            "PS1",
            "_",
        )
        command = [sys.executable, "-m", "patcher", "verify", "--static", "--python", str(patched.python)]
        subprocess.run(command, env={**needed, **dict.fromkeys(others, "secret")}, check=True, stdin=subprocess.DEVNULL)
        given = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "USE_TF": "0", "USE_FLAX": "0"}
        environ = json.loads(seen.read_text())
        assert environ.pop("LC_CTYPE", None) in (None, "C.UTF-8")  # Python's own
        environ.pop("__CF_USER_TEXT_ENCODING", None)  # macOS's own
        cache = Path(environ.pop("HF_HOME"))
        assert (cache.name, cache.parent.parent, cache.parent.exists()) == ("cache", tmp_path, False)
        assert environ == {**needed, **given}

    @pytest.mark.parametrize("deed", ["{file}.write_bytes({file}.read_bytes() + b'#')", "{file}.unlink()"])
    def test_what_changes_meanwhile_is_not_told_of(
        self, patched: Target, start_up: Callable[[str], None], deed: str
    ) -> None:
        start_up(f"import pathlib\n{deed.format(file=f'pathlib.Path({str(patched.site_packages / ISIN.file)!r})')}")
        result = proven(patched, static=True)
        assert error(result) == ("target-changed", 1)
        assert list(checks(result, "passed")) == ["source"]
        assert len(result.checks) == 1

    def test_what_was_asked_and_what_was_found_is_passed_on(
        self, patched: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Beside the device itself, which only a real torch shows."""
        device = {"kind": "emulated-mps", "torch": "2.1.0", "macos": "13"}
        found = [Check(name=name, status="passed", detail=name.upper(), seconds=1.5) for name in ALL[1:]]
        asked: dict[str, Any] = {}

        def answer(command: list[str], _errors: int, timeout: float, cache: Path) -> str | None:
            python, selftest, request, report = command
            assert cache == Path(request).parent / "cache"
            assert (python, Path(selftest).name, timeout) == (str(patched.python), "__main__.py", 9)
            asked.update(json.loads(Path(request).read_text("utf-8")))
            assert Path(request).parent.name.startswith("mps-patcher-")
            told = {"planned": ALL[1:], "checks": [asdict(check) for check in found], "device": device}
            Path(report).write_text(json.dumps(told), "utf-8")
            return None

        assert isinstance(ISIN, FunctionPatch)
        monkeypatch.setattr(guest, "run", answer)
        options: dict[str, Any] = {"device": "emulated", "torch": "2.1", "macos": "13", "timeout": 9}
        result = proven(replace(patched, torch="2.1.0"), **options)
        assert (result.error, result.device) == (None, Device(**device))
        assert [check.name for check in result.checks] == ALL
        assert list(result.checks[1:]) == found
        assert asked == {
            "site_packages": str(patched.site_packages), "files": [str(patched.site_packages / ISIN.file)],
            "file": str(patched.site_packages / ISIN.file), "function": "isin_mps_friendly",
            "contract": str(ISIN.contract), "replacement": str(ISIN.replacement),
            "static": False, "device": "emulated", "torch": "2.1", "macos": "13",
        }  # fmt: skip

    @pytest.mark.parametrize("code", UNAVAILABLE)
    def test_a_device_that_cannot_be_had_is_told_of(
        self, code: str, patched: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def answer(command: list[str], *_: object) -> str | None:
            told = {"planned": ["bytecode"], "unavailable": {"code": code, "message": "there is none"}}
            done = {"name": "bytecode", "status": "passed", "detail": "", "seconds": 0.0}
            Path(command[3]).write_text(json.dumps({**told, "checks": [done]}), "utf-8")
            return None

        monkeypatch.setattr(guest, "run", answer)
        result = proven(replace(patched, torch="2.1.0"))
        assert error(result) == (code, 3)
        assert result.error
        assert (result.error.message, result.error.hint) == ("there is none.", UNAVAILABLE[code])
        assert checks(result, "skipped") == dict.fromkeys(ALL[2:], "there is none")
        with edited(patched.site_packages / ISIN.file, "import inspect\n", "import inspect  # by hand\n"):
            failed = proven(replace(patched, torch="2.1.0"))
        # of a device that is not here nothing can be told, whatever the file says; of the others it tells
        assert error(failed) == ((code, 3) if code == "no-device" else ("verification-failed", 1))

    @pytest.mark.parametrize(
        ("ending", "errors", "detail"),
        [
            ("it ended", b"", "it ended"),
            ("it ended", b"first\nTraceback of all: x y\n\n", "it ended: Traceback of all: x y"),
            (None, b"last words\n", "the self-test stopped: last words"),
            ("it ended", b"a\x0cb\xff\n", "it ended: a\x0cb\N{REPLACEMENT CHARACTER}"),
        ],
    )
    def test_a_self_test_that_came_to_no_end_fails_what_it_was_at(
        self, ending: str | None, errors: bytes, detail: str, patched: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def answer(command: list[str], stream: int, _timeout: float, _cache: Path) -> str | None:
            os.write(stream, errors)
            done = {"name": "bytecode", "status": "passed", "detail": "", "seconds": 0.0}
            Path(command[3]).write_text(json.dumps({"planned": ALL[1:], "checks": [done]}), "utf-8")
            return ending

        monkeypatch.setattr(guest, "run", answer)
        result = proven(replace(patched, torch="2.1.0"))
        assert checks(result, "failed") == {"contract": detail}
        assert checks(result, "skipped") == dict.fromkeys(ALL[3:], "contract came to no end")
        assert result.error
        assert result.error.message == "1 of 5 checks failed: contract."

    def test_why_the_rest_was_not_run_is_told(self, patched: Target) -> None:
        for target in (patched, replace(patched, python=None)):
            skipped = checks(proven(target), "skipped")
            assert set(skipped.values()) == {"there is no torch to run it with"}
        static = proven(replace(patched, python=None), static=True)
        assert checks(static, "skipped") == {}

    def test_bytecode_of_every_file_is_judged(
        self, unpacked: Callable[..., Path], shortened: Callable[[Path], Path]
    ) -> None:
        """Also that of the first of several."""
        target = target_of(site_packages=shortened(unpacked("4.44.2")))
        sources = [target.site_packages / ISIN.file, target.site_packages / "transformers/generation/utils.py"]
        for source in sources:
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            pyc = Path(str(py_compile.compile(str(source), doraise=True, invalidation_mode=mode)))
            stale = pyc.read_bytes()
            operations.apply((target,), CATALOGUE, named=False)
            pyc.write_bytes(stale)
            for result in verify((target,), CATALOGUE, named=False, static=True):
                assert str(pyc) in checks(result, "failed")["bytecode"]
            operations.revert((target,), CATALOGUE)
            pyc.unlink(missing_ok=True)

    def test_a_release_without_need_of_the_function(self, unpacked: Callable[..., Path]) -> None:
        """The few files that were unpacked call nothing directly."""
        target = target_of(site_packages=unpacked("4.39.3"))
        assert error(proven(target, named=True)) == ("function-absent", 1)
        for result in (proven(target), *verify((target,), CATALOGUE, named=False, static=True)):
            assert (result.error, result.checks) == (None, ())
            assert result.note == "There is nothing to verify."

    def test_a_release_that_lacks_the_function(self, unpacked: Callable[..., Path]) -> None:
        """5.1 and later, from which other packages import it."""
        target = target_of(site_packages=unpacked("5.1.0"))
        for result in (proven(target, static=True), proven(target, static=True, named=True)):
            assert "defines no isin_mps_friendly" in checks(result, "failed")["source"]
            assert error(result) == ("verification-failed", 1)
            assert result.error
            assert "mps-patcher apply" in result.error.hint
        apply(target)
        assert proven(target, static=True).error is None

    def test_what_apply_would_refuse_is_not_said_to_be_repaired_by_it(self, unpacked: Callable[..., Path]) -> None:
        """A release that has the function in another file."""
        target = target_of(site_packages=unpacked("5.23.0"))
        moved = target.site_packages / "transformers" / "utils" / "membership.py"
        moved.write_text("def isin_mps_friendly(elements, test_elements):\n    pass\n")
        result = proven(target, static=True)
        (refused, *_) = operations.apply((target,), (ISIN,), named=True)
        assert error(result) == ("verification-failed", 1)
        assert result.error
        assert refused.error
        assert result.error.hint == refused.error.hint
        assert "mps-patcher apply" not in result.error.hint

    def test_direct_calls_are_verified_where_they_were_redirected(
        self, unpacked: Callable[..., Path], shortened: Callable[[Path], Path]
    ) -> None:
        """Each patch has a check of its own files; all others are made once, and of the files of both."""
        target = target_of(site_packages=shortened(unpacked("4.44.2")))
        (unpatched,) = verify((target,), (DIRECT,), named=False, static=True, catalogue=CATALOGUE)
        assert "direct calls of torch.isin in 2 files" in checks(unpatched, "failed")["source"]
        operations.apply((target,), CATALOGUE, named=False)
        isin, direct = verify((target,), CATALOGUE, named=False, static=True)
        assert [list(checks(result, "passed")) for result in (isin, direct)] == [["source", "bytecode"]] * 2
        assert checks(direct, "passed")["source"] == "What called torch.isin in 2 files calls isin_mps_friendly"
        assert isin.checks[1] is direct.checks[1]
        with edited(target.site_packages / "transformers/generation/utils.py", "import torch\n", "import torch  #\n"):
            isin, direct = verify((target,), CATALOGUE, named=False, static=True)
        assert isin.error is None
        assert checks(direct, "failed") == {
            "source": "transformers/generation/utils.py was edited since it was patched"
        }

    def test_stale_bytecode_of_a_redirected_file_is_seen(
        self, unpacked: Callable[..., Path], shortened: Callable[[Path], Path]
    ) -> None:
        target = target_of(site_packages=shortened(unpacked("4.44.2")))
        source = target.site_packages / "transformers" / "generation" / "utils.py"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        pyc = Path(str(py_compile.compile(str(source), doraise=True, invalidation_mode=mode)))
        stale = pyc.read_bytes()
        operations.apply((target,), CATALOGUE, named=False)
        assert not pyc.exists()
        pyc.write_bytes(stale)
        for result in verify((target,), CATALOGUE, named=False, static=True):
            assert str(pyc) in checks(result, "failed")["bytecode"]
        _, direct = operations.apply((target,), CATALOGUE, named=False)
        assert (direct.changed, direct.note) == (True, "Already patched; removed bytecode that would run instead.")
        assert not pyc.exists()

    def test_where_nothing_is_found_nothing_is_verified(self, tmp_path: Path) -> None:
        options = Options(python=(), site_packages=(tmp_path,), under=())
        (result,) = verify(find(options, os.environ, tmp_path), CATALOGUE, named=False, static=False)
        assert error(result) == ("no-transformers", 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A whole transformers 4.45.1, unpatched, beside a real torch."""
    return target_of(python=throwaway(tmp_path_factory.mktemp("unpatched") / "env", "current"))


@pytest.fixture(scope="module")
def whole_patched(whole: Target, tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A copy of the other one, patched; its torch is links still."""
    assert whole.python
    prefix = tmp_path_factory.mktemp("patched") / "env"
    shutil.copytree(whole.python.parent.parent, prefix, symlinks=True)
    return apply(target_of(python=prefix / "bin" / "python"))


class TestWithTorch:
    """A real transformers 4.45.1 beside a real torch. Each full verification takes a while: there are few."""

    def test_the_error_of_the_first_report_is_shown(self, whole: Target) -> None:
        before = files(whole)
        result = proven(whole, device="emulated", torch="2.1", timeout=300)
        failed = checks(result, "failed")
        assert list(failed) == ["source", "contract", "callers", "generate"]
        assert "IndexError: tuple index out of range" in failed["generate"]
        assert "transformers/pytorch_utils.py:" in failed["generate"]
        assert error(result) == ("verification-failed", 1)
        assert result.device
        assert (result.device.kind, result.device.torch, result.device.macos) == ("emulated-mps", "2.1", "12.3")
        assert files(whole) == before

    def test_the_error_of_int64_on_an_old_macos_is_shown(self, whole: Target) -> None:
        failed = checks(proven(whole, device="emulated", torch="2.6", macos="13", timeout=300), "failed")
        assert list(failed) == ["source", "contract", "callers", "generate"]
        assert INT64_ON_OLD_MACOS in failed["generate"]

    @pytest.mark.parametrize(
        ("rules", "told"),
        [({}, ("2.13", "14")), ({"torch": "2.1", "macos": "13"}, ("2.1", "13"))],
        ids=["own rules", "2.1 on 13"],
    )
    def test_a_patched_file_passes(self, rules: dict[str, Any], told: tuple[str, str], whole_patched: Target) -> None:
        before = files(whole_patched)
        result = proven(whole_patched, device="emulated", timeout=300, **rules)
        assert list(checks(result, "passed")) == ALL
        assert result.error is None
        assert result.device
        assert (result.device.kind, result.device.torch, result.device.macos) == ("emulated-mps", *told)
        assert files(whole_patched) == before

    def test_a_wrong_function_fails_every_check_of_it(self, whole_patched: Target) -> None:
        """One that on MPS finds none of several values, and is right for all else."""
        right = "1 if number else test_elements.numel()\n"
        wrong = f"{right}    if m > 1:\n        return torch.zeros_like(elements, dtype=torch.bool)\n"
        with edited(whole_patched.site_packages / ISIN.file, right, wrong):
            result = proven(whole_patched, device="emulated", timeout=300)
        failed = checks(result, "failed")
        assert list(failed) == ["source", "contract", "callers", "generate"]
        assert "values differ" in failed["contract"]
        assert "several end tokens: other tokens than on the CPU" in failed["generate"]

    def test_a_caller_with_another_function_is_named(self, whole_patched: Target) -> None:
        """Only the modules are asked: what they then do with it is not."""
        caller = whole_patched.site_packages / "transformers" / "generation" / "stopping_criteria.py"
        with edited(caller, "\nlogger = ", "\nisin_mps_friendly = torch.isin\nlogger = "):
            result = proven(whole_patched, device="emulated", timeout=300)
        failed = checks(result, "failed")
        assert failed["callers"].startswith("1 of ")
        assert failed["callers"].endswith(": transformers.generation.stopping_criteria")
        assert "contract" not in failed

    @pytest.mark.skipif(sys.platform == "darwin", reason="there may be a real one here")
    def test_a_device_that_is_not_here_cannot_be_told_of(self, whole_patched: Target, whole: Target) -> None:
        for target in (whole_patched, whole):
            result = proven(target, device="mps")
            assert error(result) == ("no-device", 3)
            assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]
            assert result.device is None

    def test_a_torch_without_rules_cannot_be_told_of(self, whole_patched: Target) -> None:
        result = proven(whole_patched, device="emulated", torch="1.5")
        assert error(result) == ("torch-refused", 3)
        assert result.error
        assert result.error.message == "The rules of torch 1.5 are not known, those of 2.0 and later are."
        assert list(checks(result, "skipped")) == ["contract", "callers", "generate"]

"""Verification on real environments: what it proves, how it fails, and that it leaves everything as it is."""

from __future__ import annotations

import json
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import pytest
from terminal import Terminal
from torch_env import throwaway

from patcher import evidence, operations
from patcher.catalogue import load_catalogue
from patcher.errors import CannotTell
from patcher.evidence import RUNNING, UNAVAILABLE
from patcher.messages import RESTARTS
from patcher.model import Check, Device, Result, State, Target
from patcher.storage.lock import LockTimeout
from patcher.targets.find import TargetOptions, find_targets
from patcher.verify import VerifyOptions, verify_targets

ISIN, DIRECT = load_catalogue()
LOCK = LockTimeout()
ALL = ["source", "bytecode", *RUNNING]
HASHED = py_compile.PycInvalidationMode.UNCHECKED_HASH
INT64_ON_OLD_MACOS = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received dtype: "


@pytest.fixture(autouse=True)
def _as_users_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytecode is written where Python likes to, and nothing of this run's Python reaches the target's."""
    for name in [name for name in os.environ if name.startswith(("PYTHON", "COVERAGE"))]:
        monkeypatch.delenv(name)


def target_of(**options: Path) -> Target:
    named: dict[str, Any] = {name: (path,) for name, path in options.items()}
    (target,) = find_targets(TargetOptions(**named), os.environ, Path.cwd())
    assert isinstance(target, Target)
    return target


def apply(target: Target) -> Target:
    results = operations.apply((target,), load_catalogue(), named=False, lock=LOCK)
    assert [result.error for result in results] == [None] * len(results)
    return target


def verify(target: Target, *patches: Any, named: bool = False, **options: Any) -> list[Result]:
    asked = VerifyOptions(**options)
    return list(verify_targets((target,), patches or load_catalogue(), asked, named=named, lock=LOCK))


def proven(target: Target, **options: Any) -> Result:
    """The result of the function's patch."""
    (result,) = verify(target, ISIN, **options)
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
    return result.error.code, result.error.exit_code


def hint(result: Result) -> str:
    assert result.error is not None
    return result.error.hint


def file_of(target: Target) -> Path:
    return target.site_packages / ISIN.file


def files(target: Target) -> dict[str, tuple[int, bytes]]:
    """Every file of the environment's packages, links not followed, with its time."""
    found = (path for path in target.site_packages.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


@contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """The file with that one edit, and then as it was."""
    before, times = path.read_bytes(), path.stat()
    assert before.count(old.encode()) == 1
    path.write_bytes(before.replace(old.encode(), new.encode()))
    try:
        yield
    finally:
        path.write_bytes(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def plant_bytecode(target: Target, name: str, *, optimize: int = -1) -> Path:
    """Patches the target, and puts bytecode of the file as it was before there, which Python runs unchecked."""
    source = target.site_packages / name
    pyc = Path(str(py_compile.compile(str(source), doraise=True, invalidation_mode=HASHED, optimize=optimize)))
    stale = pyc.read_bytes()
    apply(target)
    assert not pyc.exists()
    pyc.write_bytes(stale)
    return pyc


@pytest.fixture
def unpatched(tmp_path: Path, unpacked: Callable[..., Path]) -> Target:
    """A transformers of a few files, without torch, in an environment of this Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "env")], check=True)
    (site_packages,) = (tmp_path / "env").glob("lib/python*/site-packages")
    shutil.copytree(unpacked(), site_packages, dirs_exist_ok=True)
    return target_of(python=tmp_path / "env" / "bin" / "python")


@pytest.fixture
def patched(unpatched: Target) -> Target:
    return apply(unpatched)


@pytest.fixture
def start_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes every Python that starts run this first."""

    def plant(code: str) -> None:
        (tmp_path / "start-up").mkdir()
        (tmp_path / "start-up" / "sitecustomize.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "start-up"))

    return plant


@pytest.fixture
def calls(unpacked: Callable[..., Path], shortened: Callable[[Path], Path]) -> Target:
    """A few files of 4.44.2, of which two call torch.isin; nothing here runs them."""
    return target_of(site_packages=shortened(unpacked("4.44.2")))


class TestStates:
    """What the state of the files says, and what it hints at."""

    def test_patched(self, patched: Target) -> None:
        before = files(patched)
        result = proven(patched, static=True)
        assert checks(result, "passed")["source"] == "pytorch_utils.py is as the patch makes it"
        assert [check.name for check in result.checks] == ["source", "bytecode"]
        assert (result.error, result.device, result.state) == (None, None, State.PATCHED)
        assert files(patched) == before

    def test_unpatched(self, unpatched: Target) -> None:
        before = files(unpatched)
        result = proven(unpatched, static=True)
        assert list(checks(result, "failed")) == ["source"]
        assert "the function of transformers 4.45.0 - 4.46.1" in checks(result, "failed")["source"]
        assert list(checks(result, "passed")) == ["bytecode"]
        assert error(result) == ("verification-failed", 1)
        assert hint(result) == "Run `mps-patcher apply`, then verify again."
        assert files(unpatched) == before

    def test_unpatched_without_an_effect(self, unpatched: Target) -> None:
        """As of a version that no row of the table is about: verified where it is named, and named in the hint too."""
        target = unpatched._replace(version="unknown")
        spared, named = (proven(target, static=True, named=named) for named in (False, True))
        assert (spared.error, spared.checks, spared.note) == (None, (), "nothing to verify")
        assert hint(named) == "Run `mps-patcher apply isin_mps_friendly`, then verify again."

    @pytest.mark.parametrize("text", ["import inspect  # by hand\n", "import import\n"])
    def test_edited(self, patched: Target, text: str) -> None:
        with edited(file_of(patched), "import inspect\n", text):
            result = proven(patched, static=True)
        assert checks(result, "failed")["source"] == f"{ISIN.file} was edited since it was patched: {RESTARTS}"
        assert error(result) == ("verification-failed", 1)
        assert "`mps-patcher apply --force`" in hint(result)

    def test_unparsable(self, unpatched: Target) -> None:
        with edited(file_of(unpatched), "import inspect\n", "import import\n"):
            result = proven(unpatched, static=True)
        assert list(checks(result, "failed")) == ["source", "bytecode"]
        assert error(result) == ("verification-failed", 1)
        assert "mps-patcher apply" not in hint(result)

    def test_without_a_backup(self, patched: Target) -> None:
        (backup,) = (patched.dist_info / "mps-patcher").glob("*pytorch_utils*")
        backup.unlink()
        result = proven(patched, static=True)
        assert checks(result, "passed")["source"] == "pytorch_utils.py is as the patch makes it"
        assert "the backup is missing" in str(result.note)

    def test_a_release_without_need_of_the_function(self, unpacked: Callable[..., Path]) -> None:
        """The few files that were unpacked call nothing directly."""
        target = target_of(site_packages=unpacked("4.39.3"))
        assert error(proven(target, named=True)) == ("function-absent", 1)
        for result in verify(target, static=True):
            assert (result.error, result.checks, result.note) == (None, (), "nothing to verify")

    def test_the_effect_is_that_under_the_rules_asked_for(self, unpacked: Callable[..., Path]) -> None:
        target = target_of(site_packages=unpacked("4.44.2"))._replace(torch="2.13.0")
        for torch, is_tested in ((None, False), ("2.3", True)):
            results = verify(target, static=True, torch=torch)
            assert [bool(result.checks) for result in results if result.patch == "direct_isin"] == [is_tested]

    def test_a_release_that_lacks_the_function(self, unpacked: Callable[..., Path]) -> None:
        """5.1 and later, from which other packages import it."""
        target = target_of(site_packages=unpacked("5.1.0"))
        for result in (proven(target, static=True), proven(target, static=True, named=True)):
            assert "has no such function" in checks(result, "failed")["source"]
            assert error(result) == ("verification-failed", 1)
            assert "`mps-patcher apply`" in hint(result)
        assert proven(apply(target), static=True).error is None

    def test_a_release_that_should_have_the_function(self, unpacked: Callable[..., Path]) -> None:
        """apply would refuse, so it is not what the hint says."""
        target = target_of(site_packages=unpacked())
        with edited(file_of(target), "def isin_mps_friendly(", "def isin_elsewhere("):
            result = proven(target, static=True)
            assert (result.state, error(result)) == (State.ABSENT, ("verification-failed", 1))
            assert "unlike in known releases" in checks(result, "failed")["source"]
            assert "mps-patcher apply" not in hint(result)

    def test_direct_calls_are_verified_with_the_function_that_they_are_sent_to(self, calls: Target) -> None:
        """Each patch has a check of its own files; all others are made once, and of the files of both."""
        _, before = verify(calls, DIRECT, static=True, named=True)
        assert "2 direct calls of torch.isin in 2 files" in checks(before, "failed")["source"]
        apply(calls)
        isin, direct = verify(calls, DIRECT, static=True, named=True)
        assert [list(checks(result, "passed")) for result in (isin, direct)] == [["source", "bytecode"]] * 2
        assert checks(direct, "passed")["source"] == "2 files are as the patch makes them"
        assert isin.checks[1] is direct.checks[1]
        with edited(calls.site_packages / "transformers/generation/utils.py", "import torch\n", "import torch  #\n"):
            isin, direct = verify(calls, static=True)
        assert isin.error is None
        assert "transformers/generation/utils.py was edited" in checks(direct, "failed")["source"]

    @pytest.mark.parametrize("deed", ["{file}.write_bytes({file}.read_bytes() + b'#')", "{file}.unlink()"])
    def test_what_changes_meanwhile_is_not_told_of(
        self, patched: Target, start_up: Callable[[str], None], deed: str
    ) -> None:
        start_up(f"import pathlib\n{deed.format(file=f'pathlib.Path({str(file_of(patched))!r})')}")
        result = proven(patched, static=True)
        assert error(result) == ("target-changed", 1)
        assert [check.name for check in result.checks] == ["source"]

    def test_nothing_is_found(self, tmp_path: Path) -> None:
        found = find_targets(TargetOptions(site_packages=(tmp_path,)), os.environ, tmp_path)
        (result,) = verify_targets(found, load_catalogue(), VerifyOptions(), named=False, lock=LOCK)
        assert error(result) == ("no-transformers", 3)


class TestBytecode:
    """What would run is the source that was verified."""

    @pytest.mark.parametrize("runs", [True, False], ids=["interpreter", "no interpreter"])
    @pytest.mark.parametrize("optimize", [-1, 2], ids=["python", "python -OO"])
    def test_stale(self, optimize: int, runs: bool, unpatched: Target) -> None:
        pyc = plant_bytecode(unpatched, str(ISIN.file), optimize=optimize)
        result = proven(unpatched if runs else unpatched._replace(python=None), static=True)
        assert list(checks(result, "passed")) == ["source"]
        assert str(pyc) in checks(result, "failed")["bytecode"]
        assert error(result) == ("verification-failed", 1)

    @pytest.mark.parametrize("name", ["transformers/pytorch_utils.py", "transformers/generation/utils.py"])
    def test_stale_in_any_of_several_files(self, calls: Target, name: str) -> None:
        pyc = plant_bytecode(calls, name)
        for result in verify(calls, static=True):
            assert str(pyc) in checks(result, "failed")["bytecode"]

    def test_stale_elsewhere(self, unpatched: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "prefix"))
        script = "import py_compile, sys; py_compile.compile(sys.argv[1], invalidation_mode=eval(sys.argv[2]))"
        mode = "py_compile.PycInvalidationMode.UNCHECKED_HASH"
        subprocess.run([str(unpatched.python), "-c", script, file_of(unpatched), mode], check=True)
        ((pyc, stale),) = ((path, path.read_bytes()) for path in (tmp_path / "prefix").rglob("pytorch_utils.*"))
        apply(unpatched)
        pyc.write_bytes(stale)
        assert str(pyc) in checks(proven(unpatched, static=True), "failed")["bytecode"]
        monkeypatch.delenv("PYTHONPYCACHEPREFIX")
        assert proven(unpatched, static=True).error is None

    def test_that_of_another_python_is_not_guessed_at(
        self, patched: Target, pythons: dict[tuple[int, int], Path]
    ) -> None:
        others = [python for version, python in pythons.items() if version != sys.version_info[:2]]
        if not others:
            pytest.skip("no other Python here")
        subprocess.run([str(others[0]), "-m", "py_compile", str(file_of(patched))], check=True)
        folder = patched._replace(python=None)
        assert list(checks(proven(folder, static=True), "skipped")) == ["bytecode"]
        assert error(proven(folder, static=True)) == ("bytecode-unproven", 3)
        assert proven(patched, static=True).error is None

    def test_a_copy_that_hides_it(
        self, patched: Target, unpacked: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        other = unpacked()
        monkeypatch.setenv("PYTHONPATH", str(other))
        failed = checks(proven(patched, static=True), "failed")
        assert list(failed) == ["bytecode"]
        assert str(other / ISIN.file) in failed["bytecode"]


class TestSelfTest:
    """What is asked of it, and what is made of its answer, however it ends."""

    @pytest.mark.parametrize("code", ["no-torch", "no-interpreter"])
    def test_what_cannot_run_is_skipped(self, patched: Target, code: str) -> None:
        target = patched if code == "no-torch" else patched._replace(python=None, torch="2.1.0")
        result = proven(target)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        why = "no torch" if target.python else "there is no interpreter to run it"
        assert checks(result, "skipped") == dict.fromkeys(RUNNING, why)
        assert error(result) == (code, 3)
        assert proven(target, static=True).error is None
        with edited(file_of(patched), "import inspect\n", "import inspect  # by hand\n"):
            assert error(proven(target)) == ("verification-failed", 1)

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
            ("import time; time.sleep(600)", "not finished after 3 s"),
            ("raise SystemExit(0)", "the self-test stopped"),
        ],
    )
    def test_a_torch_that_ends_it_fails_the_first_check_of_torch(self, code: str, how: str, patched: Target) -> None:
        (patched.site_packages / "torch").mkdir()
        (patched.site_packages / "torch" / "__init__.py").write_text(code)
        result = proven(patched._replace(torch="2.1.0"), timeout=3)
        assert list(checks(result, "passed")) == ["source", "bytecode"]
        assert checks(result, "failed") == {"contract": how}
        assert checks(result, "skipped") == dict.fromkeys(RUNNING[1:], "contract did not finish")
        assert error(result) == ("verification-failed", 1)

    def test_an_interpreter_that_dies_at_once_fails_the_first_check(
        self, patched: Target, start_up: Callable[[str], None], tmp_path: Path
    ) -> None:
        gone = proven(patched._replace(python=tmp_path / "gone"), static=True)
        told = "the interpreter cannot be started: No such file or directory"
        assert checks(gone, "failed") == {"bytecode": told}
        start_up("import os; os._exit(9)")
        result = proven(patched._replace(torch="2.1.0"))
        assert checks(result, "failed") == {"bytecode": "the interpreter ended with status 9"}
        assert list(checks(result, "skipped")) == list(RUNNING)

    def test_an_interrupt_leaves_nothing(
        self, patched: Target, start_up: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        start_up("import time; time.sleep(600)")
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 1)
        try:
            with pytest.raises(KeyboardInterrupt):
                proven(patched, static=True)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert not [*tmp_path.glob("mps-patcher-*")]

    def test_no_place_for_its_files(self, patched: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
        assert error(proven(patched, static=True)) == ("no-temporary-folder", 1)

    def test_it_gets_none_of_the_users_secrets(
        self, patched: Target, start_up: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen = tmp_path / "seen.json"
        start_up(f"import json, os\njson.dump(dict(os.environ), open({str(seen)!r}, 'w'))")
        monkeypatch.setenv("HF_TOKEN", "secret")
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        assert proven(patched, static=True).error is None
        environ = json.loads(seen.read_text())
        assert (environ.get("HF_TOKEN"), environ["OMP_NUM_THREADS"], environ["HF_HUB_OFFLINE"]) == (None, "2", "1")
        assert Path(environ["HF_HOME"]).parent.name.startswith("mps-patcher-")
        assert not Path(environ["HF_HOME"]).parent.exists()

    @pytest.fixture
    def answering(self, patched: Target, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
        """The result where the self-test writes that report and that to standard error, and ends so."""

        def prove(report: str, errors: bytes = b"", ending: str | None = None, **options: Any) -> Result:
            def answer(command: list[str], *, errors: IO[bytes], **given: Any) -> str | None:
                python, script, request, told = command
                assert (python, Path(script).name) == (str(patched.python), "__main__.py")
                self.asked = {**json.loads(Path(request).read_text()), **given}
                self.beside = {path.name for path in Path(script).parent.iterdir()}
                Path(told).write_text(report)
                errors.write(said)
                return ending

            said = errors
            monkeypatch.setattr(evidence, "run_python", answer)
            return proven(patched._replace(torch="2.1.0"), **options)

        return prove

    def test_what_was_asked_and_what_was_found_is_passed_on(
        self, patched: Target, answering: Callable[..., Result]
    ) -> None:
        device = {"kind": "emulated-mps", "torch": "2.1.0", "macos": "13"}
        found = [Check(name=name, status="passed", detail=name.upper(), seconds=1.5) for name in ALL[1:]]
        report = {"planned": ALL[1:], "checks": [check._asdict() for check in found], "device": device}
        options: dict[str, Any] = {"device": "emulated", "torch": "2.1", "macos": "13", "timeout": 9}
        result = answering(json.dumps(report), **options)
        assert (result.error, result.device) == (None, Device(**device))
        assert [check.name for check in result.checks] == ALL
        assert list(result.checks[1:]) == found
        assert self.asked.pop("environ")["HF_HUB_OFFLINE"] == "1"
        file, site_packages = str(file_of(patched)), patched.site_packages
        assert callable(self.asked.pop("meanwhile"))
        assert self.asked == {
            "site_packages": str(site_packages), "files": [file], "file": file, "function": "isin_mps_friendly",
            "contract": "contract.py", "static": False, "owner": site_packages, **options,
        }  # fmt: skip
        assert {"contract.py", "rules.py", "emulated.py", "generation.py"} < self.beside

    @pytest.mark.parametrize("code", UNAVAILABLE)
    def test_a_device_that_cannot_be_had_is_told_of(
        self, code: str, patched: Target, answering: Callable[..., Result]
    ) -> None:
        done = {"name": "bytecode", "status": "passed", "detail": "", "seconds": 0.0}
        unavailable = {"code": code, "message": "there is none"}
        report = json.dumps({"planned": ["bytecode"], "checks": [done], "unavailable": unavailable})
        result = answering(report)
        assert error(result) == (code, 3)
        assert result.error
        assert (result.error.message, result.error.hint) == ("there is none.", UNAVAILABLE[code])
        assert checks(result, "skipped") == dict.fromkeys(
            RUNNING, "no torch" if code == "no-torch" else "there is none"
        )
        with edited(file_of(patched), "import inspect\n", "import inspect  # by hand\n"):
            failed = answering(report)
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
    def test_what_it_was_at_when_it_ended_failed(
        self, ending: str | None, errors: bytes, detail: str, answering: Callable[..., Result]
    ) -> None:
        done = {"name": "bytecode", "status": "passed", "detail": "", "seconds": 0.0}
        result = answering(json.dumps({"planned": ALL[1:], "checks": [done]}), errors, ending)
        assert checks(result, "failed") == {"contract": detail}
        assert checks(result, "skipped") == dict.fromkeys(RUNNING[1:], "contract did not finish")
        assert result.error
        assert result.error.message == "1 check failed: contract."

    @pytest.mark.parametrize(
        "report", ["", "[]", "null", '{"checks": [{"name": 1}]}', '{"checks": 5}', '{"device": 5}']
    )
    def test_a_report_that_it_did_not_write_fails(self, report: str, answering: Callable[..., Result]) -> None:
        assert checks(answering(report), "failed") == {"bytecode": "the report of the self-test is damaged"}


SOMEBODY = 54321


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
class TestOwner:
    """As root, the self-test runs as the owner of what it imports, although our own files may be for root alone."""

    @pytest.fixture
    def target(self, unpacked: Callable[..., Path]) -> Iterator[Target]:
        with tempfile.TemporaryDirectory(dir="/tmp") as top:
            Path(top).chmod(0o755)
            subprocess.run([self.python(), "-m", "venv", "--without-pip", f"{top}/env"], check=True)
            (site_packages,) = Path(top, "env").glob("lib/python*/site-packages")
            shutil.copytree(unpacked(), site_packages, dirs_exist_ok=True)
            Path(top, "seen").touch()
            Path(top, "seen").chmod(0o666)
            code = f"import os; open({top + '/seen'!r}, 'w').write(str(os.getuid()))\n"
            (site_packages / "who.pth").write_text(code)
            yield apply(target_of(python=Path(top, "env", "bin", "python")))

    def python(self) -> str:
        for python in (os.path.realpath(sys.executable), "/usr/local/bin/python3", "/usr/bin/python3"):
            command = [python, "-c", "import venv, sys; assert sys.version_info > (3, 8)"]
            with suppress(OSError):
                if subprocess.run(command, user=SOMEBODY, group=SOMEBODY, capture_output=True).returncode == 0:
                    return python
        pytest.skip("there is no Python here that everybody may run")

    @pytest.mark.parametrize("theirs", ["lib/python3.*/site-packages", "."])
    def test_of_somebody_else(self, target: Target, theirs: str, monkeypatch: pytest.MonkeyPatch) -> None:
        top = target.site_packages.parents[3]
        (path,) = (top / "env").glob(theirs) if theirs != "." else (top,)
        os.chown(path, SOMEBODY, SOMEBODY)
        mine = Path(tempfile.mkdtemp(dir="/root"))  # 0700, as our own files may lie
        monkeypatch.setattr(evidence, "SELFTEST", shutil.copytree(evidence.SELFTEST, mine / "selftest"))
        try:
            result = proven(target, static=True)
        finally:
            shutil.rmtree(mine)
        assert (result.error, list(checks(result, "passed"))) == (None, ["source", "bytecode"])
        assert (top / "seen").read_text() == str(SOMEBODY)


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


@pytest.mark.models
class TestWithTorch:
    """A real transformers 4.45.1 beside a real torch. Each full verification takes a while: there are few."""

    @pytest.mark.parametrize(
        ("rules", "told", "seen"),
        [
            ({"torch": "2.1"}, ("2.1", "13"), "IndexError: tuple index out of range (transformers/pytorch_utils.py:"),
            ({"torch": "2.6", "macos": "13"}, ("2.6", "13"), INT64_ON_OLD_MACOS + "Long"),
        ],
    )
    def test_the_error_of_the_reports_is_shown(
        self, rules: dict[str, Any], told: tuple[str, str], seen: str, whole: Target
    ) -> None:
        before = files(whole)
        result = proven(whole, device="emulated", timeout=300, **rules)
        failed = checks(result, "failed")
        assert list(failed) == ["source", "contract", "generate"]
        assert seen in failed["generate"]
        assert error(result) == ("verification-failed", 1)
        assert result.device == Device(kind="emulated-mps", torch=told[0], macos=told[1])
        assert files(whole) == before

    @pytest.mark.parametrize("rules", [{}, {"torch": "2.1"}])
    def test_a_transformers_that_cannot_be_imported(self, rules: dict[str, Any], whole: Target) -> None:
        """Told as that, also where it was to be told that torch is another one."""
        file = whole.site_packages / "transformers" / "utils" / "generic.py"
        with edited(file, "import inspect\n", "import inspect, nothing_here\n"):
            result = proven(whole, device="emulated", **rules)
        why = "ModuleNotFoundError: No module named 'nothing_here' (transformers/utils/generic.py:"
        for name in ("contract", "callers"):
            assert checks(result, "failed")[name].startswith(f"transformers.pytorch_utils cannot be imported: {why}")
        assert error(result) == ("verification-failed", 1)
        assert hint(result).startswith("Make transformers importable first")

    def test_a_torch_that_this_transformers_does_not_know(self, whole: Target) -> None:
        file = whole.site_packages / "transformers" / "utils" / "generic.py"
        with edited(file, "import inspect\n", "import inspect, torch\nassert str(torch.__version__) > '2.12'\n"):
            result = proven(whole, device="emulated", torch="2.1")
        assert list(checks(result, "skipped")) == list(RUNNING)
        assert result.error
        assert result.error.code == "verification-failed"  # for the file is unpatched
        assert "cannot be made to see torch 2.1" in checks(result, "skipped")["contract"]

    def test_on_a_terminal_each_check_says_how_far_it_is(self, whole_patched: Target, tmp_path: Path) -> None:
        place = ["verify", "--device", "emulated", "--python", whole_patched.python]
        first = Terminal(*place, MPS_PATCHER_CACHE=str(tmp_path))
        assert first.saw(r"\r\033\[Kcontract \d+ of \d{3}\b")
        assert first.saw(r"\r\033\[Kgenerate \d+ of 24\b")
        assert first.end() == 0
        assert [line.split()[1] for line in first.left.splitlines() if line.startswith("  passed")] == ALL
        assert "last time" not in first.written
        second = Terminal(*place, MPS_PATCHER_CACHE=str(tmp_path))
        assert second.saw(r"\(all checks took \d+ (s|min) last time\)")
        assert second.end() == 0

    @pytest.mark.parametrize(
        ("rules", "told"),
        [({}, ("2.13", "14")), ({"torch": "2.1", "macos": "13"}, ("2.1", "13"))],
        ids=["own rules", "2.1 on 13"],
    )
    def test_a_patched_file_passes(self, rules: dict[str, Any], told: tuple[str, str], whole_patched: Target) -> None:
        before = files(whole_patched)
        result = proven(whole_patched, device="emulated", timeout=300, **rules)
        assert list(checks(result, "passed")) == ALL
        assert checks(result, "passed")["generate"] == "24 runs of Llama and T5 gave the CPU's tokens"
        assert checks(result, "passed")["callers"].startswith(
            "5 loaded modules"
        )  # the function's own, and four of generation
        assert result.error is None
        assert result.device == Device(kind="emulated-mps", torch=told[0], macos=told[1])
        assert files(whole_patched) == before

    def test_a_wrong_function_fails_every_check_of_it(self, whole_patched: Target) -> None:
        """One that finds nothing on MPS."""
        head = "def isin_mps_friendly("
        wrong = f"""{head}elements, test_elements):
    found = _right(elements, test_elements)
    return found & False if found.device.type == "mps" else found


def _right("""
        with edited(file_of(whole_patched), head, wrong):
            result = proven(whole_patched, device="emulated", timeout=300)
        failed = checks(result, "failed")
        assert list(failed) == ["source", "contract", "generate"]
        assert "values differ" in failed["contract"]
        assert "tokens differ from the CPU's" in failed["generate"]

    def test_a_caller_with_another_function_is_named(self, whole_patched: Target) -> None:
        caller = whole_patched.site_packages / "transformers" / "generation" / "stopping_criteria.py"
        with edited(caller, "\nlogger = ", "\nisin_mps_friendly = torch.isin\nlogger = "):
            result = proven(whole_patched, device="emulated", timeout=300)
        told = "wrong or missing function in transformers.generation.stopping_criteria"
        assert checks(result, "failed")["callers"] == told
        assert "contract" in checks(result, "passed")

    @pytest.mark.skipif(sys.platform == "darwin", reason="there may be a real one here")
    def test_a_device_that_is_not_here_cannot_be_told_of(self, whole_patched: Target, whole: Target) -> None:
        for target in (whole_patched, whole):
            result = proven(target, device="mps")
            assert error(result) == ("no-device", 3)
            assert list(checks(result, "skipped")) == list(RUNNING)
            assert result.device is None

    def test_a_torch_without_rules_cannot_be_told_of(self, whole_patched: Target) -> None:
        result = proven(whole_patched, device="emulated", torch="1.5")
        assert error(result) == ("no-rules", 3)
        assert result.error
        assert result.error.message == "torch 1.5 is not known to the emulated device; 2.0 and newer are."
        assert list(checks(result, "skipped")) == list(RUNNING)

"""Asking interpreters: noisy, slow, old and broken ones, and what must not get into the answer."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.locate import interpreter
from patcher.locate.interpreter import User


@pytest.fixture
def user(environ: dict[str, str], cwd: Path) -> User:
    return User(environ=environ, cwd=cwd)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_start_up_code_that_prints_and_moves_away(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    install(env.site_packages, torch="2.1.0")
    noise = 'import os, sys; print("{}"); sys.stderr.write("noise"); os.chdir("/")\n'
    (env.site_packages / "sitecustomize.py").write_text(noise)
    (env.site_packages / "noise.pth").write_text('import sys; print("]"); sys.stdout.flush()\n')
    (found,) = look(python=[env.python])
    assert (found.version, found.torch) == ("4.45.1", "2.1.0")


def test_neither_the_users_folder_nor_ours_is_on_the_path(venv: Any, user: User, cwd: Path) -> None:
    for name in ("transformers.py", "json.py", "importlib.py"):
        (cwd / name).write_text("raise SystemExit('shadowed')\n")
    answer = interpreter.ask(venv().python, "transformers", user)
    assert answer.folder is None
    assert not {cwd, interpreter.PROBE.parent} & set(answer.path)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of Python 3.11")
def test_safe_path(venv: Any, user: User, tmp_path: Path) -> None:
    environ = {**user.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(tmp_path)}
    answer = interpreter.ask(venv().python, "transformers", User(environ=environ, cwd=user.cwd))
    assert answer.path[0] == tmp_path


def test_a_relative_entry_is_one_of_the_users_folder(venv: Any, user: User, cwd: Path) -> None:
    env = venv()
    (env.site_packages / "sitecustomize.py").write_text("import sys\nsys.path.append('late')\n")
    assert interpreter.ask(env.python, "transformers", user).path[-1] == cwd / "late"


def test_it_reads_nothing_of_ours_and_tells_nobody_anything(
    user: User, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    python = script(tmp_path / "python", f'cat > "{tmp_path}/read"; echo out; exec {sys.executable} "$@"')
    before, (ours, theirs) = os.dup(0), os.pipe()
    os.write(theirs, b"ours")
    os.close(theirs)
    os.dup2(ours, 0)
    try:
        assert interpreter.ask(python, "json", user).folder
    finally:
        os.dup2(before, 0)
        os.close(ours)
        os.close(before)
    assert ((tmp_path / "read").read_bytes(), *capfd.readouterr()) == (b"", "", "")


def test_no_bytecode_is_left(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    install(env.site_packages)
    (env.site_packages / "started.pth").write_text("import helper\n")
    (env.site_packages / "helper.py").write_text("")
    look(python=[env.python])
    assert not list(env.prefix.rglob("*.pyc"))


def test_the_launchers_word_is_not_passed_on(user: User, tmp_path: Path) -> None:
    told = script(tmp_path / "python", 'echo "[$__PYVENV_LAUNCHER__]" >&2; exit 1')
    environ = {**user.environ, "__PYVENV_LAUNCHER__": "/another"}
    with pytest.raises(PatcherError, match=r": \[\]\."):
        interpreter.ask(told, "transformers", User(environ=environ, cwd=user.cwd))


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.12", "3.13", "3.14"])
def test_other_pythons(version: str, install: Any, look: Any, tmp_path: Path) -> None:
    name = f"python{version}"
    known = [shutil.which(name), *Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")]
    python = next((Path(path) for path in known if path and subprocess.run([path, "-V"]).returncode == 0), None)
    if python is None:
        pytest.skip(f"no Python {version} is installed")
    (found,) = look(python=[python], PYTHONPATH=install(tmp_path / "lib"))
    assert found.version == "4.45.1"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("exit 0", "does not answer as a Python would: it exited with 0."),
        ("echo first >&2; echo last >&2; exit 3", "does not answer as a Python would: last."),
        ("printf 'last \\377\\n' >&2; exit 3", "does not answer as a Python would: last \N{REPLACEMENT CHARACTER}."),
        ('echo "[]" > "$3"', "does not answer as a Python would: it exited with 0."),
        ('echo "{" > "$3"', "does not answer as a Python would: it exited with 0."),
    ],
)
def test_what_is_no_python(user: User, tmp_path: Path, text: str, told: str) -> None:
    python = script(tmp_path / "python", text)
    with pytest.raises(PatcherError) as caught:
        interpreter.ask(python, "transformers", user)
    assert (caught.value.code, caught.value.exit_code) == ("python-broken", 1)
    assert caught.value.message == f"{python} {told}"


def test_a_finder_that_raises(venv: Any, look: Any) -> None:
    env = venv()
    (env.site_packages / "sitecustomize.py").write_text(
        "import sys\nclass Broken:\n    def find_spec(name, *rest):\n        if name == 'transformers':\n"
        "            raise RuntimeError('a broken import hook')\nsys.meta_path.insert(0, Broken)\n"
    )
    (found,) = look(python=[env.python])
    assert found.error.code == "python-broken"
    assert "a broken import hook" in found.error.message


def test_what_cannot_be_run(venv: Any, user: User, tmp_path: Path) -> None:
    env = venv()
    (tmp_path / "text").write_text("not executable")
    (tmp_path / "foreign").write_bytes(b"\x7fELF" + bytes(60))
    (tmp_path / "foreign").chmod(0o755)
    (tmp_path / "link").symlink_to("gone")
    told = {}
    for path in (tmp_path / "none", tmp_path / "link", env.prefix, tmp_path, tmp_path / "text", tmp_path / "foreign"):
        with pytest.raises(PatcherError) as caught:
            interpreter.ask(path, "transformers", user)
        told[path.name] = (caught.value.code, caught.value.message.removeprefix(f"{path} "), caught.value.hint)
    assert [code for code, _, _ in told.values()] == ["python-not-found"] * 3 + ["python-broken"] * 3
    assert told["none"][1] == "does not exist."
    assert told["link"][1] == f"links to {tmp_path / 'gone'}, which does not exist."
    assert told["env"][1:] == (
        "is a folder, not an interpreter.",
        f"Name the interpreter in it: --python {env.python}.",
    )
    assert told["text"][1] == "cannot be run: Permission denied."
    assert told["foreign"][1] == "cannot be run: Exec format error."


def test_an_environment_with_python3_only(venv: Any) -> None:
    env = venv()
    env.python.unlink()
    if not (env.prefix / "bin" / "python3").exists():
        (env.prefix / "bin" / "python3").symlink_to(sys.executable)
    assert interpreter.within(env.prefix) == env.prefix / "bin" / "python3"


def test_a_slow_one_is_ended_with_all_it_started(user: User, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(interpreter, "LIMIT", 0.5)
    python = script(tmp_path / "python", f"sleep 60 & echo $! > {tmp_path}/child; wait")
    with pytest.raises(PatcherError) as caught:
        interpreter.ask(python, "transformers", user)
    assert caught.value.message == f"{python} did not answer within 0.5 seconds."
    child = int((tmp_path / "child").read_text())
    assert gone(child)


def test_an_interrupt_leaves_no_process(user: User, tmp_path: Path) -> None:
    python = script(tmp_path / "python", f"echo $$ > {tmp_path}/child; sleep 1; kill -INT {os.getpid()}; sleep 60")
    with pytest.raises(KeyboardInterrupt):
        interpreter.ask(python, "transformers", user)
    assert gone(int((tmp_path / "child").read_text()))


def gone(process: int) -> bool:
    """Whether a process ends within five seconds; one that only awaits its parent counts as ended."""
    for _ in range(100):
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], stdout=subprocess.PIPE, text=True).stdout
        if not state.strip() or state.startswith("Z"):
            return True
        time.sleep(0.05)
    os.kill(process, signal.SIGKILL)
    return False


@pytest.mark.parametrize("name", ["json", "no_such_module"])
def test_the_probe_itself(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The script as such: run here, where its lines are counted."""
    monkeypatch.setattr(sys, "path", [str(interpreter.PROBE.parent), *sys.path])
    monkeypatch.setattr(sys, "argv", [str(interpreter.PROBE), str(tmp_path / "answer"), name])
    runpy.run_path(str(interpreter.PROBE), run_name="__main__")
    assert ("json" in (tmp_path / "answer").read_text()) == (name == "json")


def test_no_place_for_its_answer(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(PatcherError) as caught:
        interpreter.ask(Path(sys.executable), "transformers", user)
    assert (caught.value.code, "TMPDIR" in caught.value.hint) == ("no-temporary-folder", True)

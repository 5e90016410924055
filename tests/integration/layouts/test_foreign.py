"""`--site-packages` of an image for another architecture: patched, proven as far as files tell, and nothing run."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

AARCH64_ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00\x01\x00\x00\x00" + bytes(40)
ARM64_MACH_O = b"\xcf\xfa\xed\xfe\x0c\x00\x00\x01\x00\x00\x00\x00\x02\x00\x00\x00" + bytes(16)
# Runs in the tool's own process before all else, and writes down what that process starts, runs or imports.
AUDIT = """
import os, sys
log = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def hook(event, arguments):
    what = None
    if event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty"):
        what = repr(arguments[:2])
    elif event == "exec":
        what = getattr(arguments[0], "co_filename", "")
    elif event == "import":
        what = arguments[1] or ""
    elif event in ("ctypes.dlopen", "marshal.loads"):
        what = ""
    if what is not None:
        os.write(log, f"{{event}} {{what}}\\n".encode("utf-8", "backslashreplace"))
sys.addaudithook(hook)
"""


@pytest.fixture(params=["linux-aarch64", "macos-arm64"])
def imaged(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Path], Path]:
    """`imaged(site_packages)` makes that folder one of an unpacked image, whose every file betrays that it was run."""
    return lambda site: make_image(request.param, site, tmp_path)


@pytest.fixture
def image(imaged: Callable[[Path], Path], site: Path) -> Path:
    return imaged(site)


def make_image(kind: str, site_packages: Path, tmp_path: Path) -> Path:
    system, binary = (AARCH64_ELF, "bin") if kind == "linux-aarch64" else (ARM64_MACH_O, "Versions/3.11/bin")
    root = tmp_path / "image"
    site_packages.parents[2].rename(root)
    site = root / "lib" / "python3.11" / "site-packages"
    mark = f"import os; os.close(os.open({str(tmp_path / 'ran')!r}, os.O_CREAT))\n"
    (site / "mark.pth").write_text(mark)
    for name in ("sitecustomize.py", "usercustomize.py", "torch/__init__.py"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text(mark)
    init = site / "transformers" / "__init__.py"
    init.write_text(f"{mark}{init.read_text()}")
    (site / "torch" / "_C.cpython-311-aarch64-linux-gnu.so").write_bytes(system)
    (root / binary).mkdir(parents=True, exist_ok=True)
    (root / "bin").mkdir(exist_ok=True)
    (root / binary / "python3.11").write_bytes(system)
    _script(root / "bin" / "python", tmp_path / "ran")
    _script(root / "bin" / "python3", tmp_path / "ran")
    (root / "pyvenv.cfg").write_text("home = /opt/foreign/bin\n")
    return site


def _script(path: Path, mark: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n: > '{mark}'\nexit 1\n")
    path.chmod(0o755)


@pytest.fixture
def watched(tool: Any, tmp_path: Path) -> Callable[..., tuple[Any, list[str]]]:
    """`watched(*words)` is what the command told, and what its process started, ran and imported; PATH betrays, too."""
    for name in ("python", "python3", "python3.11", "file", "uname", "ld", "env", "sh"):
        _script(tmp_path / "path" / name, tmp_path / "ran")
    (tmp_path / "hooks").mkdir()
    log = tmp_path / "log"
    (tmp_path / "hooks" / "sitecustomize.py").write_text(AUDIT.format(log=str(log)))

    def run(*words: object) -> tuple[Any, list[str]]:
        log.unlink(missing_ok=True)
        told = tool(*words, PYTHONPATH=tmp_path / "hooks", PATH=tmp_path / "path")
        return told, log.read_text().splitlines()

    return run


@pytest.mark.parametrize("command", ["status", "apply", "verify", "verify --static", "revert"])
def test_nothing_is_executed_of_a_foreign_image_or_for_it(
    tool: Any, watched: Callable[..., Any], image: Path, tmp_path: Path, command: str
) -> None:
    if command in ("verify", "verify --static", "revert"):
        tool("apply", "--site-packages", image)
    told, events = watched(*command.split(), "--site-packages", image)
    assert told.code == (3 if command == "verify" else 0), told.err
    assert any(event.startswith("exec ") for event in events), "the trace saw nothing"
    starts = [event for event in events if event.split()[0] not in ("exec", "import", "ctypes.dlopen", "marshal.loads")]
    assert starts == []
    assert [event for event in events if str(tmp_path / "image") in event] == []
    assert not (tmp_path / "ran").exists()


def test_a_foreign_image_is_patched_proven_from_its_files_and_taken_back(
    tool: Any, tree: Any, imaged: Callable[[Path], Path], calling: Path
) -> None:
    image = imaged(calling)
    original = tree(image.parents[2])
    applied = tool.json("apply", "--site-packages", image)
    assert applied.states == {"isin_mps_friendly": "patched", "direct_isin": "patched"}
    assert applied.results[0]["target"]["python"] is None
    assert applied.results[0]["target"]["torch"] == "2.1.0"
    static = tool.json("verify", "--static", "--site-packages", image)
    assert [check["status"] for result in static.results for check in result["checks"]] == ["passed"] * 4
    assert static.code == 0
    whole = tool.json("verify", "--site-packages", image)
    assert whole.code == 3
    assert {check["status"] for result in whole.results for check in result["checks"]} == {"passed", "skipped"}
    assert tool("revert", "--site-packages", image).code == 0
    assert tree(image.parents[2]) == original


@pytest.mark.usefixtures("image")
def test_an_image_below_a_folder_is_found_without_an_interpreter_that_runs(tool: Any, tmp_path: Path) -> None:
    """`--under` asks interpreters; one of another architecture cannot be started, and that is no error."""
    for name in ("python", "python3"):
        path = tmp_path / "image" / "bin" / name
        path.write_bytes(AARCH64_ELF)
        assert path.stat().st_mode & stat.S_IXUSR
    told = tool.json("status", "--under", tmp_path / "image")
    assert (told.code, told.results[0]["target"]["python"]) == (0, None)
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="strace is of Linux")
def test_the_system_saw_no_program_but_ours_start(tool: Any, image: Path, tmp_path: Path) -> None:
    """The same from outside the process, where strace is installed."""
    strace = next((path for folder in os.get_exec_path() if (path := Path(folder, "strace")).exists()), None)
    if strace is None:
        pytest.skip("strace is not installed")
    trace = tmp_path / "trace"
    start = (str(strace), "-f", "-qq", "-e", "trace=execve,execveat", "-o", str(trace))
    assert tool.through(start, "apply", "--site-packages", image).code == 0
    lines = [line for line in trace.read_text().splitlines() if " = 0" in line and "exec" in line]
    assert [line for line in lines if str(tmp_path / "image") in line.partition("[")[0]] == []
    assert len(lines) == 1, lines
    assert not (tmp_path / "ran").exists()

"""`run --emulate --report FILE`: what real programs on real torch ask for, however they end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from running import MAIN, App

SIGN = "import torch; torch.ones(2, device='mps').sign()"
SEARCH = """
import torch
from pathlib import Path

def search(x):
    return torch.searchsorted(x, x)

x = torch.arange(3.0, device="mps")
for _ in range(3):
    search(x)
torch.searchsorted(x, x.int().float())
"""
CHILDREN = f"""
import multiprocessing, os, subprocess, sys
from concurrent.futures import ProcessPoolExecutor

def sign(count=1):
    import torch
    x = torch.ones(2, device="mps")
    for _ in range(count):
        x.sign()

def work(method, count):
    process = multiprocessing.get_context(method).Process(target=sign, args=(count,))
    process.start()
    process.join()

if __name__ == "__main__":
    work("forkserver", 10000)  # before torch is imported here
    sign(1)
    work("fork", 10)
    work("spawn", 100)
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.map(sign, [1000])
    subprocess.run([sys.executable, "-c", {SIGN!r}], check=True)
    subprocess.run([sys.executable, "-c", {SIGN!r}], check=True)
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        pool.submit(sign, 100000).result()
    if os.fork() == 0:
        sign(3)
        sys.exit()
    os.wait()
"""

pytestmark = pytest.mark.models


@pytest.fixture
def app(torch_env: Path, tmp_path: Path) -> App:
    return App(tmp_path, torch_env)


def run(app: App, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return app.run("--emulate", "--torch", "2.1", "-q", "--report", "report.json", *words, **options)


def report_of(app: App) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((app.folder / "report.json").read_text())
    return report


def operator(app: App, name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (one for one in report_of(app)["operators"] if one["operator"] == name)
    return found


def test_what_a_mac_lacks_and_who_asked_for_it(app: App) -> None:
    done = run(app, "--", app.script(SEARCH), "--fast")
    assert done.returncode == 0, done.stderr
    report = report_of(app)
    assert report["device"] == {"kind": "emulated-mps", "torch": "2.1", "macos": "13"}
    assert report["program"] == [str(app.folder / "script.py"), "--fast"]
    assert report["counts"]["missing"] == 1
    assert report["operators"][0] == {
        "operator": "aten::searchsorted.Tensor", "asked": "aten::searchsorted.Tensor", "status": "missing",
        "evidence": report["operators"][0]["evidence"], "first_torch": "2.2", "calls": 4, "dtypes": [["float32"]],
        "line": "script.py:6", "library": None, "limits": [],
    }  # fmt: skip
    rows = [line.split() for line in (app.folder / "report.md").read_text().splitlines() if line.startswith("| `")]
    assert rows[0][1::2] == ["`aten::searchsorted.Tensor`", "missing", "2.2", "4", "float32", "`script.py:6`", "-"]
    assert len(rows) == report["counts"]["operators"] == len(report["operators"])


def test_a_library_of_the_program_is_named_beside_its_line(app: App) -> None:
    code = "import torch, transformers.activations as m\nm.NewGELUActivation()(torch.ones(2, device='mps'))\n"
    assert run(app, "--", app.script(code)).returncode == 0
    found = operator(app, "aten::tanh")
    assert found["line"] == "script.py:2"
    assert found["library"].startswith("transformers/activations.py:")


def test_what_a_kernel_refuses_is_told_with_its_reason(app: App) -> None:
    code = "import torch\ntorch.ones(3, device='mps').cumsum(0)\ntorch.arange(3, device='mps').cumsum(0)\n"
    done = run(app, "--macos", "13.2", "--", app.script(code))
    assert "MPS does not support cumsum op with int64 input" in done.stderr
    found = operator(app, "aten::cumsum")
    assert (found["status"], found["line"]) == ("refused", "script.py:3")
    assert [(one["effect"], one["dtypes"], one["below_macos"]) for one in found["limits"]] == [
        ("RuntimeError", "int64", "13.3")
    ]
    assert "refused: int64 below macOS 13.3" in (app.folder / "report.md").read_text()


def test_an_operator_that_is_refused_is_in_the_report(app: App) -> None:
    done = run(app, "--", app.script(SEARCH), environ={"PYTORCH_ENABLE_MPS_FALLBACK": "0"})
    assert "NotImplementedError" in done.stderr
    assert operator(app, "aten::searchsorted.Tensor")["calls"] == 1


@pytest.mark.parametrize("end", ["", "raise SystemExit(3)", "raise KeyError", "os.kill(os.getpid(), 2)"])
def test_every_usual_end(app: App, end: str) -> None:
    plain = app.plain("-c", f"import os; {end}").returncode
    assert run(app, "-c", f"{SIGN}; import os; {end}").returncode == plain
    assert operator(app, "aten::sign")["calls"] == 1


def test_sigterm_ends_the_program_as_without_the_report(app: App) -> None:
    code = f"{SIGN}; import time; print('ready', flush=True); time.sleep(60)"
    words = ["run", "--python", app.python, "--emulate", "-q", "--report", "report.json", "-c", code]
    command = [sys.executable, "-c", MAIN, *map(str, words)]
    with subprocess.Popen(command, env=app.environ, stdout=subprocess.PIPE, text=True, cwd=app.folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        start = time.monotonic()
        assert process.wait() == -signal.SIGTERM
        assert time.monotonic() - start < 30
    assert operator(app, "aten::sign")["calls"] == 1


def test_a_program_that_handles_sigterm_itself_still_does(app: App) -> None:
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))"
    code = f"import os, signal, sys; {handler}; {SIGN}; os.kill(os.getpid(), signal.SIGTERM)"
    assert run(app, "-c", code).returncode == 7
    assert operator(app, "aten::sign")["calls"] == 1


def test_child_processes_of_every_kind_add_up(app: App) -> None:
    done = run(app, "--", app.script(CHILDREN))
    assert (done.returncode, done.stderr) == (0, "")
    assert operator(app, "aten::sign")["calls"] == 111116


def test_many_processes_that_end_at_once(app: App) -> None:
    code = f"import multiprocessing as m\ndef f(_):\n    {SIGN}\np = [m.Process(target=f, args=(0,)) for _ in range(8)]"
    started = "import torch; [q.start() for q in p]; [q.join() for q in p]"
    assert run(app, "-c", f"import multiprocessing as m; m.set_start_method('fork')\n{code}\n{started}").returncode == 0
    assert operator(app, "aten::sign")["calls"] == 8


def test_a_report_takes_the_place_of_an_earlier_one(app: App) -> None:
    for _ in range(2):
        assert run(app, "-c", SIGN).returncode == 0
    assert operator(app, "aten::sign")["calls"] == 1
    assert run(app, "-c", "import os; import torch; torch.ones(2, device='mps').sign(); os._exit(0)").returncode == 0
    assert report_of(app)["operators"] == []


def test_a_program_that_moves_finds_its_report(app: App) -> None:
    assert run(app, "-c", f"import os; os.chdir('/'); {SIGN}").returncode == 0
    assert operator(app, "aten::sign")["line"] == "<string>:1"


def test_a_report_that_cannot_be_written_at_the_end_leaves_the_program_as_it_is(app: App) -> None:
    done = run(app, "-c", f"import os, sys; {SIGN}; os.remove('report.json'); sys.exit(5)")
    assert done.returncode == 5
    assert done.stderr.startswith("The report cannot be written: ")
    assert done.stderr.count("\n") == 1


def test_a_program_within_that_has_no_report_adds_nothing(app: App) -> None:
    inner = [sys.executable, "-c", MAIN, "run", "--python", str(app.python), "--emulate", "-q", "-c", SIGN]
    assert run(app, "-c", f"import subprocess; subprocess.run({inner!r}, check=True)").returncode == 0
    assert report_of(app)["operators"] == []


@pytest.mark.parametrize("place", ["nowhere/report.json", "folder", "notes.json", "other.json", "/dev/full"])
def test_what_cannot_be_written_is_refused_before_the_program_starts(app: App, place: str) -> None:
    (app.folder / "folder").mkdir()
    (app.folder / "notes.md").write_text("Mine\n")
    (app.folder / "other.json").write_text("{}\n")
    done = app.run("--emulate", "--report", place, "-c", "print('started')")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 2), done.stderr
    assert (app.folder / "notes.md").read_text() == "Mine\n"
    assert (app.folder / "other.json").read_text() == "{}\n"
    assert not (app.folder / "notes.json").exists()

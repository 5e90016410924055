"""An installer at work exactly before our last look at a file: what it wrote is left alone.

Our process is a real one, held in the kernel at a step of its own; the installer is a real one that runs to its end
there.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import syscalls
from documents import read_document

pytestmark = pytest.mark.skipif(not syscalls.available(), reason="system calls cannot be held here")

LAST = {"reinstall": "4.45.1", "upgrade": "4.46.3", "uninstall": None}
"""What the installer does with 4.45.1, and the release that is there after that."""
STEPS = ("journal", "file", "RECORD")
SAMPLE = (
    ("uv", "apply", "journal", "upgrade"),
    ("uv", "apply", "file", "reinstall"),
    ("uv", "apply", "RECORD", "upgrade"),
    ("pip", "apply", "RECORD", "uninstall"),
    ("uv", "revert", "journal", "reinstall"),
    ("uv", "revert", "file", "uninstall"),
    ("uv", "revert", "RECORD", "reinstall"),
)
"""What `make test` tries; `make test-races` tries every other combination."""


def cases() -> Iterator[Any]:
    for case in itertools.product(("uv", "pip"), ("apply", "revert"), STEPS, LAST):
        tool, command, step, what = case
        marks = [] if case in SAMPLE else [pytest.mark.races]
        yield pytest.param(*case, id=f"{tool} {what}s before {command}: {step}", marks=marks)


def is_reached(step: str, seen: list[syscalls.Call]) -> bool:
    """Whether the last of these calls is the one before which the installer comes.

    The state file or the function's file is about to be written beside the real one; or the function's file has just
    been replaced, and RECORD has not.
    """
    call = seen[-1]
    if step == "RECORD":
        renamed = [Path(str(one.to)).name for one in seen if one.name.startswith("rename")]
        return call.name == "fsync" and renamed[-1:] == ["pytorch_utils.py"]
    name = {"journal": "state.json", "file": "pytorch_utils.py"}[step]
    return call.name == "openat" and Path(call.path).name == f".{name}.mps-patcher"


def held(venv: Any, command: str, step: str, installer: list[str]) -> dict[str, Any]:
    """Runs the command, which waits in the kernel while the installer runs, and returns its document."""
    seen: list[syscalls.Call] = []
    reached: list[str] = []

    def judge(_: int, call: syscalls.Call) -> syscalls.Decision:
        seen.append(call)
        if not reached and is_reached(step, seen):
            reached.append(step)
            subprocess.run(installer, check=True, capture_output=True, env=venv.environ)  # pip may warn of our folder
        return None

    ending = syscalls.intercept(venv.patcher(command, "--json"), judge, environ=venv.environ)
    assert "Traceback" not in ending.err
    assert reached, (ending.out, ending.err)
    return {**read_document(ending.out), "code": ending.status}


@pytest.mark.parametrize(("tool", "command", "step", "what"), [*cases()])
def test_what_an_installer_wrote_before_our_look_stays(
    venv: Callable[[str], Any], small: Callable[[str], Path], tool: str, command: str, step: str, what: str
) -> None:
    """Nothing is lost, torn or back from the dead, and the next commands find their way."""
    env, version = venv(tool), LAST[what]
    wheel = small(version) if version else None
    env.call(env.installing(small("4.45.1")))
    if command == "revert":
        env.ours("apply")
    told = held(env, command, step, env.installing(wheel) if wheel else env.uninstalling())
    errors = {one["error"]["code"] for one in told["results"] if one["error"]}
    assert told["code"] == (1 if errors else 0)
    assert errors <= {"target-changed", "not-proven"}
    assert errors or what == "reinstall"  # which writes the very same bytes
    wrong = env.wrong(wheel)
    assert not wrong, "\n".join(wrong)
    if wheel is None:
        return
    assert {one["state"] for one in env.each("status")} <= {"patched", "unpatched", "absent"}
    for next_one in ("apply", "revert"):
        env.ours(next_one)
        assert env.wrong(wheel) == []

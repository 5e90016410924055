"""An installer at work exactly between our last look at a file and the step that replaces it.

Our process is a real one, stopped where it is about to rename; the installer is a real one that runs to its end there.
"""

from __future__ import annotations

import errno
import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pip
import pytest
import syscalls

pytestmark = pytest.mark.skipif(not syscalls.available(), reason="system calls cannot be held here")

INSTALL, FAIL = "install", "fail"
STEPS = {
    "ledger": {("state.json", 1): INSTALL},
    "file": {("pytorch_utils.py", 1): INSTALL},
    "RECORD": {("RECORD", 1): INSTALL},
    "put back": {("RECORD", 1): FAIL, ("pytorch_utils.py", 2): INSTALL},
}
"""What happens before a file of that name is put into its place for the nth time; to put one back it needs a fault."""
LAST = {"reinstall": "4.45.1", "upgrade": "4.46.3", "uninstall": None}
"""What the installer does with 4.45.1, and the release that is there after that."""


class NotReached(Exception):
    """Our process was never where it was to be stopped: the test shows nothing."""


def cases() -> Iterator[Any]:
    """Every command, step and deed with uv, and some with pip, which is slower."""
    for tool, command, step, what in itertools.product(("uv", "pip"), ("apply", "revert"), STEPS, LAST):
        if (tool == "uv" or step == "file") and (command, step) != ("revert", "ledger"):  # which only removes it
            yield pytest.param(tool, command, step, what, id=f"{tool} {what}s before {command}: {step}")


def stopped(venv: Any, command: str, steps: dict[tuple[str, int], str], installer: list[str]) -> dict[str, Any]:
    """Runs the command, which waits in the kernel meanwhile, and returns its document."""
    seen: dict[str, int] = {}
    reached = []

    def judge(_: int, call: syscalls.Call) -> syscalls.Decision:
        if not call.name.startswith("rename"):
            return None
        step = None
        for name in {Path(call.path).name, Path(str(call.to)).name}:
            seen[name] = seen.get(name, 0) + 1
            step = steps.get((name, seen[name]), step)
        if step is None:
            return None
        reached.append(step)
        if step == FAIL:
            return errno.ENOSPC
        subprocess.run(installer, check=True, capture_output=True, env=venv.environ)  # pip may warn of our folder
        return None

    ending = syscalls.intercept(venv.patcher(command, "--json"), judge, environ=venv.environ)
    assert "Traceback" not in ending.err
    if len(reached) != len(steps):
        raise NotReached(ending.out, ending.err)
    return {**json.loads(ending.out), "code": ending.status}


@pytest.mark.parametrize(("tool", "command", "step", "what"), [*cases()])
def test_an_installer_in_the_moment_before_we_write(
    venv: Callable[[str], Any],
    small: Callable[[str], Path],
    tool: str,
    command: str,
    step: str,
    what: str,
) -> None:
    """Nothing is lost, torn or back from the dead, and the next commands find their way."""
    env, version = venv(tool), LAST[what]
    wheel = small(version) if version else None
    env.call(env.installing(small("4.45.1")))
    if command == "revert":
        env.ours("apply")
    installer = env.installing(wheel) if wheel else env.uninstalling()
    told = stopped(env, command, STEPS[step], installer)
    wrong = env.wrong(wheel)
    assert not wrong, "\n".join(wrong)
    assert told["code"] == (0 if told["ok"] else 1)
    if wheel is None:
        return
    assert {one["state"] for one in env.each("status")} <= {"patched", "unpatched", "absent"}
    for next_one in ("apply", "revert", "apply"):
        env.ours(next_one)
        assert env.wrong(wheel) == []
    env.call(env.uninstalling())
    assert env.wrong(None) == []


# pip, with a command that runs when it has read RECORD, as where it waits for the user's "Proceed (Y/n)?".
HAS_READ = """
import json, subprocess, sys
meanwhile = json.loads(sys.argv.pop(1))
from pip._internal.req.req_uninstall import UninstallPathSet
real = UninstallPathSet.remove
def remove(self, *arguments, **options):
    subprocess.run(meanwhile, check=True, stdout=subprocess.DEVNULL)
    return real(self, *arguments, **options)
UninstallPathSet.remove = remove
from pip._internal.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("version", [None, "4.46.3"], ids=["uninstall", "upgrade"])
def test_what_an_installer_left_since_it_knew_nothing_of_us_goes_with_the_next_revert(
    venv: Callable[[str], Any], small: Callable[[str], Path], tmp_path: Path, version: str | None
) -> None:
    """Patched while pip had read RECORD already, and waited: it removes transformers, but not our folder."""
    env = venv("pip")
    env.call(env.installing(small("4.45.1")))
    command = env.installing(small(version)) if version else env.uninstalling()
    words = command[command.index(str(env.python)) + 1 :]  # with --python, pip would start itself anew
    (tmp_path / "only-pip").mkdir()
    (tmp_path / "only-pip" / "pip").symlink_to(Path(pip.__file__).parent)
    environ = env.environ | {"PYTHONPATH": str(tmp_path / "only-pip")}
    patching = ["/usr/bin/env", f"PYTHONPATH={env.environ['PYTHONPATH']}", *env.patcher("apply")]
    subprocess.run([env.python, "-c", HAS_READ, json.dumps(patching), *words], env=environ, check=True)
    assert any("/mps-patcher/" in name for name in env.names())
    subprocess.run(env.patcher("revert"), env=env.environ, check=False, capture_output=True)
    assert env.wrong(small(version) if version else None) == []

"""An installer at work exactly between our last look at a file and the step that replaces it.

Our process is a real one, stopped where it is about to rename; the installer is a real one that runs to its end there.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pip
import pytest

from patcher.model import State

# Runs a command line, and in the place of each `name` that is about to be put into its place for the nth time either
# an installer first, or a fault.
STOPPED = """
import json, os, subprocess, sys
from patcher import cli
from patcher.change import exchange

plan, log, arguments = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3:]
seen = {}

def stopping(real):
    def call(*names, **options):
        for name in names:
            seen[name] = seen.get(name, 0) + 1
            step = plan.get(f"{name}:{seen[name]}") if isinstance(name, str) else None
            if step is not None:
                print(name, file=open(log, "a"))
            if step == "fail":
                raise OSError(28, "No space left on device")
            if step:
                subprocess.run(step, check=True, stdout=subprocess.DEVNULL)
        return real(*names, **options)
    return call

os.rename, exchange.names = stopping(os.rename), stopping(exchange.names)
cli.main(arguments)
"""
STEPS = {
    "ledger": {"state.json:1": "installer"},
    "file": {"pytorch_utils.py:1": "installer"},
    "RECORD": {"RECORD:1": "installer"},
    "put back": {"RECORD:1": "fail", "pytorch_utils.py:2": "installer"},
}
"""Where our process is stopped; to put a file back it needs a fault first."""
LAST = {"reinstall": "4.45.1", "upgrade": "4.46.3", "uninstall": None}
"""What the installer does with 4.45.1, and the release that is there after that."""


class NotReached(Exception):
    """Our process was never where it was to be stopped: the test shows nothing."""


def cases() -> Iterator[Any]:
    """Every command, step and deed with uv, and some with pip, which is slower."""
    for tool, command, step, what in itertools.product(("uv", "pip"), ("apply", "revert"), STEPS, LAST):
        if (tool == "uv" or step == "file") and (command, step) != ("revert", "ledger"):  # which only removes it
            yield pytest.param(tool, command, step, what, id=f"{tool} {what}s before {command}: {step}")


def stopped(venv: Any, command: str, plan: dict[str, Any], log: Path) -> dict[str, Any]:
    """Runs the command with the plan, and returns its document."""
    line = [sys.executable, "-c", STOPPED, json.dumps(plan), str(log), command, "--json"]
    line += ["--site-packages", str(venv.site_packages)]
    done = subprocess.run(line, capture_output=True, text=True, env=venv.environ, check=False)
    assert "Traceback" not in done.stderr
    if not log.exists() or len(log.read_text().split()) != len(plan):
        raise NotReached(done.stdout, done.stderr)
    return {**json.loads(done.stdout), "code": done.returncode}


@pytest.mark.parametrize(("tool", "command", "step", "what"), [*cases()])
def test_an_installer_in_the_moment_before_we_write(
    venv: Callable[[str], Any],
    small: Callable[[str], Path],
    tmp_path: Path,
    tool: str,
    command: str,
    step: str,
    what: str,
) -> None:
    """Nothing is lost, torn or back from the dead, and the next commands find their way."""
    it, version = venv(tool), LAST[what]
    wheel = small(version) if version else None
    it.call(it.installing(small("4.45.1")))
    if command == "revert":
        it.ours("apply")
    installer = it.installing(wheel) if wheel else it.uninstalling()
    plan = {moment: installer if action == "installer" else action for moment, action in STEPS[step].items()}
    told = stopped(it, command, plan, tmp_path / "log")
    wrong = it.wrong(wheel)
    assert not wrong, "\n".join(wrong)
    assert told["code"] == (0 if told["ok"] else 1)
    if wheel is None:
        return
    assert {one.state for one in it.each("status")} <= {State.PATCHED, State.UNPATCHED, State.ABSENT}
    for next_one in ("apply", "revert", "apply"):
        it.ours(next_one)
        assert it.wrong(wheel) == []
    it.call(it.uninstalling())
    assert it.wrong(None) == []


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
    it = venv("pip")
    it.call(it.installing(small("4.45.1")))
    command = it.installing(small(version)) if version else it.uninstalling()
    words = command[command.index(str(it.python)) + 1 :]  # with --python, pip would start itself anew
    (tmp_path / "only-pip").mkdir()
    (tmp_path / "only-pip" / "pip").symlink_to(Path(pip.__file__).parent)
    environ = it.environ | {"PYTHONPATH": str(tmp_path / "only-pip")}
    patching = ["/usr/bin/env", f"PYTHONPATH={it.environ['PYTHONPATH']}", *it.patcher("apply")]
    subprocess.run([it.python, "-c", HAS_READ, json.dumps(patching), *words], env=environ, check=True)
    assert any("/mps-patcher/" in name for name in it.names())
    subprocess.run(it.patcher("revert"), env=it.environ, check=False, capture_output=True)
    assert it.wrong(small(version) if version else None) == []

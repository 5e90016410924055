"""pip and uv at work on transformers while it is patched and taken back: neither knows of the other's locks."""

from __future__ import annotations

import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from documents import read_document

pytestmark = pytest.mark.races

RELEASES = ("4.45.1", "4.46.3")
LINES = ("apply", "apply", "revert", "revert", "status", "apply --dry-run")
AT_ONCE = 3


def start(venv: Any, line: str) -> subprocess.Popen[str]:
    command, pipe = venv.patcher(*line.split(), "--json"), subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=venv.environ)


def ended(process: subprocess.Popen[str]) -> str:
    """How a command of ours ended, which must be as the contract says."""
    out, err = process.communicate(timeout=120)
    assert all(said.startswith("Waiting for another mps-patcher") for said in err.splitlines()), err
    told = read_document(out)
    assert told["ok"] == (process.returncode == 0)
    errors = {one["error"]["code"] for one in told["results"] if one["error"]}
    assert "defect" not in errors, told
    assert process.returncode in ((1, 3) if errors else (0,))
    return ", ".join(sorted(errors)) or "done"


def await_work(process: subprocess.Popen[str]) -> None:
    """Returns when the process has a dist-info folder open, where the system tells."""
    files = Path(f"/proc/{process.pid}/fd")
    while process.poll() is None and files.exists():
        with suppress(OSError):  # it has just closed one, or ended
            if any(os.readlink(file).endswith(".dist-info") for file in files.iterdir()):  # noqa: PTH115
                return
        time.sleep(0.001)


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_an_installer_at_work_meanwhile(
    venv: Callable[[str], Any],
    small: Callable[[str], Path],
    tool: str,
    seed: int,
    seconds: float,
    noted: dict[str, list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    env, choice, until = venv(tool), random.Random(f"{seed} {tool}"), time.monotonic() + seconds / 2  # noqa: S311
    deeds, endings = Counter[str](), Counter[str]()
    last: str | None = "4.45.1"
    env.call(env.installing(small("4.45.1")))
    while time.monotonic() < until:
        version = choice.choice([*RELEASES, None]) if last else choice.choice(RELEASES)
        deeds["uninstalled" if version is None else "reinstalled" if version == last else "another release"] += 1
        wheel = small(version) if version else None
        processes = [start(env, choice.choice(LINES)) for _ in range(AT_ONCE)]
        await_work(processes[0])
        time.sleep(choice.uniform(0, 0.1))
        env.call(env.installing(wheel) if wheel else env.uninstalling())
        endings.update(map(ended, processes))
        wrong = env.wrong(wheel)
        assert not wrong, f"RACES_SEED={seed}: " + "\n".join(wrong)
        last = version
    noted[tool] = [summary(tool, deeds, endings)]
    with capsys.disabled():
        print("", *noted[tool], sep="\n")


def summary(tool: str, deeds: Counter[str], endings: Counter[str]) -> str:
    """What there is to tell of an installer."""
    done = ", ".join(f"{times} {deed}" for deed, times in sorted(deeds.items()))
    ends = ", ".join(f"{times} {end}" for end, times in sorted(endings.items()))
    return (
        f"- {tool} at work {deeds.total()} times ({done}) while {endings.total()} commands ran (which ended: {ends});"
    )

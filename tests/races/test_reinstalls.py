"""pip and uv at work on transformers while it is patched and taken back: both know nothing of each other."""

from __future__ import annotations

import json
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

RELEASES = ("4.45.1", "4.46.3")
LINES = ("apply", "apply", "revert", "revert", "status", "apply --dry-run")
AT_ONCE = 3


def one(venv: Any, line: str, delay: float) -> str:
    """Runs a command of ours after so many seconds; how it ended, which must be as the contract says."""
    time.sleep(delay)
    command = venv.patcher(*line.split(), "--json")
    done = subprocess.run(command, capture_output=True, text=True, env=venv.environ, check=False)
    assert "Traceback" not in done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] == (done.returncode == 0)
    errors = {one["error"]["code"] for one in told["results"] if one["error"]}
    assert "defect" not in errors
    assert done.returncode in ((1, 3) if errors else (0,))
    return ", ".join(sorted(errors)) or "done"


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
    it, choice, until = venv(tool), random.Random(f"{seed} {tool}"), time.monotonic() + seconds / 2  # noqa: S311
    deeds, endings, version = Counter[str](), Counter[str](), None
    it.call(it.installing(small("4.45.1")))
    last = "4.45.1"
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() < until:
            version = choice.choice([*RELEASES, None]) if last else choice.choice(RELEASES)
            deed = "uninstalled" if version is None else "reinstalled" if version == last else "changed the release"
            runs = [pool.submit(one, it, choice.choice(LINES), choice.uniform(0, 0.5)) for _ in range(AT_ONCE)]
            time.sleep(choice.uniform(0, 1))
            it.call(it.installing(small(version)) if version else it.uninstalling())
            deeds[deed] += 1
            endings.update(run.result() for run in runs)
            wrong = it.wrong(small(version) if version else None)
            print(deed, wrong)
            last = version
    print(deeds, endings)

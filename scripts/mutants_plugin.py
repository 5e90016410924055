"""What pytest does for a mutant: the likely tests first, then those of its module, then all others, for a while.

No test lives on what another remembered.
"""

from __future__ import annotations

import json
import os
import resource
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path

import pytest
from mutmut.state import state

AT_IMPORT: set[str] = set()
"""Functions that ran while modules were imported, which mutmut would take for the doing of the first test."""
BUDGET, PATIENT, SECONDS = 12, 60, "MUTANT_SECONDS"
"""Seconds of tests that each mutant gets, by what they took without one, and how many where it lived on before; and the
variable that says so. A mutant that lives longer survives."""


KILLS = Path("kills.jsonl")
"""Which test killed a mutant of which function: it is likely to kill the next one, too."""


def pytest_configure(config: pytest.Config) -> None:
    """Of the tests that mutmut asks for, takes what is worth its time, in that order: before any is imported."""
    function = _mutated()
    if os.environ.get("MUTANT_UNDER_TEST") == "":
        del config.args[1:]  # mutmut sees all of them pass a second time; it has just noted what each one runs
    if not function:
        return
    seconds = json.loads(Path("mutmut-stats.json").read_text("utf-8"))["duration_by_test"]
    chosen = _promising(config.args, function, seconds)
    spent = list(accumulate(float(seconds.get(test, 0)) for test in chosen))
    most = float(os.environ.get(SECONDS, BUDGET))
    config.args[:] = [test for test, total in zip(chosen, spent, strict=True) if total <= most or test is chosen[0]]
    _end_in_time(most)


def _promising(tests: list[str], function: str, seconds: dict[str, float]) -> list[str]:
    """The tests by what they promise for their time.

    Most promises what killed another mutant of the function, then what killed one of its module or is of the module's
    own tests, and of the rest one case of each test more than another.
    """
    kills: Counter[str] = Counter()
    for killed, test in map(json.loads, KILLS.read_text("utf-8").splitlines() if KILLS.exists() else ()):
        kills[test] += 10 * (killed == function) + (killed.rpartition(".")[0] == function.rpartition(".")[0])
    cases: Counter[str] = Counter()
    promises = {}
    for test in sorted(tests):
        one = test.partition("[")[0]
        is_its_own = one.partition("::")[0].endswith(f"test_{function.split('.')[-2]}.py")
        cases[one] += 1
        promises[test] = (kills[test] + is_its_own + 0.3 / cases[one]) / (float(seconds.get(test, 0)) + 0.02)
    return sorted(promises, key=lambda test: -promises[test])


def _end_in_time(seconds: float) -> None:
    """Ends this process by SIGXCPU, which mutmut takes for a timeout, if it works for much longer than that.

    mutmut's own limit is of all tests that reach the function, so one in an endless loop would take an hour.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    limit = int(time.process_time() + 60 + 4 * seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (limit if soft == resource.RLIM_INFINITY else min(soft, limit), hard))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and _mutated():
        with KILLS.open("a", encoding="utf-8") as file:
            file.write(json.dumps([_mutated(), report.nodeid]) + "\n")


def _mutated() -> str:
    """The function that is broken now, by mutmut's name for it; empty where none is."""
    mutant = os.environ.get("MUTANT_UNDER_TEST", "")
    return mutant.partition("__mutmut_")[0] if mutant.startswith("patche") else ""


def pytest_collection_finish() -> None:
    """While mutmut notes which test runs what."""
    AT_IMPORT.update(state()._stats)
    state()._stats.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """What a module does as it is imported is seen by every test that runs something of it."""
    noted = state()._stats
    modules = {name.rpartition(".")[0] for name in noted}
    noted.update(name for name in AT_IMPORT if name.rpartition(".")[0] in modules)


@pytest.fixture(autouse=True)
def _nothing_remembered() -> None:
    """What `edits` has kept from another test would hide which functions a test runs."""
    from patcher import edits

    edits.find.cache_clear()
    edits.edit.cache_clear()

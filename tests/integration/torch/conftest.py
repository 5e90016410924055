"""What the tests on real torch share: the emulated device, and the function as each kind of file holds it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest

from patcher.selftest import emulated
from patcher.selftest.releases import Version, show
from patcher.selftest.rules import Rules

RULES = [
    ((2, 1), (13, 0)),
    ((2, 3), (14, 0)),
    ((2, 6), (13, 0)),
    ((2, 6), (14, 0)),
    ((2, 8), (13, 0)),
    ((2, 9), (14, 0)),
]


@pytest.fixture
def mps() -> Callable[[Version, Version], AbstractContextManager[None]]:
    """`with mps((2, 1), (13, 0)):` makes device "mps" the emulated one, under these rules of torch and macOS."""
    return lambda torch, macos: emulated.emulated(Rules(torch, macos))


@pytest.fixture(params=RULES, ids=lambda rules: f"torch{show(rules[0])}-macos{show(rules[1])}")
def any_mps(request: pytest.FixtureRequest) -> Iterator[Rules]:
    """Within the test, device "mps" is an emulated one, under each set of rules in turn."""
    rules = Rules(*request.param)
    with emulated.emulated(rules):
        yield rules


EVERYWHERE = """
import io, pickle, sys, torch
from patcher.selftest import process
process.emulate_everywhere(sys.argv[1], sys.argv[2], None)

def say(*calls):
    for call in calls:
        try:
            print(call())
        except Exception as error:
            print(type(error).__name__ + ": " + str(error))

"""


@pytest.fixture(scope="session")
def everywhere() -> Callable[..., list[str]]:
    """`everywhere(code)`: the lines of a program on the emulated device. It may `say(*calls)`: results and errors."""

    def run(code: str, torch: str = "2.13", macos: str = "14") -> list[str]:
        command = [sys.executable, "-W", "error", "-c", EVERYWHERE + code, torch, macos]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run

"""How long the command takes, beside the least that any Python program takes: the column `apply / python -c pass`.

    python benchmarks/startup.py [--runs 9] [--release 4.45.1]

Each round runs all of them once, one after the other, so that whatever else the machine does falls on all alike; what
is printed are medians, and the median of the rounds' ratios. `apply` finds a new unpatched install each time. The
install holds all files of the release and lies in a temporary folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from torch_env import wheel

TOOL = Path(sys.executable).with_name("mps-patcher")
PASS = "python -c pass"  # noqa: S105 - a command line
PATCH = "isin_mps_friendly"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="rounds to take the median of [default: 9]")
    parser.add_argument("--release", default="4.45.1", metavar="X.Y.Z", help="of transformers [default: 4.45.1]")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        site = Path(folder, "lib", "python3", "site-packages")
        with ZipFile(wheel(asked.release)) as archive:
            archive.extractall(site)
        show(measure(commands(site), asked.runs))


def commands(site: Path) -> dict[str, tuple[Callable[[], object], list[str | Path]]]:
    """By name: what to do before the clock starts, and the command that is timed."""

    def tool(*words: str) -> list[str | Path]:
        return [TOOL, *words, "--site-packages", site]

    def reverted() -> None:
        run(tool("revert"))

    def nothing() -> None:
        """What came before is what is wanted."""

    return {
        PASS: (nothing, [sys.executable, "-c", "pass"]),
        "mps-patcher --version": (nothing, [TOOL, "--version"]),
        f"apply {PATCH}": (reverted, tool("apply", PATCH)),
        f"apply {PATCH}, again": (nothing, tool("apply", PATCH)),
        f"status {PATCH}": (nothing, tool("status", PATCH)),
        "status": (nothing, tool("status")),
        "revert": (nothing, tool("revert")),
    }


def measure(timed: dict[str, tuple[Callable[[], object], list[str | Path]]], runs: int) -> dict[str, list[float]]:
    """The seconds that each took, round by round. A first round, which fills the caches of the system, is left out."""
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for round_ in range(runs + 1):
        for name, (prepare, command) in timed.items():
            prepare()
            start = time.perf_counter()
            run(command)
            if round_:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def run(command: list[str | Path]) -> None:
    """Runs it to its end; a failure ends the benchmark."""
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def show(seconds: dict[str, list[float]]) -> None:
    """A line a command: milliseconds, and how often `python -c pass` goes into them."""
    base = seconds[PASS]
    for name, taken in seconds.items():
        ratio = median(one / other for one, other in zip(taken, base, strict=True))
        print(f"{name:<32} {median(taken) * 1000:7.0f} ms {ratio:6.1f} x")


if __name__ == "__main__":
    main()

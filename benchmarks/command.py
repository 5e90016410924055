"""How long the commands take, beside the least that such a program takes. Prints a table in Markdown.

    python benchmarks/command.py [--runs 9] [--verify]

The tool is built as a wheel and installed in an environment of its own, as users have it. Each round runs every command
once, one after the other, so that whatever else the machine does falls on all alike; what is printed are medians of the
seconds, and the medians of the rounds' ratios. The installs hold all files of the release and lie in a temporary
folder. `--verify` also times the self-test on the emulated device, which needs an environment with torch.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from torch_env import throwaway, wheel  # noqa: E402

RELEASES = ("4.45.1", "5.24.0")
GENERATION = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One row: a command, what is done before the clock starts, and the row that it is compared with."""

    name: str
    command: Sequence[str | Path]
    base: str | None = None
    bound: float = 0
    """The ratio that it is to stay within."""
    prepare: Callable[[], object] = lambda: None


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="rounds to take the median of [default: 9]")
    parser.add_argument("--verify", action="store_true", help="also time verify, in an environment with torch")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install_tool(folder)
        timed = [Timed(name="import click", command=[python, "-c", "import click"])]
        timed.append(Timed(name="import click, libcst", command=[python, "-c", "import click, libcst"]))
        for release in RELEASES:
            site = folder / release / "lib" / "python3" / "site-packages"
            with ZipFile(wheel(release)) as archive:
                archive.extractall(site)
            timed += commands(python, site, release)
            timed += run_commands(python, folder, release)
        timed += verify_commands(python, folder) if asked.verify else []
        show(timed, measure(timed, asked.runs), python)


def install_tool(folder: Path) -> Path:
    """The interpreter of a new environment that holds the tool, built from this checkout, with its bytecode."""
    subprocess.run([sys.executable, "-m", "venv", folder / "tool"], check=True)
    python = folder / "tool" / "bin" / "python"
    pip: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--compile"]
    subprocess.run([*pip, ROOT], check=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return python


def commands(python: Path, site: Path, release: str) -> list[Timed]:
    """The rows of one release."""

    def tool(*words: str) -> list[str | Path]:
        return [python.with_name("mps-patcher"), *words, "--site-packages", site]

    is_old = release == RELEASES[0]
    both = ("isin_mps_friendly", *(() if is_old else ("direct_isin",)))
    status = f"status, {release}"
    first = Timed(
        name=f"first apply, {release}",
        command=tool("apply", *both),
        base="import click, libcst",
        bound=2 if is_old else 5,
        prepare=lambda: run(tool("revert")),
    )
    return [
        Timed(name=status, command=tool("status"), base="import click", bound=3 if is_old else 9),
        first,
        Timed(name=f"apply again, {release}", command=tool("apply", *both), base=status, bound=1.3),
        Timed(name=f"revert, {release}", command=tool("revert"), base=status, bound=1.3),
    ]


def run_commands(python: Path, folder: Path, release: str) -> list[Timed]:
    """The rows of run, with a program that does nothing, on an environment of its own."""
    prefix = folder / f"{release}-run"
    subprocess.run([python, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    with ZipFile(wheel(release)) as archive:
        archive.extractall(site)
    is_old, target = release == RELEASES[0], prefix / "bin" / "python"
    patches = ("isin_mps_friendly", *(() if is_old else ("direct_isin",)))
    tool = ["env", f"MPS_PATCHER_CACHE={folder / 'cache'}", python.with_name("mps-patcher")]
    words = [*tool, "run", "--python", target, *patches, "-c", "pass"]
    first = Timed(
        name=f"first run, {release}",
        command=words,
        base="import click, libcst",
        bound=3 if is_old else 6,
        prepare=lambda: shutil.rmtree(folder / "cache", ignore_errors=True),
    )
    plain = f"python -c pass, {release}"
    return [
        Timed(name=plain, command=[target, "-c", "pass"]),
        first,
        Timed(name=f"run again, {release}", command=words, base="import click", bound=3.5),
    ]


def verify_commands(python: Path, folder: Path) -> list[Timed]:
    """The rows of verify, on the emulated device."""
    target = throwaway(folder / "target", "current", RELEASES[0])
    run([python.with_name("mps-patcher"), "apply", "isin_mps_friendly", "--python", target])
    base = "import torch and the two models"
    verify: list[str | Path] = [python.with_name("mps-patcher"), "verify", "--device", "emulated", "--python", target]
    return [
        Timed(name=base, command=[target, "-c", GENERATION]),
        Timed(name="verify", command=verify, base=base, bound=2),
    ]


def measure(timed: Sequence[Timed], runs: int) -> dict[str, list[float]]:
    """The seconds that each took, round by round. A first round, which fills the system's caches, is left out."""
    seconds: dict[str, list[float]] = {one.name: [] for one in timed}
    for round_ in range(runs + 1):
        for one in timed:
            one.prepare()
            start = time.perf_counter()
            run(one.command)
            if round_:
                seconds[one.name].append(time.perf_counter() - start)
    return seconds


def run(command: Sequence[str | Path]) -> None:
    """Runs it to its end; a failure ends the benchmark."""
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def show(timed: Sequence[Timed], seconds: dict[str, list[float]], python: Path) -> None:
    """Prints the table, with what it was measured on."""
    version = subprocess.run([python, "-V"], capture_output=True, text=True, check=True).stdout.strip()
    runs = len(next(iter(seconds.values())))
    where = f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors, {version}"
    print(f"{datetime.now(tz=UTC):%Y-%m-%d}, {where}, medians of {runs}.\n")
    print("| command | seconds | ratio | of | at most |\n|---|---|---|---|---|")
    for one in timed:
        row = f"| {one.name} | {median(seconds[one.name]):.3f} |"
        if one.base is None:
            print(f"{row} | | |")
            continue
        pairs = zip(seconds[one.name], seconds[one.base], strict=True)
        ratio = median(taken / base for taken, base in pairs)
        print(f"{row} {ratio:.2f} | {one.base} | {one.bound:g} |")


if __name__ == "__main__":
    main()

"""What the hook adds to each start of Python. Prints a table in Markdown.

    python benchmarks/hook.py [--runs 301]

Two environments of this Python, one of which `mps-patcher setup` set up and whose transformers was seen; each round
starts both, one after the other. What is printed are medians, in milliseconds: of the processor time, which other work
on the machine disturbs less, and of the time that passed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from torch_env import wheel  # noqa: E402

BOUND = 1.0
"""Milliseconds that it may add."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=301, metavar="N", help="rounds to take the median of")
    runs = parser.parse_args(arguments).runs
    with tempfile.TemporaryDirectory() as name:
        plain, hooked = (environment(Path(name, kind)) for kind in ("plain", "hooked"))
        setup = [sys.executable, "-m", "patcher", "setup", "--python", str(hooked)]
        subprocess.run(setup, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        for python in (plain, hooked):  # it applies the patches, and bytecode is written
            start(python)
        pairs = [(start(plain), start(hooked)) for _ in range(runs)]
    print("| python -c pass, ms | without | with the hook | added | at most |\n|---|---|---|---|---|")
    for number, name in enumerate(("processor time", "time that passed")):
        without, with_it = ([pair[side][number] for pair in pairs] for side in (0, 1))
        added = median(after - before for before, after in zip(without, with_it, strict=True))
        print(f"| {name} | {median(without):.2f} | {median(with_it):.2f} | {added:.2f} | {BOUND:g} |")


def environment(prefix: Path) -> Path:
    """The interpreter of a new environment with transformers."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", prefix], check=True)
    (site,) = prefix.glob("lib/python*/site-packages")
    with ZipFile(wheel("4.45.1")) as archive:
        archive.extractall(site)
    return prefix / "bin" / "python"


def start(python: Path) -> tuple[float, float]:
    """The milliseconds of processor time that `python -c pass` takes, and those that pass."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    begun = time.perf_counter()
    process = os.posix_spawn(python, [str(python), "-c", "pass"], environ)
    _, _, used = os.wait4(process, 0)
    return (used.ru_utime + used.ru_stime) * 1000, (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()

"""How long many environments below one folder take. Prints a table in Markdown.

    python benchmarks/many.py [--sizes 10 100 300 1000] [--folder DIR]

The environments hold a whole transformers each, by turns of two releases, as hard links to one unpacked wheel: the
tool breaks the links of what it changes. Their interpreter is a link, as `python -m venv` makes them, and of torch
there is the metadata. Times are of whole processes, on all processors, the cache of the file system warm; the
processor's time and the memory of the largest process are the system's own account.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from torch_env import wheel  # noqa: E402

RELEASES = ("4.45.1", "5.24.0")
COMMANDS = {"status": ["status"], "apply": ["apply"], "apply again": ["apply"], "revert": ["revert"]}
TORCH = "Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0\n"


class Taken(NamedTuple):
    """What one command took."""

    seconds: float
    processor: float
    """Seconds, of all its processes."""
    memory: float
    """MiB, of the largest of its processes."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 100, 300, 1000], metavar="N")
    parser.add_argument("--folder", type=Path, help="where to make the environments [default: a temporary folder]")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        load = os.getloadavg()[0]
        print(
            f"{datetime.now(tz=UTC):%Y-%m-%d}, {platform.system()} {platform.machine()}, {os.cpu_count()} processors, "
        )
        print(f"Python {platform.python_version()}, load {load:.1f} before the first command.\n")
        print("| environments | command | seconds | ms each | processor's ms each | MiB |\n|---|---|---|---|---|---|")
        measure(Path(name), sorted(asked.sizes))


def measure(folder: Path, sizes: Sequence[int]) -> None:
    """Prints a row for each size and command."""
    for release in RELEASES:
        with ZipFile(wheel(release)) as archive:
            archive.extractall(folder / release)
    made = 0
    for size in sizes:
        for number in range(made, size):
            make_environment(folder, number)
        made = size
        run(["status"], folder / "fleet")  # fills the system's caches
        for name, words in COMMANDS.items():
            taken = run(words, folder / "fleet")
            each, processor = taken.seconds / size * 1000, taken.processor / size * 1000
            row = f"| {size:,} | {name} | {taken.seconds:.2f} | {each:.1f} | {processor:.1f} | {taken.memory:.0f} |"
            print(row, flush=True)


def make_environment(folder: Path, number: int) -> None:
    """A virtual environment with a transformers of hard links."""
    python = Path(os.path.realpath(sys.executable))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = folder / "fleet" / f"project-{number:04}" / ".venv"
    site = prefix / "lib" / version / "site-packages"
    site.mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin" / "python").symlink_to(python)
    (prefix / "pyvenv.cfg").write_text(f"home = {python.parent}\n")
    wheel_folder = folder / RELEASES[number % len(RELEASES)]
    subprocess.run(["cp", "-al", *wheel_folder.iterdir(), site], check=True)  # noqa: S607 - a system has one
    metadata = site / "torch-2.1.0.dist-info" / "METADATA"
    metadata.parent.mkdir()
    metadata.write_text(TORCH)


def run(words: Sequence[str], top: Path) -> Taken:
    """Runs the tool on all below `top`; a failure ends the benchmark."""
    command = [sys.executable, "-m", "patcher", *words, "--under", str(top)]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    unit = 1 if sys.platform == "darwin" else 1024
    return Taken(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * unit / 2**20)


if __name__ == "__main__":
    main()

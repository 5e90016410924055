"""Kills and failures at every system call of `apply` and `revert`, then losses of power: all on whole releases.

python scripts/faults.py                everything; writes docs/reliability.md
python scripts/faults.py --every 7      every seventh kill and failure, no loss of power; writes nothing
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

import faults
import power_loss
import reliability
from fault_target import RELEASES, VERBS, unpack_release
from syscalls import available

BEFALLS = ("killed", "failed once", "failed for good", "killed while putting back")


def kill_and_fail(every: int) -> list[str]:
    """All commands, on all processors; returns the table."""
    workers = os.cpu_count() or 1
    rows = [f"| command | calls | {' | '.join(BEFALLS)} |", f"|---|---|{'---|' * len(BEFALLS)}"]
    with worker_processes() as pool:
        for patch in RELEASES:
            for verb in VERBS:
                start = time.monotonic()
                shares = [pool.submit(faults.share, patch, verb, every, part, workers) for part in range(workers)]
                done = [one.result() for one in shares]
                counts = sum((counted for _, counted in done), Counter())
                befell = " | ".join(str(counts[what]) for what in BEFALLS)
                rows.append(f"| `{verb} {patch}` on {RELEASES[patch]} | {done[0][0]} | {befell} |")
                print(f"{rows[-1]} {time.monotonic() - start:.0f} s", flush=True)
    return rows


def lose_power() -> list[str]:
    """All commands; returns the table."""
    rows = ["| command | prefixes | possible states of the disk |", "|---|---|---|"]
    with worker_processes() as pool:
        commands = [(patch, verb) for patch in RELEASES for verb in VERBS]
        for (patch, verb), done in zip(commands, pool.map(lose_power_in, *zip(*commands, strict=True)), strict=True):
            rows.append(f"| `{verb} {patch}` on {RELEASES[patch]} | {done[0]} | {done[1]} |")
            print(rows[-1], flush=True)
    return rows


def lose_power_in(patch: str, verb: str) -> tuple[int, int]:
    """One command."""
    with tempfile.TemporaryDirectory(prefix="mps-patcher-power-") as folder:
        target = unpack_release(patch, Path(folder).resolve())
        target.prepare()
        return power_loss.replay(target, verb)


def worker_processes() -> ProcessPoolExecutor:
    """One for each processor."""
    return ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("fork"))


def main() -> None:
    """Exits with 1 at the first thing that was lost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only every Nth run; nothing is written down")
    every = parser.parse_args().every
    if not available():
        sys.exit("error: system calls cannot be held here: that needs Linux on x86-64, and no sandbox that forbids it")
    rows = kill_and_fail(every)
    if every == 1:
        reliability.write("faults", rows)
        reliability.write("power", lose_power())


if __name__ == "__main__":
    main()

"""More than 100,000 odd, damaged and hostile inputs, counted one by one.

    python scripts/fuzz.py [--seed N] [--share 0.01] [--seconds 45]

hypothesis makes inputs of a known shape, atheris follows what bytes reach in the code, and some files of 1 MB are
built by hand. A whole run without a defect writes its counts into docs/reliability.md; a share of one writes nothing.
What goes wrong is put into tests/robustness/fuzz/corpus, where `make test` tries it again.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "robustness" / "fuzz"))

from campaign import Counts, by_atheris, by_hypothesis, guided_python, kept
from reliability import write

LEAST = 100_000
RIGHT = (
    "edited",
    "edited by force",
    "as it was",
    "restored",
    "restored, not listed",
    "with rows of ours before",
    "read",
)


def told(counts: Counts, skipped: str | None, number_of_seed: int, seconds: float) -> list[str]:
    """The section of docs/reliability.md."""
    total = sum(found.total() for found in counts.values())
    right = sum(found[end] for found in counts.values() for end in RIGHT)
    lines = [
        f"{total:,} inputs in {seconds:.0f} s with the seed {number_of_seed}, Python {platform.python_version()}:",
        f"{right:,} ended right, {total - right:,} were refused in a line; 0 crashes, and no other byte changed.",
        "",
        "| target | generator | inputs | right | refused |",
        "|---|---|---|---|---|",
    ]
    for (target, generator), found in sorted(counts.items()):
        good = ", ".join(f"{found[end]:,} {end}" for end in RIGHT if found[end])
        bad = ", ".join(f"{count:,} `{end}`" for end, count in sorted(found.items()) if end not in RIGHT)
        lines.append(f"| {target} | {generator} | {found.total():,} | {good or '-'} | {bad or '-'} |")
    return [*lines, *(["", f"atheris was skipped: {skipped}."] if skipped else [])]


def main() -> int:
    """Runs it; 0 if nothing went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="another one gives other inputs")
    parser.add_argument("--share", type=float, default=1.0, help="only this share of the inputs; writes no page")
    parser.add_argument("--seconds", type=float, default=45.0, help="how long atheris runs")
    chosen = parser.parse_args()
    print(f"seed {chosen.seed}", flush=True)
    start = time.monotonic()
    memory = Path("/dev/shm")  # noqa: S108 - where it is there, nothing need be synced to a disk
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if memory.is_dir() else None))
    try:
        counts = by_hypothesis(chosen.share, chosen.seed, folder)
        python = guided_python()
        skipped = python if isinstance(python, str) else None
        if isinstance(python, Path):
            counts |= by_atheris(python, chosen.seconds * min(1, chosen.share), chosen.seed, folder)
    except Exception as error:
        traceback.print_exception(error)
        print("error: what went wrong lies in", *kept(folder), sep="\n", file=sys.stderr)
        return 1
    shutil.rmtree(folder)
    lines = told(counts, skipped, chosen.seed, time.monotonic() - start)
    print("\n".join(lines))
    if chosen.share < 1:
        return 0
    if sum(found.total() for found in counts.values()) < LEAST:
        print(f"error: fewer than {LEAST:,} inputs", file=sys.stderr)
        return 1
    write("fuzz", lines)
    return 0


if __name__ == "__main__":
    sys.exit(main())

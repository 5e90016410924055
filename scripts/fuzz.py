"""The slow lane of fuzzing: more than 100,000 odd, damaged and hostile inputs, counted one by one.

    PYTHONPATH=tests/robustness/fuzz python scripts/fuzz.py [--seed N] [--share 0.01] [--seconds 45]

hypothesis makes inputs of a known shape, atheris follows what bytes reach in the code, and some files of 1 MB are
built by hand. A whole run without a defect writes its counts into docs/reliability.md; a share of one writes nothing.
What goes wrong is put into tests/robustness/fuzz/corpus, where `make test` tries it again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import held
import hostile
import rounds
from hypothesis import HealthCheck, Phase, given, seed, settings
from jobs import JOBS, big_files
from reliability import write
from torch_env import cache, call, pip, version, wheel

from patcher.change import ledger, operations

ROOT = Path(__file__).resolve().parents[1]
CORPUS = ROOT / "tests" / "robustness" / "fuzz" / "corpus"
ATHERIS = "atheris==3.0.0"
LEAST = 100_000
CHUNK = 500
"""Inputs that one process tries in a row: all of them have the same seed."""
GUIDED = ("rewriter", "calls", "record", "state")
RELEASES = ("4.44.2", "4.45.1", "4.46.3", "4.57.6", "5.23.0")
RIGHT = (
    "edited",
    "edited by force",
    "as it was",
    "restored",
    "restored, not listed",
    "with rows of ours before",
    "read",
)
Name = tuple[str, str]
Tried = tuple[Name, Counter[str]]
Counts = dict[Name, Counter[str]]
"""By target and generator, how the inputs ended."""


def tried(number: int, count: int, number_of_seed: int, folder: Path) -> Tried:
    """Tries `count` inputs of a job. An input that goes wrong lies, made small, in `folder`."""
    job, found = JOBS[number], Counter[str]()
    last = folder / f"{os.getpid()}.last"

    @seed(number_of_seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(job.strategy())
    def run(made: Any) -> None:
        last.write_bytes(job.raw(made))
        found[job.check(made, folder)] += 1

    try:
        run()
    except BaseException:
        last.replace(folder / f"wrong-{job.target}-{os.getpid()}")
        raise
    last.unlink(missing_ok=True)
    return (job.target, job.generator), found


def big(number: int, folder: Path) -> Tried:
    """Tries the file of that number."""
    target, data = list(big_files())[number]
    last = folder / f"{os.getpid()}.last"
    last.write_bytes(data)
    end = held.CHECKS[target](data)
    last.unlink()
    return (target, "files of 1 MB"), Counter([end])


# Running all of that


def by_hypothesis(share: float, number_of_seed: int, folder: Path) -> Counts:
    """Everything but atheris, on all processors."""
    found: Counts = {}
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        files = range(len(list(big_files())) if share >= 1 else 0)
        waiting = [pool.submit(big, number, folder) for number in files]
        for at, (number, count) in enumerate(chunks(share)):
            waiting.append(pool.submit(tried, number, count, number_of_seed * 100_000 + at, folder))
        try:
            for done in as_completed(waiting):
                key, counts = done.result()
                found.setdefault(key, Counter()).update(counts)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def chunks(share: float) -> Iterator[tuple[int, int]]:
    """(number of the job, inputs) of each piece of work, the slow ones first."""
    for number, job in sorted(enumerate(JOBS), key=lambda pair: -pair[0]):
        left = max(1, round(job.inputs * share))
        while left:
            count = min(left, CHUNK)
            yield number, count
            left -= count


def guided_python() -> Path | str:
    """The interpreter of an environment with atheris, made where there is none; or why there can be none."""
    for python in ("python3.11", sys.executable, "python3.12", "python3.13"):
        found = version(python)
        if found is None:
            continue
        name = "-".join(("fuzz", ATHERIS.replace("==", ""), "python" + ".".join(map(str, found))))
        folder = cache() / "envs" / name
        stamp = folder / "complete"
        try:
            if not stamp.exists():
                call([python, "-m", "venv", "--clear", str(folder)])
                needed = ["click", "libcst", "packaging"]
                call([*pip(folder / "bin" / "python"), "install", "--only-binary=:all:", ATHERIS, *needed])
                stamp.touch()
        except subprocess.CalledProcessError:
            continue
        return folder / "bin" / "python"
    return f"{ATHERIS} has no wheel for any Python that is here"


def seeds(target: str, folder: Path) -> None:
    """Real files of several releases, what is written by hand, and what once went wrong."""
    folder.mkdir()
    found = [path.read_bytes() for path in sorted((CORPUS / target).glob("*.bin"))]
    if target == "rewriter":
        found += [text.encode() for text in (*hostile.KNOWN, *hostile.OTHER, *hostile.AROUND)]
    if target == "calls":
        found += [f"import torch\n{text}".encode() for text in (*hostile.SNIPPETS, *hostile.STRANGE)]
    if target == "state":
        found += [*map(ledger.encode, hostile.LEDGERS), real_state(folder.with_name("applied"))]
    for release in RELEASES if target != "state" else ():
        found.append(from_release(target, release))
    for number, data in enumerate(found):
        (folder / f"{number:04}").write_bytes(data)


def from_release(target: str, release: str) -> bytes:
    """pytorch_utils.py, a module with direct calls, or some rows of RECORD, of that release."""
    modules = {"rewriter": hostile.PATH, "calls": "transformers/generation/stopping_criteria.py"}
    with ZipFile(wheel(release)) as archive:
        if target in modules:
            return archive.read(modules[target])
        record = archive.read(f"transformers-{release}.dist-info/RECORD").splitlines(keepends=True)
    at = next(number for number, line in enumerate(record) if line.startswith(hostile.PATH.encode()))
    return b"".join(record[max(0, at - 5) : at + 5])


def real_state(folder: Path) -> bytes:
    """The state file of a target to which both patches were applied."""
    caller = b"import torch\nx = torch.isin(a, b)\n"
    source = b"import torch\n" + hostile.KNOWN[0].encode()
    given = rounds.Given(source=source, caller=caller, record=f"{hostile.ROW}\n".encode())
    target = rounds.laid(folder, given)
    operations.apply((target,), rounds.PATCHES, named=True)
    return (target.dist_info / ledger.FOLDER / ledger.STATE).read_bytes()


def by_atheris(python: Path, seconds: float, number_of_seed: int, folder: Path) -> Counts:
    """All targets side by side. Raises CalledProcessError where one goes wrong."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests" / "robustness" / "fuzz")]),
    }
    running = {}
    for target in GUIDED:
        seeds(target, folder / target)
        (folder / f"wrong-{target}-guided").mkdir()
        script = [str(python), str(ROOT / "scripts" / "fuzz_guided.py"), target, str(seconds), str(number_of_seed)]
        paths = [str(folder / target), str(folder / f"wrong-{target}-guided"), str(folder / f"{target}.json")]
        with (folder / f"{target}.log").open("wb") as log:
            command = [*script, *paths]
            running[target] = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    found: Counts = {}
    for target, process in running.items():
        if process.wait():
            print((folder / f"{target}.log").read_text(errors="replace")[-5000:], file=sys.stderr)
            raise subprocess.CalledProcessError(process.returncode, f"atheris on {target}")
        found[target, "atheris"] = Counter(json.loads((folder / f"{target}.json").read_text()))
    return found


def kept(folder: Path) -> Iterator[Path]:
    """Puts what went wrong into the corpus, where that is the bytes of one file; gives the places of all of it."""
    found = [*folder.glob("wrong-*/*"), *folder.glob("wrong-*"), *folder.glob("*.last")]
    for path in (path for path in found if path.is_file()):
        name = path.parent.name if path.parent != folder else path.name
        target = next((one for one in held.CHECKS if name.startswith(f"wrong-{one}-")), None)
        place = CORPUS / str(target) / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.bin"
        yield Path(shutil.copy(path, place)) if target else path


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
    """Runs the lane; 0 if nothing went wrong."""
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

"""A whole run of the fuzzer: hypothesis on all processors, atheris on every target, and files of 1 MB."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import properties
import round_trips
import strategies
from hypothesis import HealthCheck, Phase, given, seed, settings
from jobs import JOBS, big_files
from torch_env import cache, call, pip, version, wheel

from patcher import operations
from patcher.storage.journal import FOLDER, STATE, encode_journal
from patcher.storage.lock import LockTimeout

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
CORPUS = HERE / "corpus"
ATHERIS = "atheris==3.0.0"
CHUNK = 500
"""Inputs that one process tries in a row: all of them have the same seed."""
GUIDED = ("function", "calls", "record", "state")
RELEASES = ("4.44.2", "4.45.1", "4.46.3", "4.57.6", "5.23.0")
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
    end = properties.CHECKS[target](data)
    last.unlink()
    return (target, "files of 1 MB"), Counter([end])


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
    if target == "function":
        found += [text.encode() for text in (*strategies.KNOWN, *strategies.OTHER, *strategies.AROUND)]
    if target == "calls":
        found += [f"import torch\n{text}".encode() for text in (*strategies.SNIPPETS, *strategies.STRANGE)]
    if target == "state":
        found += [*map(encode_journal, strategies.JOURNALS), real_state(folder.with_name("applied"))]
    for release in RELEASES if target != "state" else ():
        found.append(from_release(target, release))
    for number, data in enumerate(found):
        (folder / f"{number:04}").write_bytes(data)


def from_release(target: str, release: str) -> bytes:
    """pytorch_utils.py, a module with direct calls, or some rows of RECORD, of that release."""
    modules = {"function": strategies.PATH, "calls": "transformers/generation/stopping_criteria.py"}
    with ZipFile(wheel(release)) as archive:
        if target in modules:
            return archive.read(modules[target])
        record = archive.read(f"transformers-{release}.dist-info/RECORD").splitlines(keepends=True)
    at = next(number for number, line in enumerate(record) if line.startswith(strategies.PATH.encode()))
    return b"".join(record[max(0, at - 5) : at + 5])


def real_state(folder: Path) -> bytes:
    """The state file of a target to which both patches were applied."""
    caller = b"import torch\nx = torch.isin(a, b)\n"
    source = b"import torch\n" + strategies.KNOWN[0].encode()
    given = round_trips.Given(source=source, caller=caller, record=f"{strategies.ROW}\n".encode())
    target = round_trips.laid(folder, given)
    operations.apply((target,), round_trips.PATCHES, named=True, lock=LockTimeout())
    return (target.dist_info / FOLDER / STATE).read_bytes()


def by_atheris(python: Path, seconds: float, number_of_seed: int, folder: Path) -> Counts:
    """All targets side by side. Raises CalledProcessError where one goes wrong."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE), str(ROOT / "tests" / "support")]),
    }
    running = {}
    for target in GUIDED:
        seeds(target, folder / target)
        (folder / f"wrong-{target}-guided").mkdir()
        script = [str(python), str(HERE / "guided.py"), target, str(seconds), str(number_of_seed)]
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
        target = next((one for one in properties.CHECKS if name.startswith(f"wrong-{one}-")), None)
        place = CORPUS / str(target) / f"{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}.bin"
        yield Path(shutil.copy(path, place)) if target else path

"""Many processes at once on one target: no torn file, no wrong state, no deadlock, and nothing left in the end."""

from __future__ import annotations

import os
import py_compile
import random
import stat
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Any
from zipfile import ZipFile

import pytest
from command import results_here
from documents import read_document

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = 16
LOCK_TIMEOUT = 120
"""Seconds: more than the sixteen need one after the other, on a machine that has other work too."""
PATCHED = (
    "transformers/pytorch_utils.py",
    "transformers/generation/stopping_criteria.py",
    "transformers/generation/utils.py",
)
LINES = (
    *["status", "status --check"] * 2,
    *["apply isin_mps_friendly direct_isin", "apply direct_isin", "apply isin_mps_friendly"],
    *["revert", "revert direct_isin", "revert isin_mps_friendly"],
    *["apply --dry-run direct_isin", "revert --dry-run", "verify --static direct_isin"],
)
AT_ONCE = [
    *["apply isin_mps_friendly direct_isin", "revert", "status --check", "apply direct_isin"],
    *["revert isin_mps_friendly", "status", "apply --dry-run direct_isin", "apply isin_mps_friendly"],
]
"""What `make test` starts at once."""
KILLED = 0.2
"""How many of the processes are killed, at any time of their work or of their wait for it."""
MEANT = {"status --check": (0, 4), "verify --static": (0, 1)}
"""The exit codes that say something of the target, which others change meanwhile; all else must succeed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RaceTarget:
    """The target, and the two contents that each patched file may have."""

    site_packages: Path
    contents: dict[str, tuple[bytes, bytes]]
    """By path: as it was, and as it is patched."""
    rows: dict[str, set[str]]
    """What RECORD may say of each path."""

    @property
    def record(self) -> Path:
        (found,) = self.site_packages.glob("*.dist-info/RECORD")
        return found

    def which(self, path: str, digest: str) -> int:
        """Whether this is the digest of the file as it was, 0, or patched, 1. ValueError where it is of neither."""
        known = self.contents[str(Path(path).relative_to(self.site_packages))]
        return [sha256(data).hexdigest() for data in known].index(digest)

    def snapshot(self) -> dict[str, tuple[Any, ...]]:
        """Path -> mode, time and bytes, without bytecode."""
        found = (path for path in sorted(self.site_packages.rglob("*")) if "__pycache__" not in path.parts)
        facts = ((path, path.lstat()) for path in found)
        return {
            str(path.relative_to(self.site_packages)): (it.st_mode, it.st_mtime_ns, path.read_bytes())
            if stat.S_ISREG(it.st_mode)
            else (it.st_mode,)
            for path, it in facts
        }


@dataclass(slots=True)
class Tally:
    """What was done and seen."""

    wrong: list[str] = field(default_factory=list)
    runs: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    reads: int = 0
    compiled: int = 0
    longest: float = 0.0


@pytest.fixture
def race_target(calling: Path, tmp_path: Path, listed: Callable[[str, bytes], str]) -> RaceTarget:
    """What both patches make of each file is learned on a copy."""
    before, after = tmp_path / "before", tmp_path / "after"
    for folder in (before, after):
        with ZipFile(calling) as wheel:
            wheel.extractall(folder)
    applied = results_here("apply", "isin_mps_friendly", "direct_isin", "--site-packages", str(after))
    assert [one["changed"] for one in applied] == [True, True]
    contents = {name: ((before / name).read_bytes(), (after / name).read_bytes()) for name in PATCHED}
    assert all(one != other for one, other in contents.values())
    (record,) = before.glob("*.dist-info/RECORD")
    rows = {row.partition(",")[0]: {row} for row in record.read_text().splitlines()}
    for name, (_, patched) in contents.items():
        rows[name].add(listed(name, patched))
    return RaceTarget(site_packages=before, contents=contents, rows=rows)


class Race:
    """Everything at work on the target at once."""

    def __init__(self, race_target: RaceTarget, seed: int) -> None:
        self.target, self.seed = race_target, seed
        self.tally, self.over = Tally(), Event()

    def run(self, seconds: float) -> None:
        """For so many seconds new processes start; the last ones are waited for."""
        until = time.monotonic() + seconds
        choices = [random.Random(f"{self.seed} {number}") for number in range(PROCESSES)]  # noqa: S311 - no secret
        self.at_once([partial(self.runner, choice, until) for choice in choices])

    def at_once(self, works: Sequence[Callable[[], None]]) -> None:
        """Does all of these while others read and compile the files."""
        with ThreadPoolExecutor(len(works) + 3) as pool:
            watchers = [pool.submit(work) for work in (self.watch, self.watch, self.compile)]
            try:
                for one in [pool.submit(work) for work in works]:
                    one.result()
            finally:
                self.over.set()
            for one in watchers:
                one.result()

    def runner(self, choice: random.Random, until: float) -> None:
        """One process after another."""
        while time.monotonic() < until:
            line = choice.choice(LINES)
            self.tally.runs[line] += 1
            began = time.monotonic()
            try:
                self.one(line, choice.uniform(0, 0.5) if choice.random() < KILLED else None)
            except Exception as error:
                self.tally.wrong.append(f"{line}: {error!r}")
            self.tally.longest = max(self.tally.longest, time.monotonic() - began)

    def one(self, line: str, killed_after: float | None) -> None:
        options = ["--json", "--site-packages", str(self.target.site_packages), "--lock-timeout", str(LOCK_TIMEOUT)]
        command, pipe = [sys.executable, "-m", "patcher", *line.split(), *options], subprocess.PIPE
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ) as process:
            if killed_after:
                self.await_work(process)
            try:
                out, err = process.communicate(timeout=killed_after or LOCK_TIMEOUT + 30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                self.tally.kills += 1
                assert killed_after, "a deadlock"
                return
        assert all(said.startswith("Waiting for another mps-patcher") for said in err.splitlines()), err
        self.judge(line, process.returncode, read_document(out))

    def await_work(self, process: subprocess.Popen[str]) -> None:
        """Returns when the process has the target open, where the system tells; it may have to wait for others."""
        info, files = str(self.target.record.parent), Path(f"/proc/{process.pid}/fd")
        while process.poll() is None:
            with suppress(OSError):  # it has just closed one, or ended
                if not files.exists() or info in (os.readlink(file) for file in files.iterdir()):  # noqa: PTH115
                    return
            time.sleep(0.002)

    def judge(self, line: str, code: int, told: dict[str, Any]) -> None:
        """Whether the answer is one of the contract, and true."""
        kind = " ".join(line.split()[:2]) if "--" in line else line.split()[0]
        assert code in MEANT.get(kind, (0,)), told
        assert (told["schema"], told["command"], told["ok"]) == (1, line.split()[0], code == 0)
        for one in told["results"]:
            self.tally.states[one["state"]] += 1
            error = one["error"] and one["error"]["code"]
            assert error in (
                (None, "verification-failed", "target-changed") if line.startswith("verify") else (None,)
            ), one
            side = "before" if "--dry-run" in line else "after"
            now = {self.target.which(file["path"], file["sha256"][side]) for file in one["files"]}
            assert {self.target.which(file["path"], file["sha256"]["before"]) for file in one["files"]} <= {0, 1}
            fitting = {
                "patched": [{1}],
                "unpatched": [{0}],
                "interrupted": [{0}, {1}, {0, 1}] if self.tally.kills else [],
            }
            assert now in fitting[one["state"]], one

    def watch(self) -> None:
        """Reads the files and RECORD as fast as it can."""
        known: set[bytes] = set()
        for name in self.names():
            data = (self.target.site_packages / name).read_bytes()
            self.tally.reads += 1
            if data not in self.target.contents[name]:
                self.tally.wrong.append(f"{name} was {data!r}")
            data = self.target.record.read_bytes()
            self.tally.reads += 1
            if data not in known:
                self.tally.wrong.extend(self.torn(data))
                known.add(data)

    def names(self) -> Iterator[str]:
        """The patched files, again and again until it is over."""
        while not self.over.wait(0.002):
            yield from self.target.contents

    def torn(self, data: bytes) -> list[str]:
        """What is wrong with RECORD, if this is it."""
        rows = [row for row in data.decode().splitlines() if "/mps-patcher/" not in row]
        paths = [row.partition(",")[0] for row in rows]
        right = data.endswith(b"\n") and sorted(paths) == sorted(self.target.rows)
        odd = [row for row in rows if row not in self.target.rows.get(row.partition(",")[0], ())]
        return [] if right and not odd else [f"RECORD, where {odd} is odd, was {data!r}"]

    def compile(self) -> None:
        """Makes bytecode of what is there, as every import does."""
        for name in self.names():
            with suppress(FileNotFoundError):  # its own temporary file, between two of them
                py_compile.compile(str(self.target.site_packages / name), doraise=True)
                self.tally.compiled += 1
            time.sleep(0.02)

    def finish(self) -> None:
        """Applies everything, and takes it back: the target is whole."""
        self.one("apply isin_mps_friendly direct_isin", None)
        for path, (_, patched) in self.target.contents.items():
            assert (self.target.site_packages / path).read_bytes() == patched
        self.one("verify --static direct_isin", None)
        self.one("revert", None)


def test_eight_commands_at_once(race_target: RaceTarget) -> None:
    original = race_target.snapshot()
    race = Race(race_target, 0)
    race.at_once([partial(race.one, line, None) for line in AT_ONCE])
    assert race.tally.wrong == []
    assert race.tally.reads > len(AT_ONCE)
    race.finish()
    assert race_target.snapshot() == original


@pytest.mark.races
def test_sixteen_processes_at_random(
    race_target: RaceTarget, seed: int, seconds: float, noted: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    original = race_target.snapshot()
    race = Race(race_target, seed)
    race.run(seconds)
    assert race.tally.wrong == [], f"RACES_SEED={seed}"
    race.finish()
    assert race_target.snapshot() == original
    noted["races"] = summary(race.tally, seed, seconds)
    with capsys.disabled():
        print("", *noted["races"], sep="\n")


def summary(tally: Tally, seed: int, seconds: float) -> list[str]:
    """What there is to tell of a race."""
    commands = Counter[str]()
    for line, times in tally.runs.items():
        commands[line.split()[0] + (" --dry-run" if "--dry-run" in line else "")] += times
    kinds = ", ".join(f"{times} {name}" for name, times in sorted(commands.items()))
    states = ", ".join(f"{times} {name}" for name, times in sorted(tally.states.items()))
    return [
        f"{PROCESSES} processes at a time for {seconds:g} s on one target of three files and two patches, seed {seed}:",
        "",
        f"- {sum(commands.values())} commands: {kinds}; {tally.kills} of them were killed by SIGKILL;",
        f"- {sum(tally.states.values())} states reported, all correct: {states};",
        f"- {tally.reads} reads of the files and RECORD meanwhile, none partial and none missing;",
        f"- bytecode compiled {tally.compiled} times meanwhile, none of it stale in the end;",
        f"- the slowest command, including its wait for the others: {tally.longest:.1f} s;",
        "- in the end `revert` gave back every byte, mode and time.",
    ]

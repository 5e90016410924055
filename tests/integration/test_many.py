"""Twenty environments below one folder, some of which cannot be patched: the tool as a user starts it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import make_target
from rights import drop_all
from terminal import Terminal, tool, tool_environment

from patcher import operations
from patcher.catalogue import load_catalogue
from patcher.model import State
from patcher.snapshot import take_snapshot
from patcher.storage.lock import LockTimeout

RELEASES = ("4.44.2", "4.45.1", "5.0.0")
VERSION = "python{}.{}".format(*sys.version_info)
BROKEN, READ_ONLY, LOCKED, PATCHED = 3, 7, 11, 15
SYNC = """
import os, pathlib, sys, time
real, calls = os.fsync, []
def slow(fd):
    calls.append(fd)
    if len(calls) == 40:
        pathlib.Path({marks!r}, str(os.getpid())).touch()
        time.sleep(600)
    real(fd)
os.fsync = slow
import signal; signal.signal(signal.SIGINT, signal.default_int_handler)
from patcher.__main__ import main; main()
"""
"""The tool, each of whose processes stops in the middle of a target."""


@pytest.fixture
def fleet(tmp_path: Path, unpacked: Callable[..., Path], shortened: Callable[[Path], Path]) -> list[Path]:
    """The site-packages of twenty virtual environments of three releases, with a few files each."""
    sources = [shortened(unpacked(release)) for release in RELEASES]
    sites = []
    for number in range(20):
        prefix = tmp_path / "fleet" / f"{number:02}" / ".venv"
        (prefix / "bin").mkdir(parents=True)
        (prefix / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
        (prefix / "pyvenv.cfg").write_text("home = /usr/bin\n")
        sites.append(prefix / "lib" / VERSION / "site-packages")
        shutil.copytree(sources[number % len(sources)], sites[-1])
    return sites


def run(*words: object, **options: Any) -> subprocess.CompletedProcess[str]:
    environ = tool_environment(NO_COLOR="1")
    return subprocess.run(tool(*words), capture_output=True, text=True, env=environ, check=False, **options)


def info_of(site: Path) -> Path:
    (found,) = site.glob("transformers-*.dist-info")
    return found


def results_by_number(done: subprocess.CompletedProcess[str]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for result in json.loads(done.stdout)["results"]:
        number = int(Path(result["target"]["site_packages"]).parents[3].name)
        found.setdefault(number, []).append(result)
    return found


def test_one_bad_environment_stops_no_other(fleet: list[Path], tmp_path: Path) -> None:
    assert run("apply", "--python", fleet[PATCHED].parents[2]).returncode == 0
    (info_of(fleet[BROKEN]) / "METADATA").unlink()
    info_of(fleet[READ_ONLY]).chmod(0o555)
    held = os.open(info_of(fleet[LOCKED]), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    words = ("apply", "--under", tmp_path / "fleet", "--lock-timeout", 0)
    powerless = {"preexec_fn": drop_all()} if os.geteuid() == 0 else {}
    done = run(*words, "--json", **powerless)
    found = results_by_number(done)
    assert (done.returncode, list(found)) == (1, list(range(20)))
    codes = {(number, one["error"]["code"]) for number, group in found.items() for one in group if one["error"]}
    bad = {BROKEN: "no-metadata", READ_ONLY: "not-permitted", LOCKED: "locked"}
    assert codes == set(bad.items())
    changed = {number for number, group in found.items() if any(one["changed"] for one in group)}
    assert changed == set(range(20)) - bad.keys() - {PATCHED}
    again = run(*words, **powerless)
    rows = again.stdout.splitlines()[:21]
    assert [row.split()[-1] for row in rows[1:]] == [str(site.parents[2]) for site in fleet[:BROKEN]] + [
        str(fleet[BROKEN])
    ] + [str(site.parents[2]) for site in fleet[BROKEN + 1 :]]
    assert re.search(r"^4\.45\.1 .* failed: not-permitted  \S+/07/\.venv$", again.stdout, re.MULTILINE)
    assert "17 targets unchanged, 3 failed." in again.stdout
    assert again.stderr.count("error: ") == 3
    assert "\r" not in again.stdout + again.stderr
    os.close(held)


def test_ctrl_c_leaves_every_target_whole_and_no_process(fleet: list[Path], tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    code = SYNC.format(marks=str(tmp_path / "marks"))
    command = [sys.executable, "-c", code, "apply", "--under", str(tmp_path / "fleet")]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, stdout=pipe, stderr=pipe, text=True, env=tool_environment(), start_new_session=True
    )
    count, end = min(os.cpu_count() or 1, 20), time.monotonic() + 60
    while len(list((tmp_path / "marks").iterdir())) < count:
        assert time.monotonic() < end
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert (process.returncode, told.splitlines()[0]) == (130, "error: Interrupted.")
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    states = []
    for site in fleet:
        results = operations.status([make_target(site)], load_catalogue(), lock=LockTimeout(seconds=0))
        states.append({result.state for result in results})
    assert not [one for one in states if not one <= {State.PATCHED, State.UNPATCHED, State.ABSENT}]
    assert sum(State.PATCHED in one for one in states) >= count
    assert sum(State.PATCHED not in one for one in states) >= count
    assert not list((tmp_path / "fleet").rglob(".*.mps-patcher"))


def test_a_line_moves_on_a_terminal_of_80_columns(fleet: list[Path], tmp_path: Path) -> None:
    held = os.open(info_of(fleet[LOCKED]), os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    terminal = Terminal("status", "--under", tmp_path / "fleet", "--lock-timeout", 2, columns=80)
    assert terminal.saw(r"working on 20 targets, \d+ done")
    assert terminal.end() == 1
    lines = terminal.left.splitlines()
    paths = [f"  {site.parents[2]}" for site in fleet]
    assert all(any(line.endswith(path) for line in lines) for path in paths)
    assert not [line for line in lines if len(line) > 80 and str(tmp_path) not in line]
    assert "working on" not in terminal.left
    os.close(held)


class TestSameRecord:
    """Installs with one RECORD, of which the first is the example for the second."""

    @pytest.fixture
    def pair(self, unpacked: Callable[..., Path]) -> tuple[Path, Path]:
        return unpacked("4.44.2"), unpacked("4.44.2")

    def told(self, *sites: Path) -> list[tuple[Any, ...]]:
        targets = [make_target(site) for site in sites]
        found = operations.status(targets, load_catalogue(), lock=LockTimeout(seconds=0))
        return [(one.patch, one.state, one.files, one.note, one.error and one.error.code) for one in found]

    @pytest.mark.parametrize("name", ["pytorch_utils.py", "generation/utils.py"])
    @pytest.mark.parametrize("is_patched", [True, False])
    def test_what_differs_in_a_file_that_counts_is_seen(
        self, pair: tuple[Path, Path], name: str, is_patched: bool
    ) -> None:
        first, second = pair
        originals = {site: (site / "transformers" / name).read_bytes() for site in pair}
        if is_patched:
            for site in pair:
                assert run("apply", "--site-packages", site).returncode == 0
            (second / "transformers" / name).write_bytes(originals[second])
        else:
            (second / "transformers" / name).write_bytes(originals[second] + b"\n\nx = torch.isin\n")
        assert (info_of(first) / "RECORD").read_bytes() == (info_of(second) / "RECORD").read_bytes()
        assert self.told(first, second) == self.told(first) + self.told(second)
        assert self.told(first) != self.told(second)

    @pytest.mark.parametrize("edit", ["appended", "removed"])
    def test_an_install_that_is_not_as_recorded_is_no_example(self, pair: tuple[Path, Path], edit: str) -> None:
        first, second = pair
        if edit == "appended":
            name = "activations.py"
            with (first / "transformers" / name).open("a") as file:
                file.write("# edited\n")
            with (second / "transformers" / name).open("a") as file:
                file.write("\n\nx = torch.isin(a, b)\n")
        else:
            (first / "transformers" / "generation" / "utils.py").unlink()
        assert self.told(first, second) == self.told(first) + self.told(second)

    def test_of_one_like_it_only_what_counts_is_read(self, pair: tuple[Path, Path]) -> None:
        first, second = map(make_target, pair)
        seen: dict[Any, Any] = {}
        files = take_snapshot(first, load_catalogue(), seen).files
        (pair[1] / "transformers" / "activations.py").write_text("torch.isin(a, b)\n")
        assert take_snapshot(second, load_catalogue(), seen).files.keys() == files.keys()
        assert len(seen) == 1

    def test_scripts_name_the_environment(self, pair: tuple[Path, Path]) -> None:
        for number, site in enumerate(pair):
            record = info_of(site) / "RECORD"
            row = f"../../../bin/transformers-cli,sha256={number},1\n"
            record.write_text(row + record.read_text() + row)
        seen: dict[Any, Any] = {}
        for site in pair:
            take_snapshot(make_target(site), load_catalogue(), seen)
        assert len(seen) == 1

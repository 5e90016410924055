"""Signals, and another mps-patcher that works on the same target."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import (
    PATCH,
    Popen,
    contents,
    is_running,
    needs_full_device,
    patched_file,
    read,
    run,
    two_lines,
    wait_for,
)
from documents import read_document


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_interpreter_that_is_asked_ends_too(self, tmp_path: Path, number: signal.Signals) -> None:
        slow = tmp_path / "python"
        slow.write_text(
            f"#!/bin/sh\necho $$ > '{tmp_path}/pid.new'; mv '{tmp_path}/pid.new' '{tmp_path}/pid'; exec sleep 60\n"
        )
        slow.chmod(0o755)
        with Popen("status", "--python", slow) as process:
            wait_for(lambda: (tmp_path / "pid").exists())
            process.send_signal(number)
            out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert two_lines(errors)[0] == "Interrupted."
        asked = int((tmp_path / "pid").read_text())
        wait_for(lambda: not is_running(asked))

    @pytest.mark.parametrize("milliseconds", range(40, 400, 60))
    def test_no_half_written_file_is_left(self, site: Path, milliseconds: int) -> None:
        before = contents(site)
        with Popen("apply", "--site-packages", site) as process:
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        original, now = before[patched_file(site)], patched_file(site).read_bytes()
        assert now == original or b"mps-patcher" in now
        assert run("apply", "--site-packages", site).exit_code == 0
        assert run("status", "--check", "--site-packages", site).exit_code == 0
        assert run("revert", "--site-packages", site).exit_code == 0
        assert contents(site) == before


@pytest.fixture
def busy(site: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works on the site until it is killed."""
    (folder,) = site.glob("transformers-*.dist-info")
    script = (
        "import fcntl, os, sys, time\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print(flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield holder
        holder.kill()


@pytest.mark.usefixtures("busy")
class TestWaiting:
    @pytest.mark.parametrize("command", ["status", "apply", "verify --static", "revert"])
    def test_as_long_as_was_asked(self, command: str, site: Path) -> None:
        (folder,) = site.glob("transformers-*.dist-info")
        for options in (["--json"], ["--quiet"]):
            began = time.monotonic()
            result = run(*command.split(), PATCH, *options, "--lock-timeout", 1, "--site-packages", site)
            assert 1 <= time.monotonic() - began < 10
            assert result.exit_code == 1
            told = [line for line in result.stderr.splitlines() if line.startswith("Waiting for another mps-patcher")]
            if options == ["--quiet"]:
                assert told == []
                continue
            assert result.stderr.splitlines() == told
            assert [f"{folder}, at most 1 s." in line for line in told] == [True]
            (only,) = read(result)["results"]
            assert only["error"]["code"] == "locked"
            assert str(folder) in only["error"]["message"]

    def test_who_does_not_want_to_wait_need_not(self, site: Path) -> None:
        began = time.monotonic()
        result = run("apply", "--json", "--lock-timeout", 0, "--site-packages", site)
        assert time.monotonic() - began < 1
        assert (result.exit_code, result.stderr) == (1, "")
        assert read(result)["results"][0]["error"]["code"] == "locked"

    def test_it_goes_on_as_soon_as_the_other_is_dead(self, site: Path, busy: subprocess.Popen[bytes]) -> None:
        with Popen("apply", "--json", "--site-packages", site) as process:
            until_it_waits(process)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            busy.kill()
            told, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert read_document(told)["results"][0]["state"] == "patched"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_who_waits_can_be_interrupted(self, site: Path, number: signal.Signals) -> None:
        before = contents(site)
        with Popen("apply", "--json", "--site-packages", site) as process:
            until_it_waits(process)
            process.send_signal(number)
            told, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        assert read_document(told)["error"]["code"] == "interrupted"
        assert contents(site) == before

    @needs_full_device
    def test_a_wait_that_cannot_be_told_of_is_a_wait(self, site: Path, busy: subprocess.Popen[bytes]) -> None:
        with Path("/dev/full").open("w") as full, Popen("apply", "--json", "--site-packages", site, stderr=full) as one:
            with pytest.raises(subprocess.TimeoutExpired):
                one.wait(1.5)
            busy.kill()
            told, _ = one.communicate(timeout=60)
        assert one.returncode == 0
        assert read_document(told)["ok"]


def until_it_waits(process: subprocess.Popen[str]) -> None:
    assert process.stderr
    assert process.stderr.readline().startswith("Waiting for another mps-patcher")

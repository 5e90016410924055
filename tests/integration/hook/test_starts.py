"""Starts of Python after a reinstall: they end well whatever is wrong, and patch where they can."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from command import run_here
from rights import drop_all

VERBOSE = {"MPS_PATCHER_HOOK": "verbose"}
is_root = os.geteuid() == 0
only_root = pytest.mark.skipif(not is_root, reason="what only root can do")


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """`folder` is a disk of 2 MB."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(path: Path) -> None:
    """Writes until the disk is full."""
    try:
        with path.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        pass


def test_the_first_start_patches_and_the_next_does_nothing(hooked: Any) -> None:
    said = "mps-patcher: transformers was replaced; mps-patcher apply: done"
    assert hooked.start(env=VERBOSE) == ("patched", said)
    assert hooked.start(env=VERBOSE) == ("patched", "")
    assert hooked.calls == 1


def test_it_is_turned_off(hooked: Any) -> None:
    assert hooked.start(env={"MPS_PATCHER_HOOK": "off"}) == ("unpatched", "")
    assert hooked.calls == 0


def test_it_does_not_depend_on_flags(hooked: Any) -> None:
    assert hooked.start("-I") == ("patched", "")
    (hooked.package / "seen").write_text("")
    assert hooked.start("-E", "-s", "-O", "-B") == ("patched", "")
    assert hooked.calls == 2


def test_without_site_packages_there_is_no_hook(hooked: Any) -> None:
    assert hooked.start("-S", env=VERBOSE) == ("none", "")
    assert hooked.calls == 0


def test_without_a_home_and_a_current_folder(hooked: Any, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec env -i {hooked.python} -c '{hooked.command()[-1]}'"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("patched\n", "")


def test_a_tool_that_is_gone_is_asked_for_once(hooked: Any) -> None:
    (hooked.package / "tool").write_text("/nowhere/python")
    out, err = hooked.start(env=VERBOSE)
    assert out == "unpatched"
    assert err.startswith("mps-patcher: cannot run mps-patcher apply: [Errno 2]")
    assert hooked.start(env=VERBOSE) == ("unpatched", "")


def test_what_fails_is_silent(hooked: Any) -> None:
    (hooked.package / "tool").write_text("/nowhere/python")
    assert hooked.start() == ("unpatched", "")


def test_what_the_tool_refuses_is_told_on_demand_alone(hooked: Any) -> None:
    source = hooked.site / "transformers" / "pytorch_utils.py"
    source.write_text(source.read_text().replace("if elements.device.type", "if not elements.device.type"))
    seen = hooked.package / "seen"
    assert hooked.start() == ("unpatched", "")
    seen.write_text("")
    assert hooked.start(env=VERBOSE)[1].startswith("mps-patcher: transformers was replaced; mps-patcher apply: error: ")
    assert hooked.calls == 2


def test_a_tool_that_hangs_is_stopped(hooked: Any, tmp_path: Path) -> None:
    hooked.edit("LIMIT = 30\n", "LIMIT = 0.3\n")
    hanging = tmp_path / "hanging"
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path / 'pid'}\nexec sleep 60\n")
    hanging.chmod(0o755)
    (hooked.package / "tool").write_text(str(hanging))
    out, err = hooked.start(env=VERBOSE)
    assert (out, "timed out after 0.3 seconds" in err) == ("unpatched", True)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


@only_root
def test_a_full_disk(new: Any, installed: Callable[[Any], None], tmp_path: Path) -> None:
    """Nothing is half done, and with space again it is done."""
    disk = tmp_path / "disk"
    with small_disk(disk):
        environment = new(prefix=disk / "env")
        installed(environment)
        environment.set_up()
        fill(disk / "filler")
        before = sorted(path.name for path in environment.package.iterdir())
        out, err = environment.start("-B", env=VERBOSE)
        assert (out, "No space left" in err) == ("unpatched", True)
        assert environment.start("-B") == ("unpatched", "")
        assert sorted(path.name for path in environment.package.iterdir()) == before
        assert environment.calls == 0
        (disk / "filler").unlink()
        assert environment.start("-B") == ("patched", "")


def test_a_read_only_folder(hooked: Any) -> None:
    folders = (hooked.package, hooked.site, hooked.site / "transformers")
    for folder in folders:
        folder.chmod(0o555)
    powerless = drop_all() if is_root else None
    assert hooked.start(env=VERBOSE, preexec_fn=powerless) == ("unpatched", "")
    for folder in folders:
        folder.chmod(0o755)
    assert hooked.calls == 0
    assert hooked.start(preexec_fn=powerless) == ("patched", "")


@only_root
def test_as_root_in_the_environment_of_another_nothing_is_done(hooked: Any) -> None:
    for path in (hooked.site, *hooked.site.rglob("*")):
        os.chown(path, 12345, 12345)
    assert hooked.start(env=VERBOSE) == ("unpatched", "")
    assert hooked.calls == 0


@pytest.mark.parametrize("gone", ["again.py", "__init__.py", "seen", "."])
def test_a_hook_that_is_not_whole(hooked: Any, gone: str) -> None:
    """As while an installer takes it away."""
    path = hooked.package / gone
    shutil.rmtree(path) if gone == "." else path.unlink()
    assert hooked.start() == ("patched" if gone == "seen" else "unpatched", "")


def test_many_at_once_apply_once(hooked: Any) -> None:
    hooked.edit("PATIENCE = 1.0\n", "PATIENCE = 60.0\n")
    begun = [
        subprocess.Popen(hooked.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(30)
    ]
    assert {process.communicate()[0] for process in begun} == {"patched\n"}
    assert hooked.calls == 1


def test_who_waits_in_vain_goes_on(hooked: Any) -> None:
    hooked.edit("PATIENCE = 1.0\n", "PATIENCE = 0.1\n")
    holding = "import fcntl, os, sys; fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX); print(); input()"
    command = [sys.executable, "-c", holding, hooked.package]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        assert hooked.start(env=VERBOSE) == ("unpatched", "")
        holder.communicate(b"\n")
    assert hooked.calls == 0


def test_an_installer_that_is_not_done(hooked: Any) -> None:
    """It writes RECORD last; and behind an upgrade there may be two for a while."""
    record = hooked.site / "transformers-4.45.1.dist-info" / "RECORD"
    record.rename(record.with_name("later"))
    assert hooked.start(env=VERBOSE) == ("unpatched", "")
    record.with_name("later").rename(record)
    other = Path(shutil.copytree(record.parent, hooked.site / "transformers-4.44.0.dist-info"))
    assert hooked.start(env=VERBOSE) == ("unpatched", "")
    shutil.rmtree(other)
    assert hooked.calls == 0
    assert hooked.start() == ("patched", "")


def test_what_was_reverted_stays_so_until_a_reinstall(hooked: Any, installed: Callable[[Any], None]) -> None:
    assert hooked.start() == ("patched", "")
    assert run_here("revert", "--site-packages", str(hooked.site))[0] == 0
    assert hooked.start() == ("unpatched", "")
    assert hooked.calls == 1
    installed(hooked)
    os.utime(hooked.site / "transformers-4.45.1.dist-info" / "RECORD", (1, 1))  # no reinstall is in the same second
    assert hooked.start() == ("patched", "")


def test_what_the_user_applied_is_not_applied_again(hooked: Any) -> None:
    assert run_here("apply", "--site-packages", str(hooked.site))[0] == 0
    assert hooked.start() == ("patched", "")
    assert hooked.calls == 0


def test_the_interpreters_that_the_tool_starts_do_nothing(hooked: Any) -> None:
    python = str(hooked.python)
    assert run_here("status", "--python", python)[0] == 0
    tool = [sys.executable, "-m", "patcher", "run", "--python", python, "-c", hooked.command()[-1]]
    done = subprocess.run(tool, capture_output=True, text=True, check=True)
    assert done.stdout == "unpatched\n", "served from elsewhere; the file is as it was"
    assert hooked.calls == 0


@pytest.mark.parametrize("way", ["copied", "moved"])
def test_an_environment_that_was_copied_or_moved(
    hooked: Any, installed: Callable[[Any], None], tmp_path: Path, way: str
) -> None:
    assert hooked.start() == ("patched", "")
    subprocess.run([*{"copied": ["cp", "-a"], "moved": ["mv"]}[way], hooked.prefix, tmp_path / "elsewhere"], check=True)
    other = type(hooked)(tmp_path / "elsewhere", hooked.log)
    assert other.start() == ("patched", "")
    assert hooked.calls == 1
    installed(other)
    assert other.start() == ("patched", "")
    assert hooked.calls == 2


def test_the_oldest_python(new: Any, installed: Callable[[Any], None], pythons: dict[tuple[int, int], Path]) -> None:
    if (3, 8) not in pythons:
        pytest.skip("Python 3.8 is not installed here")
    environment = new(pythons[3, 8])
    installed(environment)
    environment.set_up()
    assert environment.start(env=VERBOSE)[0] == "patched"
    assert environment.start(env=VERBOSE) == ("patched", "")

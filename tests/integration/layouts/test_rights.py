"""Files and folders that may not be written or read, and those of others: kept as they are, or refused in two lines."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = os.geteuid() == 0
SOURCE = Path("transformers", "pytorch_utils.py")
INFO = "transformers-4.45.1.dist-info"
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602  # linux/fs.h, on systems whose long has 64 bits
FS_IMMUTABLE_FL = 0x10
SOMEBODY = (12345, 54321)


def give(folder: Path, owner: tuple[int, int] = SOMEBODY) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)


@contextmanager
def with_mode(mode: int, *paths: Path) -> Iterator[None]:
    """Those folders have that mode, and then again their own, so that pytest can clear them away."""
    own = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(mode)
    try:
        yield
    finally:
        for path, before in zip(reversed(paths), reversed(own), strict=True):
            path.chmod(before)


@contextmanager
def immutable(path: Path) -> Iterator[None]:
    """The file has the immutable flag, which not even root may pass by."""
    fd = os.open(path, os.O_RDONLY)
    try:
        (flags,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("l", 0)))
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags | FS_IMMUTABLE_FL))
    except OSError:
        os.close(fd)
        pytest.skip("no immutable flag can be set here: not root, or not on this file system")
    try:
        yield
    finally:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags))
        os.close(fd)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, as pytest's own may not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("mode", [0o444, 0o400, 0o640])
@pytest.mark.parametrize("powerless", [True, False], ids=["as a user", "as root"])
def test_a_read_only_file_is_patched_and_stays_read_only(
    tool: Any, tree: Any, site: Path, mode: int, powerless: bool
) -> None:
    """Its mode is no refusal: it is replaced in its folder, which may be written."""
    (site / SOURCE).chmod(mode)
    original = tree(site)
    assert tool("apply", "--site-packages", site, powerless=powerless).code == 0
    assert (site / SOURCE).stat().st_mode & 0o7777 == mode
    assert tool("revert", "--site-packages", site, powerless=powerless).code == 0
    assert tree(site) == original


@pytest.mark.parametrize("which", ["the package", "the dist-info", "all"])
def test_a_read_only_folder_is_refused(tool: Any, tree: Any, site: Path, which: str) -> None:
    folders = [site / "transformers", site / INFO]
    chosen = folders if which == "all" else [folders[which == "the dist-info"]]
    original = tree(site)
    with with_mode(0o555, *chosen):
        before = tree(site)
        assert tool.json("status", "--site-packages", site, powerless=True).states["isin_mps_friendly"] == "unpatched"
        for option in ((), ("--dry-run",)):
            told = tool.json("apply", *option, "--site-packages", site, powerless=True)
            assert (told.code, told.error["code"]) == (1, "not-permitted")
            assert str(site) in told.error["message"]
        assert tree(site) == before
    assert tree(site) == original


def test_a_read_only_folder_of_one_of_several_files_leaves_all_as_they_were(
    tool: Any, tree: Any, calling: Path
) -> None:
    with with_mode(0o555, calling / "transformers" / "models" / "grounding_dino"):
        before = tree(calling)
        told = tool.json("apply", "direct_isin", "--site-packages", calling, powerless=True)
        assert (told.code, told.error["code"]) == (1, "not-permitted")
        assert told.states == {"isin_mps_friendly": "unpatched", "direct_isin": "unpatched"}
        assert tree(calling) == before


def test_a_patched_read_only_folder_cannot_be_taken_back_and_stays_patched(tool: Any, tree: Any, site: Path) -> None:
    assert tool("apply", "--site-packages", site).code == 0
    with with_mode(0o555, site / "transformers", site / INFO, site / INFO / "mps-patcher"):
        before = tree(site)
        for option in ((), ("--dry-run",)):
            told = tool.json("revert", *option, "--site-packages", site, powerless=True)
            assert (told.code, told.error["code"]) == (1, "not-permitted")
        assert tree(site) == before
        assert tool.json("apply", "--site-packages", site, powerless=True).code == 0, "there is nothing to do"
        assert tool("verify", "--static", "isin_mps_friendly", "--site-packages", site, powerless=True).code == 0


@pytest.mark.parametrize("name", [str(SOURCE), f"{INFO}/RECORD", "transformers", INFO])
def test_an_immutable_file_or_folder_is_refused_and_nothing_changes(
    tool: Any, tree: Any, site: Path, name: str
) -> None:
    original = tree(site)
    with immutable(site / name):
        told = tool.json("apply", "--site-packages", site)
        assert (told.code, told.error["code"]) == (1, "not-permitted")
        assert "immutable flag" in told.error["hint"]
        assert tree(site) == original
        assert tool.json("status", "--site-packages", site).states["isin_mps_friendly"] == "unpatched"
    assert tool("apply", "--site-packages", site).code == 0
    patched = tree(site)
    with immutable(site / name):
        told = tool.json("revert", "--site-packages", site)
        assert (told.code, told.error["code"]) == (1, "not-permitted")
        assert tree(site) == patched
    assert tool("revert", "--site-packages", site).code == 0
    assert tree(site) == original


def test_an_immutable_file_among_several_leaves_all_as_they_were(tool: Any, tree: Any, calling: Path) -> None:
    (file,) = calling.glob("transformers/models/grounding_dino/modeling_*.py")
    original = tree(calling)
    with immutable(file):
        told = tool.json("apply", "direct_isin", "--site-packages", calling)
        assert (told.code, told.error["code"]) == (1, "not-permitted")
        assert tree(calling) == original


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_of_another_owner_root_keeps_the_owner(tool: Any, tree: Any, calling: Path, open_folder: Path) -> None:
    calling = Path(shutil.move(calling, open_folder))
    give(calling)
    original = tree(calling)
    assert tool("apply", "--site-packages", calling).code == 0
    assert {(path.lstat().st_uid, path.lstat().st_gid) for path in calling.rglob("*")} == {SOMEBODY}
    assert tool("revert", "--site-packages", calling).code == 0
    assert tree(calling) == original


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_of_another_owner_a_user_is_refused(tool: Any, tree: Any, site: Path, open_folder: Path) -> None:
    site = Path(shutil.move(site, open_folder))
    give(site)
    original = tree(site)
    told = tool.json("apply", "--site-packages", site, powerless=True)
    assert (told.code, told.error["code"]) == (1, "not-permitted")
    assert "owner of the environment" in told.error["hint"]
    assert tree(site) == original


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("name", [str(SOURCE), f"{INFO}/RECORD"])
def test_of_another_owner_a_file_in_the_users_folder_is_refused(tool: Any, tree: Any, site: Path, name: str) -> None:
    """It could be replaced, but would be the user's then."""
    os.chown(site / name, *SOMEBODY)
    original = tree(site)
    told = tool.json("apply", "--site-packages", site, powerless=True)
    assert (told.code, told.error["code"]) == (1, "owner-not-kept")
    assert tree(site) == original


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
def test_what_a_user_may_not_read_is_refused(tool: Any, site: Path) -> None:
    os.chown(site / SOURCE, *SOMEBODY)
    (site / SOURCE).chmod(0o600)
    told = tool.json("status", "isin_mps_friendly", "--site-packages", site, powerless=True)
    assert (told.code, told.error["code"]) == (1, "not-permitted")
    assert str(site / SOURCE) in told.error["message"]


@pytest.mark.parametrize("mode", [0o000, 0o300, 0o400], ids=oct)
def test_a_folder_that_may_not_be_listed_or_entered_is_refused(tool: Any, site: Path, mode: int) -> None:
    with with_mode(mode, site):
        told = tool.json("status", "--site-packages", site, powerless=True)
        assert (told.code, told.error["code"]) == (1, "unreadable-folder")
        told = tool.json("status", "--under", site, powerless=True)
        assert (told.code, told.error["code"]) == (1, "unreadable-folder")
        told = tool.json("status", "--under", site.parent, powerless=True)
        assert (told.code, set(told.errors)) == ((1 if mode & 0o400 else 3), {"unreadable-folder"})


def test_a_package_folder_that_may_not_be_entered_is_refused(tool: Any, site: Path) -> None:
    with with_mode(0o400, site / "transformers"):
        for options in (("--site-packages", site), ("--under", site.parent)):
            told = tool.json("status", *options, powerless=True)
            assert (told.code, set(told.errors)) == (1, {"unreadable-folder"})


def test_a_folder_inside_that_may_not_be_listed_refuses_what_would_look_into_it(tool: Any, site: Path) -> None:
    with with_mode(0o000, site / "transformers" / "generation"):
        told = tool.json("apply", "--site-packages", site, powerless=True)
        assert told.error["code"] == "not-permitted"
        assert told.states == {"isin_mps_friendly": None, "direct_isin": None}


def test_a_current_folder_that_is_gone_is_told_of(tool: Any, site: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = 'cd "$1" && rmdir "$1" && shift && exec "$@"'
    for words in (("status",), ("apply", "--site-packages", site), ("status", "--under", ".")):
        told = tool.through(("sh", "-c", script, "sh", str(gone)), *words, "--json")
        assert (told.code, told.error["code"]) == (1, "no-current-folder")
        gone.mkdir()


def test_above_the_current_folder_what_may_not_be_entered_is_passed_by(tool: Any, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "project").mkdir(parents=True)
    script = 'cd "$1" && chmod 0 .. && shift && exec "$@"'
    try:
        told = tool.through(("sh", "-c", script, "sh", str(above / "project")), "status", "--json", powerless=True)
    finally:
        above.chmod(0o755)
    assert "ermission denied" not in told.out


def test_what_is_no_folder_or_file_does_not_hang(tool: Any, site: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for option, code in (
        ("--site-packages", "unreadable-folder"),
        ("--under", "unreadable-folder"),
        ("--python", "python-broken"),
    ):
        told = tool.json("status", option, pipe)
        assert (told.code, told.error["code"]) == (1, code)
    for name in ("METADATA", "INSTALLER", "direct_url.json"):
        path = site / INFO / name
        path.unlink(missing_ok=True)
        os.mkfifo(path)
    told = tool.json("status", "--site-packages", site)
    assert (told.code, told.error["code"]) == (1, "broken-metadata")


def test_a_name_that_is_too_long_is_told_of(tool: Any) -> None:
    for option in ("--site-packages", "--under", "--python"):
        told = tool.json("status", option, "x" * 300)
        assert (told.code, told.error["hint"].count("\n")) == (1, 0)
        told = tool.json("status", option, "/".join(["x" * 200] * 30))
        assert told.code == 1


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro "$1" && shift && exec "$@"'


@pytest.fixture
def mounted(site: Path) -> tuple[str, ...]:
    """The start of a command that finds the site-packages on a read-only file system, in a mount space of its own."""
    start = ("unshare", "--mount", "sh", "-c", READ_ONLY, "sh", str(site))
    try:
        subprocess.run([*start, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("nothing can be mounted here")
    return start


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_read_only_file_system_is_refused_in_one_cause(
    tool: Any, tree: Any, site: Path, mounted: tuple[str, ...], command: str
) -> None:
    if command == "revert":
        assert tool("apply", "--site-packages", site).code == 0
    before = tree(site)
    told = tool.through(mounted, command, "isin_mps_friendly", "--site-packages", site, "--json")
    assert (told.code, told.error["code"]) == (1, "read-only")
    assert "Putting everything back failed" not in told.error["message"]
    assert tree(site) == before
    foretold = tool.through(
        mounted, command, "isin_mps_friendly", "--dry-run", "--diff", "--site-packages", site, "--json"
    )
    assert (foretold.code, foretold.error["code"]) == (1, "read-only")
    assert foretold.results[0]["diff"]
    state = {"apply": "unpatched", "revert": "patched"}[command]
    told = tool.through(mounted, "status", "isin_mps_friendly", "--site-packages", site, "--json")
    assert told.states == {"isin_mps_friendly": state}
    assert told.code == 0


class TestNear:
    """The nearest `.venv`, as root: it may lie in a folder that anybody may write in, such as /tmp."""

    @pytest.fixture
    def project(self, site: Path, venv: Callable[..., Path], tmp_path: Path) -> Path:
        project = tmp_path / "project"
        project.mkdir()
        prefix = venv(".venv", site, parent=project)
        (own,) = prefix.glob("lib/python3.*/site-packages")
        (own / "mark.pth").write_text(f"import os; os.close(os.open({str(tmp_path / 'started')!r}, os.O_CREAT))\n")
        return project

    def test_roots_own_is_asked(self, tool: Any, project: Path, tmp_path: Path) -> None:
        (result,) = tool.json("status", "isin_mps_friendly", cwd=project).results
        assert result["target"]["python"] == str(project / ".venv" / "bin" / "python")
        assert (tmp_path / "started").exists()

    @pytest.mark.skipif(not ROOT, reason="only as root")
    def test_that_of_somebody_else_is_not_run_by_root(self, tool: Any, project: Path, tmp_path: Path) -> None:
        """It is started as its owner, who may run nothing in this folder of root's."""
        give(project)
        told = tool.json("apply", cwd=project)
        assert (told.code, told.error["code"]) == (1, "python-broken")
        assert not (tmp_path / "started").exists()

    def test_one_without_an_interpreter_is_told_of(self, tool: Any, project: Path) -> None:
        for name in ("python", "python3"):
            (project / ".venv" / "bin" / name).unlink()
        told = tool.json("status", cwd=project)
        assert (told.code, told.error["code"]) == (1, "python-not-found")

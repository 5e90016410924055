"""The hook is laid as an installer would, kept up to date, and taken away whole."""

from __future__ import annotations

import base64
import csv
import hashlib
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from command import results_here
from engine import Env, codes, killed_at, make_target

from patcher import __version__
from patcher.errors import PatcherError
from patcher.hooks import find_fault, lay_hook, remember_seen, remove_hook
from patcher.model import Target
from patcher.storage.files import stage

ROOT = Path(__file__).resolve().parents[2]
OTHER = 12345
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root does for another user")


def info_in(site: Path, version: str = __version__) -> Path:
    return site / f"mps_patcher_hook-{version}.dist-info"


def seen_in(site: Path) -> str:
    return (site / "mps_patcher_hook" / "seen").read_text()


def refusal(work: Callable[[Target], object], target: Target) -> str:
    with pytest.raises(PatcherError) as raised:
        work(target)
    return raised.value.code


@pytest.fixture
def older(one: Env, monkeypatch: pytest.MonkeyPatch) -> Env:
    """A target with the hook of an earlier version, which had a module more."""
    monkeypatch.setattr("patcher.hooks._INFO", "mps_patcher_hook-0.9.0.dist-info")
    lay_hook(one.target)
    monkeypatch.undo()
    (one.target.site_packages / "mps_patcher_hook" / "former.py").touch()
    (one.target.site_packages / "mps_patcher_hook" / "again.py").write_text("")
    return one


@pytest.fixture
def theirs(unpacked: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A target of another user's, in a folder that everybody may enter."""
    folder = Path("/var/tmp", tmp_path_factory.mktemp("theirs").name + str(os.getpid()))  # noqa: S108
    site = Path(shutil.copytree(unpacked(), folder / "site-packages"))
    for path in (folder, *folder.rglob("*")):
        os.chown(path, OTHER, OTHER)
    yield make_target(site)
    shutil.rmtree(folder)


def test_record_lists_every_file_as_it_is(one: Env) -> None:
    before = set(one.picture())
    assert lay_hook(one.target)
    site = one.target.site_packages
    rows = list(csv.reader((info_in(site) / "RECORD").read_text().splitlines()))
    found = {path for folder in site.glob("mps_patcher_hook*/") for path in folder.iterdir()}
    assert {site / path for path, *_ in rows} == {*found, site / "mps_patcher_hook.pth"}
    assert len(set(one.picture()) - before) == len(rows) + 2, "and the two folders"
    for path, named, size in rows:
        data = (site / path).read_bytes()
        wanted = "sha256=" + base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
        changes = path.endswith(("/RECORD", "/seen"))
        assert (named, size) == (("", "") if changes else (wanted, str(len(data)))), path


def test_twice_is_once(one: Env) -> None:
    assert lay_hook(one.target)
    remember_seen(one.target)
    before = one.picture()
    assert not lay_hook(one.target)
    assert one.picture() == before
    assert find_fault(one.target) is None


def test_an_older_one_is_brought_up_to_date(older: Env) -> None:
    site = older.target.site_packages
    assert str(find_fault(older.target)) == f"{info_in(site, '0.9.0')} is from another version of mps-patcher."
    assert lay_hook(older.target)
    assert find_fault(older.target) is None
    assert list(site.glob("mps_patcher_hook-*")) == [info_in(site)]
    assert not (site / "mps_patcher_hook" / "former.py").exists()


@pytest.mark.parametrize("name", ["mps_patcher_hook.pth", "mps_patcher_hook/tool", "mps_patcher_hook/seen"])
def test_what_is_missing_is_laid_again(one: Env, name: str) -> None:
    lay_hook(one.target)
    (one.target.site_packages / name).unlink()
    assert f"{name} is missing" in str(find_fault(one.target))
    assert lay_hook(one.target)
    assert find_fault(one.target) is None


def test_another_tool_lays_its_own(one: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_hook(one.target)
    monkeypatch.setattr(sys, "executable", shutil.which("env"))
    assert str(find_fault(one.target)).endswith("is from another version of mps-patcher.")
    assert lay_hook(one.target)
    assert (one.target.site_packages / "mps_patcher_hook" / "tool").read_text() == shutil.which("env")


def test_removing_leaves_not_one_file(older: Env) -> None:
    site = older.target.site_packages
    (site / "mps_patcher_hook" / "__pycache__").mkdir()
    (site / "mps_patcher_hook" / "__pycache__" / "again.cpython-311.pyc").touch()
    assert remove_hook(older.target)
    assert not list(site.glob("*hook*"))
    before = older.picture()
    assert not remove_hook(older.target)
    assert older.picture() == before
    assert find_fault(older.target) == f"There is no hook in {site}."


@pytest.mark.parametrize("work", [lay_hook, remove_hook])
def test_a_cut_at_any_point_leaves_what_can_be_uninstalled_and_starts(one: Env, work: Callable[[Target], bool]) -> None:
    """Wherever there is a .pth, the package that it imports is whole; and RECORD is there as long as anything is."""
    site = one.target.site_packages
    for at in range(1, 400):
        remove_hook(one.target)
        if work is remove_hook:
            lay_hook(one.target)
        if not killed_at(lambda: work(one.target), at):
            break
        package = site / "mps_patcher_hook"
        if (site / "mps_patcher_hook.pth").exists():
            assert {"__init__.py", "again.py", "seen", "tool"} <= {path.name for path in package.iterdir()}
            assert (info_in(site) / "RECORD").stat().st_size
        assert remove_hook(one.target) or not list(site.glob("*hook*"))
        assert not list(site.glob("*hook*")), at
    assert at > 10


@pytest.mark.parametrize("work", [lay_hook, remove_hook])
def test_the_hook_of_an_installer_is_left_to_it(one: Env, work: Callable[[Target], bool]) -> None:
    lay_hook(one.target)
    (info_in(one.target.site_packages) / "INSTALLER").write_text("uv\n")
    before = one.picture()
    assert refusal(work, one.target) == "hook-installed"
    assert one.picture() == before
    assert find_fault(one.target) is None


@pytest.mark.parametrize("name", ["mps_patcher_hook", f"mps_patcher_hook-{__version__}.dist-info"])
def test_a_link_to_elsewhere_is_not_followed(one: Env, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "again.py").write_text("theirs")
    (one.target.site_packages / name).symlink_to(elsewhere)
    assert refusal(lay_hook, one.target) == "linked-folder"
    assert [path.name for path in elsewhere.iterdir()] == ["again.py"]
    assert (elsewhere / "again.py").read_text() == "theirs"


def test_a_refusal_of_the_system_leaves_nothing_of_the_hook(one: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: bytes, *, like: Path) -> None:
        stage(path, data, like=like)
        if path.name == "again.py":
            raise PatcherError("disk-full", "no space", "Free some.")

    before = one.picture()
    monkeypatch.setattr("patcher.hooks.stage", full)
    assert refusal(lay_hook, one.target) == "disk-full"
    assert one.picture() == before


def test_a_folder_that_python_does_not_read_at_its_start_is_refused(one: Env) -> None:
    site = one.target.site_packages.rename(one.target.site_packages.with_name("libs"))
    assert refusal(lay_hook, make_target(site)) == "not-at-start"
    assert not list(site.glob("*hook*"))


def test_the_tool_tells_the_hook_what_it_saw(one: Env) -> None:
    lay_hook(one.target)
    site = one.target.site_packages
    assert seen_in(site) == ""
    seen = []
    for work in (one.apply, one.apply, one.revert, one.revert):
        work()
        found = one.record.stat()
        seen.append(seen_in(site))
        assert seen[-1] == f"transformers-4.45.1.dist-info\n{int(found.st_mtime)} {found.st_size}"
    assert seen[0] != seen[2]
    (site / "mps_patcher_hook" / "seen").write_text("")
    one.apply(dry_run=True)
    one.status()
    assert seen_in(site) == ""
    one.revert()  # nothing is to be reverted, and the hook is to leave it so
    assert seen_in(site) == seen[2]


def test_nothing_is_laid_where_there_is_no_hook(one: Env) -> None:
    one.apply()
    assert not list(one.target.site_packages.glob("*hook*"))


def test_a_hook_that_cannot_be_told_stops_no_command(one: Env) -> None:
    lay_hook(one.target)
    seen = one.target.site_packages / "mps_patcher_hook" / "seen"
    seen.unlink()
    seen.mkdir()
    assert codes(one.apply()) == {"isin_mps_friendly": None, "direct_isin": None}


def test_the_version_is_that_of_the_tool() -> None:
    project = tomllib.loads((ROOT / "patcher" / "hook" / "pyproject.toml").read_text("utf-8"))["project"]
    assert project["version"] == __version__


@only_root
def test_what_root_lays_is_the_owners(theirs: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("env"))
    [result] = results_here("setup", "--site-packages", str(theirs.site_packages))
    assert result["error"] is None
    laid = [path for path in theirs.site_packages.rglob("*hook*") if not path.is_symlink()]
    laid += [path for folder in laid if folder.is_dir() for path in folder.iterdir()]
    assert {path.stat().st_uid for path in laid} == {OTHER}


@only_root
def test_a_tool_that_the_owner_cannot_run_is_refused(
    theirs: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    tool = tmp_path / "python"
    tool.touch()
    monkeypatch.setattr(sys, "executable", str(tool))
    [result] = results_here("setup", "--site-packages", str(theirs.site_packages))
    assert result["error"]["code"] == "not-permitted"
    assert str(tool) in result["error"]["message"]
    assert not list(theirs.site_packages.glob("*hook*"))

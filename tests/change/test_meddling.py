"""Another program at work on the same files in the worst instant: what it puts there is neither lost nor revived."""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import libcst  # noqa: F401 - what is imported later would be seen as one of the tool's calls
import pytest

from patcher.change import exchange, leftovers, scan, transaction
from patcher.errors import PatcherError
from patcher.model import State
from patches import CATALOGUE

ISIN, DIRECT = CATALOGUE


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`late(name, meddle, times)`: each of the first `times` exchanges of the name comes after a call of `meddle`."""

    def patch(name: str, meddle: Callable[[int], Any], times: int = 1) -> None:
        real, seen = exchange.names, [0]

        def names(folder: int, one: str, to: str) -> bool:
            if to == name and seen[0] < times:
                seen[0] += 1
                meddle(seen[0])
            return real(folder, one, to)

        monkeypatch.setattr(exchange, "names", names)

    return patch


def put_folder(path: Path) -> None:
    path.mkdir()
    (path / "theirs").write_text("theirs")


def put_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as one:
        os.chdir(path.parent)
        one.bind(path.name)


def put_link(path: Path) -> None:
    path.symlink_to("/dev/null")


def put_dangling_link(path: Path) -> None:
    path.symlink_to("/gone")


@pytest.mark.parametrize("command", ["apply", "revert"])
@pytest.mark.parametrize("name", ["pytorch_utils.py", "RECORD"])
@pytest.mark.parametrize("put", [put_folder, put_socket, put_link, put_dangling_link, os.mkfifo])
def test_what_is_no_file_and_comes_at_the_last_instant_stays(
    env: Callable[..., Any],
    late: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    name: str,
    put: Callable[[Path], None],
) -> None:
    it = env()
    original = it.source.read_bytes()
    monkeypatch.chdir(it.target.site_packages)
    if command == "revert":
        it.apply()
    path = it.source if name == "pytorch_utils.py" else it.record

    def meddle(_: int) -> None:
        path.unlink()
        put(path)
        theirs.append(stat.S_IFMT(path.lstat().st_mode))

    theirs: list[int] = []
    late(name, meddle)
    result = getattr(it, command)()
    assert result.error is not None
    assert stat.S_IFMT(path.lstat().st_mode) == theirs[0]
    assert not list(it.target.site_packages.rglob(".*.mps-patcher"))
    if (command, name, put) == ("revert", "RECORD", put_dangling_link):  # to us RECORD is gone, as if uninstalled
        assert (it.source.read_bytes(), it.ours.exists()) == (original, False)
    elif (command, name) == ("revert", "RECORD"):  # what was applied is still there, with its back-up
        assert len(list(it.ours.iterdir())) == 2


def test_what_is_written_while_the_exchange_is_taken_back_stays(
    env: Callable[..., Any], late: Callable[..., None]
) -> None:
    """First before our exchange, and again before the one that takes it back."""
    it = env()

    def meddle(count: int) -> None:
        beside = it.source.with_name("beside")
        beside.write_text(f"# theirs, {count}\n")
        beside.rename(it.source)

    late("pytorch_utils.py", meddle, times=2)
    assert it.apply().error.code == "target-changed"
    assert it.source.read_text() == "# theirs, 2\n"
    assert not list(it.target.site_packages.rglob(".*.mps-patcher"))


@pytest.mark.parametrize("what", ["package", "dist_info"])
@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_folder_that_was_replaced_meanwhile_is_no_success(
    env: Callable[..., Any], late: Callable[..., None], command: str, what: str
) -> None:
    """As pip does: the old folder is moved away, and a new one put in its place."""
    it = env()
    if command == "revert":
        it.apply()
    folder = it.source.parent if what == "package" else it.target.dist_info
    away = folder.with_name("away")

    def meddle(_: int) -> None:
        folder.rename(away)
        shutil.copytree(away, folder)

    late("pytorch_utils.py", meddle)
    before = it.source.read_bytes()
    result = getattr(it, command)()
    if what == "package":
        assert it.source.read_bytes() == before
    assert result.error is not None
    assert result.error.code == "target-changed"


@pytest.mark.parametrize("name", ["pytorch_utils.py", "RECORD"])
def test_the_undoing_of_a_first_patch_overwrites_nobody(
    env: Callable[..., Any], shortened: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The second one cannot be written; meanwhile somebody changed what the first one had changed."""
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    path = it.source if name == "pytorch_utils.py" else it.record
    real = transaction.carry

    def carry(place: Any, scene: Any, wanted: Any) -> Any:
        if scene.patch is DIRECT:
            path.write_bytes(path.read_bytes() + b"# theirs\n")
            raise PatcherError("disk-full", "No space.", "Free some.")
        return real(place, scene, wanted)

    monkeypatch.setattr("patcher.change.operations.carry", carry)
    it.each("apply", named=True)
    assert path.read_bytes().endswith(b"# theirs\n")


def test_where_names_cannot_be_exchanged_a_late_change_is_seen_all_the_same(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = env()

    def cannot(*_: Any) -> bool:
        it.source.write_text("# theirs\n")
        return False

    monkeypatch.setattr(exchange, "names", cannot)
    assert it.apply().error.code == "target-changed"
    assert it.source.read_text() == "# theirs\n"


def test_a_forced_revert_that_was_cut_leaves_nothing(env: Callable[..., Any], cut_at: Callable[..., bool]) -> None:
    it, at = env(), 1
    original = it.source.read_bytes()
    it.apply()
    patched = it.source.read_bytes()
    edited = patched + b"# edited\n"
    it.source.write_bytes(edited)
    while cut_at(lambda: it.revert(force=True), at):
        if it.source.read_bytes() == edited:
            it.source.write_bytes(patched)
        it.revert()
        assert it.status().state is State.UNPATCHED
        assert not list(it.target.site_packages.rglob(".*.mps-patcher")), at
        it.source.write_bytes(original)
        it.apply()
        it.source.write_bytes(edited)
        at += 1
    assert at > 20


@pytest.mark.parametrize("command", ["apply", "revert"])
@pytest.mark.parametrize("name", ["pytorch_utils.py", "RECORD"])
@pytest.mark.parametrize("deed", ["writes", "removes"])
def test_what_an_installer_does_at_the_very_last_instant_stays(
    env: Callable[..., Any], late: Callable[..., None], command: str, name: str, deed: str
) -> None:
    """Between the last look and the exchange, where no look can help."""
    it = env()
    if command == "revert":
        it.apply()
    path = it.source if name == "pytorch_utils.py" else it.record
    other, before = path.read_bytes() + b"# of another installer\n", it.source.read_bytes()

    def meddle(_: int) -> None:
        path.unlink()
        if deed == "writes":
            path.write_bytes(other)
            path.chmod(0o600)

    late(name, meddle)
    assert getattr(it, command)().error.code == "target-changed"
    assert (path.read_bytes() if path.exists() else None) == (other if deed == "writes" else None)
    if (name, deed) == ("RECORD", "writes"):
        assert it.source.read_bytes() == before
    assert not list(it.target.site_packages.rglob(".*.mps-patcher"))


@pytest.fixture
def both(env: Callable[..., Any], shortened: Callable[[Path], Path]) -> Any:
    """Both patches, in a release of which they change three files."""
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    return it


@pytest.mark.parametrize("name", ["pytorch_utils.py", "stopping_criteria.py", "RECORD"])
@pytest.mark.parametrize("command", ["apply", "revert"])
def test_of_what_is_uninstalled_meanwhile_nothing_stays(
    both: Any, late: Callable[..., None], command: str, name: str
) -> None:
    """An installer knows nothing of our files, so it cannot remove the folders that hold them."""
    it, site = both, both.target.site_packages
    options = {"named": True} if command == "apply" else {}
    if command == "revert":
        it.each("apply", named=True)

    def uninstall(_: int) -> None:
        for path in sorted(site.rglob("*"), reverse=True):
            if path.is_dir():
                with suppress(OSError):
                    path.rmdir()
            elif "mps-patcher" not in str(path.relative_to(site)):
                path.unlink()

    late(name, uninstall)
    assert any(result.error for result in it.each(command, **options))
    assert list(site.rglob("*")) == []


def files(it: Any) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in it.target.site_packages.rglob("*") if path.is_file()}


def reinstall(original: dict[Path, bytes]) -> None:
    for path, content in original.items():
        path.unlink(missing_ok=True)
        path.write_bytes(content)


def test_what_is_reinstalled_while_a_failure_is_undone_stays(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second file of two cannot be changed; while the first one is put back, an installer puts all in its place."""
    original, real = files(both), exchange.names
    failed: list[str] = []
    both.each("apply", patches=(ISIN,), named=True)

    def names(folder: int, one: str, to: str) -> bool:
        if to == "stopping_criteria.py" and failed == ["utils.py"]:
            failed.append(to)
            reinstall(original)
        if to == "utils.py" and not failed:
            failed.append(to)
            raise OSError(errno.EIO, "I/O error")
        return real(folder, one, to)

    monkeypatch.setattr(exchange, "names", names)
    assert any(result.error for result in both.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE))
    assert failed == ["utils.py", "stopping_criteria.py"]
    assert files(both) == original
    assert both.each("status")[0].state is State.ABSENT


def test_without_a_record_nobody_is_taken_for_an_installer(both: Any, late: Callable[..., None]) -> None:
    """So what was there of ours before a failure stays."""
    both.record.unlink()
    both.each("apply", patches=(ISIN,), named=True)
    before = files(both)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "I/O error")

    late("utils.py", fail)
    assert any(result.error for result in both.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE))
    assert files(both) == before


@pytest.mark.parametrize("name", ["pytorch_utils.py", "stopping_criteria.py", "utils.py", "RECORD"])
@pytest.mark.parametrize("command", ["apply", "apply the second", "revert"])
def test_of_what_is_reinstalled_meanwhile_nothing_of_ours_stays(
    both: Any, late: Callable[..., None], command: str, name: str
) -> None:
    """The target is what the installer made of it, and so it is told."""
    it = both
    original = files(it)
    if command == "revert":
        it.each("apply", named=True)
    elif command == "apply the second":
        it.each("apply", patches=(ISIN,), named=True)

    late(name, lambda _: reinstall(original))
    results = it.each("revert") if command == "revert" else it.each("apply", named=True)
    assert any(result.error for result in results) or (command, name) == ("apply the second", "pytorch_utils.py")
    if any(result.error for result in results):
        assert files(it) == original
        assert [result.state for result in it.each("status")] == [State.ABSENT, State.UNPATCHED]


def test_an_interrupt_that_cannot_be_undone_says_so(
    env: Callable[..., Any], late: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = env()
    real = os.open

    def full(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, flags, *arguments, **options)

    def meddle(_: int) -> None:
        monkeypatch.setattr(os, "open", full)
        raise KeyboardInterrupt

    late("RECORD", meddle)
    error = it.apply().error
    assert error.code == "put-back-failed"
    assert error.message.startswith("Interrupted. Putting everything back failed too: ")
    assert error.message.endswith("no space is left (ENOSPC).")
    monkeypatch.setattr(os, "open", real)
    assert it.status().state is State.INTERRUPTED
    assert it.revert().error is None
    assert it.status().state is State.UNPATCHED


@pytest.fixture
def left(env: Callable[..., Any]) -> Any:
    """A patched target of whose dist-info an installer has left nothing but our folder."""
    it = env()
    it.apply()
    for path in it.target.dist_info.iterdir():
        if path != it.ours:
            path.unlink()
    return it


def test_a_ledger_alone_goes_unless_it_may_hold_the_only_copy(left: Any) -> None:
    leftovers.clear(left.target.site_packages)
    assert len(list(left.ours.iterdir())) == 2, "the patched file is still there"
    left.source.write_bytes(b"# of another release\n")
    leftovers.clear(left.target.site_packages)
    assert not left.target.dist_info.exists()
    assert left.source.read_bytes() == b"# of another release\n"


def test_a_clearing_that_was_cut_is_finished_by_the_next(left: Any, cut_at: Callable[..., bool]) -> None:
    left.source.write_bytes(b"# of another release\n")
    kept, at = left.target.dist_info.with_name("kept"), 1
    shutil.copytree(left.target.dist_info, kept)
    while cut_at(lambda: leftovers.clear(left.target.site_packages), at):
        leftovers.clear(left.target.site_packages)
        if left.target.dist_info.exists():  # empty: an installer might have made it just now
            assert not list(left.target.dist_info.iterdir()), at
            os.utime(left.target.dist_info, (0, time.time() - 61))
            leftovers.clear(left.target.site_packages)
        assert not left.target.dist_info.exists(), at
        shutil.copytree(kept, left.target.dist_info)
        at += 1
    assert at > 4


def test_what_lies_behind_a_link_is_left_alone(left: Any, tmp_path: Path) -> None:
    left.source.write_bytes(b"# of another release\n")
    (tmp_path / "link").symlink_to(left.target.site_packages)
    leftovers.clear(tmp_path / "link")
    assert left.ours.exists()
    leftovers.clear(tmp_path / "gone")


def test_an_empty_dist_info_that_an_installer_is_about_to_fill_stays(left: Any) -> None:
    shutil.rmtree(left.ours)
    leftovers.clear(left.target.site_packages)
    assert left.target.dist_info.exists()


def test_back_ups_without_a_state_file_may_be_the_only_copies(left: Any) -> None:
    left.source.unlink()
    (left.ours / "state.json").unlink()
    leftovers.clear(left.target.site_packages)
    (kept,) = left.ours.iterdir()
    assert kept.suffix == ".orig"


@pytest.mark.parametrize("text", ["{", ""])
def test_a_ledger_alone_that_cannot_be_read_stays(left: Any, text: str) -> None:
    left.source.unlink()
    (left.ours / "state.json").write_text(text)
    leftovers.clear(left.target.site_packages)
    assert len(list(left.ours.iterdir())) == 2


@pytest.mark.parametrize("name", ["METADATA", "mps-patcher/notes.txt"])
def test_what_holds_anything_else_stays(left: Any, name: str) -> None:
    left.source.unlink()
    (left.target.dist_info / name).write_text("theirs")
    leftovers.clear(left.target.site_packages)
    assert len(list(left.ours.iterdir())) >= 2


def test_no_file_below_another_folder_is_taken_for_ours(left: Any) -> None:
    left.source.unlink()
    left.source.parent.rename(left.source.parent.with_name("other"))
    leftovers.clear(left.target.site_packages)
    assert not left.target.dist_info.exists()


def test_folders_that_link_to_each_other_are_looked_into_once(env: Callable[..., Any]) -> None:
    it = env()
    folders = [it.source.parent / f"folder{number}" for number in range(9)]
    for folder in folders:
        folder.mkdir()
        (folder / "calls.py").write_text("import torch\ntorch.isin(a, b)\n")
    for folder in folders:
        for other in folders:
            (folder / f"to_{other.name}").symlink_to(other)
    found = scan.mentioning(it.target.site_packages, "transformers", re.compile(rb"isin\("))
    assert [path.parent.name for path in found if path.name == "calls.py"] == [folder.name for folder in folders]

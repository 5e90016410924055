"""status, apply and revert: what each does in each state, and what it tells."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from patcher.change import operations
from patcher.change.files import digest
from patcher.change.folder import Folder
from patcher.change.lock import Patience, lock
from patcher.errors import CannotTell
from patcher.model import Need, NotFound, Patch, State
from patcher.rewrite import transplant
from patches import CATALOGUE
from patches.isin_mps_friendly import PATCH

OURS = re.compile(r"def isin_mps_friendly.*?\n(?=\S)|def isin_mps_friendly.*\Z", re.DOTALL)
STRANGE = "def isin_mps_friendly(elements, test_elements):\n    return None\n"


def edit(env: Any, old: str, new: str) -> bytes:
    text = env.source.read_text()
    assert old in text
    env.source.write_text(text.replace(old, new))
    return bytes(env.source.read_bytes())


def strange_body(env: Any) -> bytes:
    """Gives the function a body that nobody knows."""
    text = env.source.read_text()
    env.source.write_text(OURS.sub(STRANGE, text, count=1))
    return bytes(env.source.read_bytes())


def other_need(needed: bool) -> Patch:
    return replace(PATCH, need=lambda *_: Need(needed=needed, reason="it was said so"))


@pytest.fixture
def it(env: Callable[..., Any]) -> Any:
    return env()


@pytest.mark.parametrize("version", ["4.45.1", "4.46.3"])
def test_the_round(env: Callable[..., Any], version: str) -> None:
    it = env(version)
    original, before = it.snapshot(), digest(it.source.read_bytes())
    assert it.status().state is State.UNPATCHED

    applied = it.apply(named=False)
    assert (applied.error, applied.state, applied.changed) == (None, State.PATCHED, True)
    assert (applied.before, applied.after) == (before, digest(it.source.read_bytes()))
    assert applied.file == it.source
    assert it.status().state is State.PATCHED

    reverted = it.revert()
    assert (reverted.error, reverted.state, reverted.changed) == (None, State.UNPATCHED, True)
    assert reverted.after == before
    assert it.snapshot() == original


def test_applied_twice_is_applied_once(it: Any) -> None:
    it.apply()
    patched = it.snapshot()
    again = it.apply()
    assert (again.error, again.changed, again.state) == (None, False, State.PATCHED)
    assert again.note == "Already patched: nothing to do."
    assert it.snapshot() == patched  # also each time


def test_revert_of_an_unpatched_target_changes_nothing(it: Any) -> None:
    original = it.snapshot()
    result = it.revert()
    assert (result.error, result.changed, result.state) == (None, False, State.UNPATCHED)
    assert "nothing to revert" in result.note
    assert it.snapshot() == original


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_dry_run_writes_nothing_and_tells_the_digest(it: Any, command: str) -> None:
    if command == "revert":
        it.apply()
    before = it.snapshot()
    dry = getattr(it, command)(dry_run=True, diff=True)
    assert it.snapshot() == before
    assert not dry.changed
    real = getattr(it, command)(diff=True)
    assert (dry.before, dry.after, dry.diff) == (real.before, real.after, real.diff)
    assert real.after == digest(it.source.read_bytes())


def test_a_dry_run_refuses_what_the_real_one_refuses(it: Any) -> None:
    strange_body(it)
    assert it.apply(dry_run=True).error.code == "unknown-body"


def test_the_diff_can_be_applied_by_patch(it: Any, tmp_path: Path) -> None:
    it.source.write_bytes(it.source.read_bytes().rstrip(b"\n"))  # and has no final newline
    copy = tmp_path / "transformers" / "pytorch_utils.py"
    copy.parent.mkdir()
    shutil.copy(it.source, copy)
    result = it.apply(diff=True)
    assert "--- a/transformers/pytorch_utils.py\n+++ b/transformers/pytorch_utils.py\n" in result.diff
    subprocess.run(["git", "apply", "-p1"], input=result.diff.encode(), cwd=tmp_path, check=True)
    assert copy.read_bytes() == it.source.read_bytes()


def test_no_diff_unless_it_is_asked_for(it: Any) -> None:
    assert it.apply().diff is None


def test_an_unknown_body_is_refused(it: Any) -> None:
    strange_body(it)
    before = it.snapshot()
    result = it.apply()
    assert (result.state, result.error.code) == (State.MODIFIED, "unknown-body")
    assert "--force" in result.error.hint
    assert "please report it" in result.error.hint
    assert it.snapshot() == before


def test_force_replaces_an_unknown_body_and_revert_gives_it_back(it: Any) -> None:
    strange = strange_body(it)
    before = it.snapshot()
    result = it.apply(force=True)
    assert (result.error, result.state) == (None, State.PATCHED)
    assert digest(strange)[:12] in result.note
    assert "2 lines" in result.note
    assert it.revert().error is None
    assert it.source.read_bytes() == strange
    assert it.snapshot() == before


def test_an_edit_elsewhere_is_modified_and_stays(it: Any) -> None:
    it.apply()
    edit(it, "import", "import  ")
    before = it.snapshot()
    assert it.status().state is State.MODIFIED
    again = it.apply()
    assert (again.error, again.changed, again.state) == (None, False, State.MODIFIED)
    assert "edited since" in again.note
    refused = it.revert()
    assert (refused.error.code, refused.state) == ("edited-file", State.MODIFIED)
    assert "--force" in refused.error.hint
    assert it.snapshot() == before


def test_revert_by_force_keeps_the_edited_file(it: Any) -> None:
    original = it.snapshot()
    it.apply()
    edited = edit(it, "import", "import  ")
    result = it.revert(force=True)
    assert (result.error, result.state) == (None, State.UNPATCHED)
    (kept,) = it.source.parent.glob("*.kept-*")
    assert str(kept) in result.note
    assert kept.read_bytes() == edited
    kept.unlink()
    assert it.snapshot() == original


def test_a_copy_is_not_kept_by_a_run_that_fails(it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    it.apply()
    edit(it, "import", "import  ")
    before = it.snapshot()

    def fail(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("patcher.change.operations.carry", fail)
        with pytest.raises(KeyboardInterrupt):
            it.revert(force=True)
    assert it.snapshot() == before


@pytest.mark.parametrize("text", [b"def isin_mps_friendly(:\n", b"\0", b"# coding: nonsense\n", b"\xff"])
def test_a_patched_file_that_is_no_python_any_more_can_be_put_back_by_force(it: Any, text: bytes) -> None:
    original = it.snapshot()
    it.apply()
    it.source.write_bytes(text)
    before = it.snapshot()
    assert (it.status().state, it.status().error) == (State.MODIFIED, None)
    for refused in (it.revert(), it.apply()):
        assert (refused.error.code, refused.changed) == ("edited-file", False)
    assert it.apply(force=True).error.code == "unparsable-source"
    assert it.snapshot() == before
    assert it.revert(force=True).state is State.UNPATCHED
    (kept,) = it.source.parent.glob("*.kept-*")
    assert kept.read_bytes() == text
    kept.unlink()
    assert it.snapshot() == original


def test_our_body_edited_is_refused_and_force_keeps_both(it: Any) -> None:
    pristine = it.source.read_bytes()
    it.apply()
    strange = strange_body(it)
    assert it.status().state is State.MODIFIED
    assert it.apply().error.code == "edited-file"
    result = it.apply(force=True)
    assert (result.error, result.state) == (None, State.PATCHED)
    (kept,) = it.source.parent.glob("*.kept-*")
    assert kept.read_bytes() == pristine
    assert it.revert().error is None
    assert it.source.read_bytes() == strange


def test_our_body_without_a_ledger_is_patched_and_cannot_be_undone(it: Any) -> None:
    it.apply()
    shutil.rmtree(it.ours)
    before = it.snapshot()
    status = it.status()
    assert status.state is State.PATCHED
    assert "back-up" in status.note
    again = it.apply()
    assert (again.error, again.changed) == (None, False)
    refused = it.revert()
    assert refused.error.code == "no-backup"
    assert "einstall" in refused.error.hint
    assert it.snapshot() == before


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_reinstall_in_place_makes_the_ledger_stale(env: Callable[..., Any], command: str) -> None:
    it, fresh = env(), env()
    it.apply()
    newer = fresh.source.read_bytes() + b"# a rebuilt wheel\n"
    it.source.write_bytes(newer)
    shutil.copy(fresh.record, it.record)
    assert it.status().state is State.UNPATCHED
    assert getattr(it, command)().error is None
    if command == "apply":
        assert it.status().state is State.PATCHED
        assert it.revert().error is None
    assert it.source.read_bytes() == newer
    assert it.record.read_bytes() == fresh.record.read_bytes()
    assert not it.ours.exists()
    assert not list(it.source.parent.glob("*.kept-*"))


def test_the_same_file_under_an_old_ledger_is_interrupted(env: Callable[..., Any]) -> None:
    it, fresh = env(), env()
    it.apply()
    shutil.copy2(fresh.source, it.source)
    status = it.status()
    assert status.state is State.INTERRUPTED
    assert "cut off" in status.note
    assert it.revert().error is None
    assert it.source.read_bytes() == fresh.source.read_bytes()
    assert it.record.read_bytes() == fresh.record.read_bytes()
    assert not it.ours.exists()


def test_record_that_does_not_follow_is_interrupted(env: Callable[..., Any]) -> None:
    it, fresh = env(), env()
    it.apply()
    right = it.record.read_bytes()
    shutil.copy(fresh.record, it.record)
    assert it.status().state is State.INTERRUPTED
    result = it.apply()
    assert (result.error, result.state, result.changed) == (None, State.PATCHED, True)
    assert it.record.read_bytes() == right


@pytest.mark.parametrize(
    ("name", "deed"),
    [(".orig", "gone"), *((name, deed) for name in ("pytorch_utils.py", "state.json") for deed in ("gone", "another"))],
)
def test_a_row_of_record_that_is_not_ours_any_more_is_written_again(it: Any, name: str, deed: str) -> None:
    it.apply()
    patched = it.record.read_bytes()
    rows = patched.splitlines(keepends=True)
    (at,) = (number for number, row in enumerate(rows) if row.split(b",")[0].endswith(name.encode()))
    rows[at] = b"" if deed == "gone" else rows[at].split(b",")[0] + b",sha256=x,1\n"
    it.record.write_bytes(b"".join(rows))
    result = it.apply()
    if (name, deed) == ("pytorch_utils.py", "gone"):  # somebody wanted it so
        assert (result.error, result.changed) == (None, False)
        return
    assert (result.error, result.changed) == (None, True)
    assert it.record.read_bytes() == patched


@pytest.mark.parametrize("left", ["transformers/.pytorch_utils.py.mps-patcher", "{info}/.RECORD.mps-patcher"])
@pytest.mark.parametrize("patched", [False, True])
def test_a_temporary_file_is_cleared_away(it: Any, left: str, patched: bool) -> None:
    original = it.snapshot()
    if patched:
        it.apply()
    temporary = it.target.site_packages / left.format(info=it.target.dist_info.name)
    temporary.write_text("half")
    assert it.status().state is State.INTERRUPTED
    assert it.revert().error is None
    assert it.snapshot() == original


def test_a_missing_record_is_no_obstacle(it: Any) -> None:
    it.record.unlink()
    original = it.snapshot()
    result = it.apply()
    assert result.error is None
    assert "no RECORD" in result.note
    assert it.status().state is State.PATCHED
    assert not it.record.exists()
    assert it.revert().error is None
    assert it.snapshot() == original


def test_record_edited_by_others_keeps_their_rows(it: Any) -> None:
    before, when = it.record.read_bytes(), it.record.stat().st_mtime_ns
    it.apply()
    theirs = b"transformers/theirs.py,sha256=abc,3\n"
    it.record.write_bytes(theirs + it.record.read_bytes())
    assert it.revert().error is None
    assert it.record.read_bytes() == theirs + before
    assert it.record.stat().st_mtime_ns != when


def test_a_damaged_backup_is_never_used(it: Any) -> None:
    it.apply()
    (backup,) = it.ours.glob("*.orig")
    backup.write_bytes(backup.read_bytes() + b"#")
    before = it.snapshot()
    assert it.apply().changed is False
    assert "cannot undo" in it.status().note
    assert it.revert().error.code == "backup-damaged"
    assert it.snapshot() == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "state-damaged"),
        ("{", "state-damaged"),
        ('{"schema": 2, "files": {}}', "state-newer"),
        ('{"schema": 0, "files": []}', "state-damaged"),
    ],
)
@pytest.mark.parametrize("command", ["status", "apply", "revert"])
def test_a_state_file_that_cannot_be_read_is_refused(it: Any, text: str, code: str, command: str) -> None:
    it.apply()
    (it.ours / "state.json").write_text(text)
    before = it.snapshot()
    assert getattr(it, command)().error.code == code
    assert it.snapshot() == before


def test_a_backup_without_its_state_file_is_never_thrown_away(it: Any) -> None:
    it.apply()
    (it.ours / "state.json").unlink()
    before = it.snapshot()
    for command in (it.status, it.apply, it.revert):
        assert command().error.code == "state-damaged"
    assert it.snapshot() == before


def test_a_ledger_of_another_file_is_left_to_its_writer(it: Any) -> None:
    it.apply()
    state = it.ours / "state.json"
    state.write_text(state.read_text().replace("pytorch_utils.py", "other.py"))
    assert it.apply().error.code == "state-newer"


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o755])
def test_the_mode_is_kept_and_the_backup_opens_to_nobody_else(it: Any, mode: int) -> None:
    it.source.chmod(mode)
    original = it.snapshot()
    it.apply()
    assert it.source.stat().st_mode & 0o7777 == mode
    for path in it.ours.iterdir():
        assert path.stat().st_mode & 0o777 & ~mode == 0
    it.source.chmod(0o666)  # what happens to the mode in between is not the file's own
    assert it.revert().error is None
    assert it.snapshot() == original


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_the_owner_is_kept(it: Any) -> None:
    for path in [it.source, it.target.dist_info, it.record]:
        os.chown(path, 12345, 54321)
    original = it.snapshot()
    it.apply()
    for path in [it.source, it.record, it.ours, *it.ours.iterdir()]:
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    assert it.revert().error is None
    assert it.snapshot() == original


def test_an_owner_that_cannot_be_kept_is_refused(it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    original, real = it.snapshot(), os.fstat

    def other(fd: int) -> os.stat_result:
        found = list(real(fd))
        found[4] += fd_is_source(fd)
        return os.stat_result(found, {"st_mtime_ns": real(fd).st_mtime_ns})

    def fd_is_source(fd: int) -> int:
        return int(os.path.samestat(real(fd), it.source.stat()))

    def refuse(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as double:
        double.setattr(os, "fstat", other)
        double.setattr(os, "fchown", refuse)
        result = it.apply()
    assert result.error.code == "owner-not-kept"
    assert it.snapshot() == original


@pytest.mark.parametrize("which", ["source", "record"])
def test_a_symbolic_link_is_broken_and_is_one_again(it: Any, tmp_path: Path, which: str) -> None:
    cached, path = tmp_path / "cached", getattr(it, which)
    shutil.move(path, cached)
    path.symlink_to(cached)
    original, content = it.snapshot(), cached.read_bytes()
    assert it.apply().error is None
    assert path.is_file()
    assert not path.is_symlink()
    assert cached.read_bytes() == content
    assert it.revert().error is None
    assert it.snapshot() == original
    assert cached.read_bytes() == content


def test_a_link_that_leads_nowhere_any_more_becomes_the_file(it: Any, tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    shutil.move(it.source, cached)
    it.source.symlink_to(cached)
    content = cached.read_bytes()
    it.apply()
    cached.unlink()
    assert it.revert().error is None
    assert not it.source.is_symlink()
    assert it.source.read_bytes() == content


@pytest.mark.parametrize("which", ["source", "record"])
def test_a_hard_link_is_broken(it: Any, tmp_path: Path, which: str) -> None:
    cached, path = tmp_path / "cached", getattr(it, which)
    os.link(path, cached)
    original, content = it.snapshot(), cached.read_bytes()
    assert it.apply().error is None
    assert cached.read_bytes() == content
    assert it.revert().error is None
    assert it.snapshot() == original
    assert cached.read_bytes() == content


@pytest.mark.parametrize("folder", ["transformers", "dist_info", "ours"])
@pytest.mark.parametrize("command", ["status", "apply", "revert"])
def test_a_linked_folder_is_refused(it: Any, tmp_path: Path, folder: str, command: str) -> None:
    paths = {"transformers": it.source.parent, "dist_info": it.target.dist_info, "ours": it.ours}
    it.ours.mkdir()
    shutil.move(paths[folder], tmp_path / "shared")
    paths[folder].symlink_to(tmp_path / "shared")
    before = it.snapshot()
    result = getattr(it, command)()
    assert result.error.code == "linked-folder"
    assert it.snapshot() == before


def test_a_site_packages_behind_a_link_is_as_good(it: Any, at_site: Callable[..., Any], tmp_path: Path) -> None:
    linked = tmp_path / "lib64"
    linked.symlink_to(it.target.site_packages)
    original = it.snapshot()
    other = at_site(linked)
    assert other.apply().error is None
    assert it.status().state is State.PATCHED
    assert it.revert().error is None
    assert it.snapshot() == original


def test_a_release_without_the_function(it: Any) -> None:
    it.source.write_text("x = 1\n")
    before = it.snapshot()
    assert (it.status().state, it.status().error) == (State.ABSENT, None)
    assert it.apply(named=True).error.code == "function-absent"
    assert it.revert().error is None
    assert it.snapshot() == before


def test_a_release_without_the_file(it: Any) -> None:
    it.source.unlink()
    it.record.write_text("")
    assert (it.status().state, it.status().error) == (State.ABSENT, None)
    assert it.apply(named=True).error.code == "function-absent"
    assert it.apply(named=False).error.code == "function-absent"  # the release is one that needs it
    shutil.rmtree(it.source.parent)
    assert (it.status().state, it.status().error) == (State.ABSENT, None)


def test_a_file_that_record_knows_and_is_gone(it: Any) -> None:
    it.source.unlink()
    for command in (it.status, it.apply, it.revert):
        assert command().error.code == "file-missing"


def test_what_is_not_needed_is_applied_only_by_name(it: Any) -> None:
    original, patch = it.snapshot(), other_need(False)
    (result,) = operations.apply((it.target,), (patch,), named=False)
    assert (result.error, result.changed, result.state) == (None, False, State.UNPATCHED)
    assert result.need == Need(needed=False, reason="it was said so")
    assert it.snapshot() == original
    (result,) = operations.apply((it.target,), (patch,), named=True)
    assert result.changed


def test_what_is_not_needed_is_still_repaired(it: Any) -> None:
    original = it.snapshot()
    it.ours.mkdir()
    (result,) = operations.apply((it.target,), (other_need(False),), named=False)
    assert result.error is None
    assert it.snapshot() == original


def test_one_error_does_not_stop_the_next_target(env: Callable[..., Any], tmp_path: Path) -> None:
    broken, fine = env(), env()
    broken.source.unlink()
    nowhere = NotFound(python=None, site_packages=tmp_path, error=CannotTell("no-transformers", "None.", "Look."))
    results = operations.apply((broken.target, nowhere, fine.target), (PATCH,), named=False)
    assert [result.error and result.error.code for result in results] == ["file-missing", "no-transformers", None]
    assert (results[1].patch, results[1].file, results[1].state) == (None, None, None)
    assert results[2].changed


def test_a_target_in_use_is_waited_for_and_then_refused(it: Any) -> None:
    script = (
        "import fcntl, os, sys, time\n"
        "fd = os.open(sys.argv[1], os.O_RDONLY)\n"
        "fcntl.flock(fd, fcntl.LOCK_EX)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script, str(it.target.dist_info)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        before, began = it.snapshot(), time.monotonic()
        assert it.apply(patience=Patience(seconds=0.3)).error.code == "locked"
        assert time.monotonic() - began >= 0.3
        assert it.status(patience=Patience(seconds=0)).error.code == "locked"
        assert it.snapshot() == before
        holder.kill()
    assert it.apply(patience=Patience(seconds=5)).error is None  # a dead holder does not block


def test_who_looks_lets_others_look_and_nobody_write(it: Any) -> None:
    with Folder(it.target.dist_info) as folder, lock(folder, alone=False, patience=Patience(seconds=0)):
        assert it.status(patience=Patience(seconds=0)).error is None
        assert it.apply(dry_run=True, patience=Patience(seconds=0)).error is None
        assert it.apply(patience=Patience(seconds=0)).error.code == "locked"
        assert it.revert(dry_run=True, patience=Patience(seconds=0)).error is None
        assert it.revert(patience=Patience(seconds=0)).error.code == "locked"


def test_a_read_only_environment(it: Any) -> None:
    """An ordinary user without the right to write: refused with a cure, and status still works."""
    folders = (it.source.parent, it.target.dist_info)
    original = it.snapshot()
    if os.getuid() == 0:
        _as_somebody(it)
        return
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert it.status().state is State.UNPATCHED
        assert it.apply().error.code == "not-permitted"
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert it.snapshot() == original


def _as_somebody(it: Any) -> None:
    """The same as root, which may write everywhere: a child lets go of its rights and goes into the target first."""
    original = it.snapshot()
    # The checkout may lie where only root can read: all that the child needs of it is made ready before
    patch = replace(PATCH, replacement=Path(shutil.copy(PATCH.replacement, it.target.site_packages.parent)))
    transplant(it.source.read_bytes(), patch, force=False)
    parents = [path for path in it.source.parents if path.stat().st_mode & 0o077 == 0]
    for path in parents:
        path.chmod(0o711)
    child = os.fork()
    if child == 0:
        os.setgroups([])
        os.setgid(54321)
        os.setuid(12345)
        (seen,) = operations.status((it.target,), (patch,))
        (tried,) = operations.apply((it.target,), (patch,), named=True)
        right = seen.state is State.UNPATCHED and tried.error is not None and tried.error.code == "not-permitted"
        os._exit(0 if right else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    for path in parents:
        path.chmod(0o700)
    assert code == 0
    assert it.snapshot() == original


def test_bytecode_goes_in_every_place(env: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    it = env(pycache_prefix=tmp_path / "known")
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "named"))
    beneath = PurePosixPath(str(it.source.parent).lstrip("/"))
    places = [it.source.parent / "__pycache__", tmp_path / "known" / beneath, tmp_path / "named" / beneath]
    for command in (it.apply, it.revert):
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            (place / "pytorch_utils.cpython-38.opt-2.pyc").write_bytes(b"old")
            (place / "activations.cpython-38.pyc").write_bytes(b"another module")
        assert command().error is None
        for place in places:
            assert [path.name for path in place.iterdir()] == ["activations.cpython-38.pyc"]


def test_bytecode_that_stays_is_an_error_and_nothing_changes(it: Any) -> None:
    stuck = it.source.parent / "__pycache__" / "pytorch_utils.cpython-311.pyc"
    stuck.mkdir(parents=True)  # nobody, root included, unlinks a folder
    before = it.snapshot()
    result = it.apply()
    assert result.error.code == "bytecode-not-removed"
    assert it.snapshot() == before


COMPILE = """
import py_compile, sys
py_compile.compile(sys.argv[1], invalidation_mode=py_compile.PycInvalidationMode[sys.argv[2]])
"""
RUNS = """
import sys
from importlib.machinery import SourceFileLoader
code = SourceFileLoader("module", sys.argv[1]).get_code("module")
print([len(part.co_code) for part in code.co_consts if getattr(part, "co_name", "") == "isin_mps_friendly"])
"""


def python(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("mode", ["TIMESTAMP", "CHECKED_HASH", "UNCHECKED_HASH"])
def test_the_code_that_runs_is_the_code_on_disk(it: Any, mode: str) -> None:
    old = python(RUNS, it.source)
    python(COMPILE, it.source, mode)
    it.apply()
    new = python(RUNS, it.source)
    assert new != old
    python(COMPILE, it.source, mode)
    it.revert()
    assert python(RUNS, it.source) == old


def test_a_source_of_the_same_size_gets_another_second(it: Any) -> None:
    """Python tells stale bytecode by size and whole seconds; in a cache that we cannot know, both must not agree."""
    strange = strange_body(it)
    it.apply(force=True)
    padding = it.source.stat().st_size - len(strange)
    it.revert()
    comment = b"    #" + b"x" * (padding - 6) + b"\n"
    it.source.write_bytes(strange.replace(b"    return None\n", comment + b"    return None\n"))
    old = it.source.stat()
    assert it.apply(force=True).error is None
    new = it.source.stat()
    assert new.st_size == old.st_size
    assert int(new.st_mtime) > int(old.st_mtime)


def test_a_patched_file_that_lost_the_function_was_edited(it: Any) -> None:
    it.apply()
    it.source.write_bytes(b"")
    assert it.status().state is State.MODIFIED
    assert it.revert().error.code == "edited-file"
    assert it.ours.exists()
    assert it.revert(force=True).error is None
    assert it.status().state is State.UNPATCHED


def test_stale_bytecode_of_a_patched_file_goes(it: Any) -> None:
    """As when a build layer brings old bytecode back: unchecked, so that Python would run it."""
    cached = Path(importlib.util.cache_from_source(str(it.source)))
    py_compile.compile(str(it.source), str(cached), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    stale = cached.read_bytes()
    it.apply()
    cached.write_bytes(stale)
    assert it.apply(dry_run=True).changed is False
    assert cached.exists()
    assert it.apply().changed is True
    assert not cached.exists()
    assert it.apply().changed is False


def test_a_dry_run_says_what_would_be_done_to_what(env: Callable[..., Any], shortened: Callable[[Path], Path]) -> None:
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    dry = it.each("apply", named=True, dry_run=True, diff=True)
    done = it.each("apply", named=True, diff=True)
    assert [result.note for result in dry] == [
        f"Dry run, nothing was written. Without it: {result.note}" for result in done
    ]
    assert [result.files for result in dry] == [result.files for result in done]
    assert [result.diff for result in dry] == [result.diff for result in done]
    assert all(file.after != file.before for result in dry for file in result.files)
    isin, direct = dry
    assert (isin.after, direct.after) == (isin.files[0].after, None)  # of several files there is no one digest
    names = [str(file.path.relative_to(it.target.site_packages)) for file in direct.files]
    assert re.findall("^--- a/(.*)$", direct.diff, re.MULTILINE) == names

"""As root, only what the owner of the environment may do is done, and what is written is the owner's."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from engine import ISIN, Env, codes, failing, fine, make_target

from patcher.model import State
from patcher.owner import as_owner_of, as_user_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what root may be led to do")
OTHER, GROUP = 12345, 54321


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def theirs(unpacked: Callable[..., Path], open_folder: Path) -> Env:
    """A target that another user owns."""
    site = Path(shutil.copytree(unpacked(), open_folder / "site-packages"))
    for path in (site, *site.rglob("*")):
        os.chown(path, OTHER, GROUP)
    return Env(make_target(site))


@pytest.fixture
def secret(open_folder: Path) -> Path:
    """A file that only root can read."""
    path = open_folder / "secret"
    path.write_bytes(b"root's alone")
    path.chmod(0o600)
    return path


def test_who_owns_what(open_folder: Path) -> None:
    assert as_user_of(open_folder) == {}
    os.chown(open_folder, OTHER, GROUP)
    assert as_user_of(open_folder) == {"user": OTHER, "group": GROUP, "extra_groups": ()}
    assert as_user_of(open_folder / "nothing") == {}
    (open_folder / "link").symlink_to("/")
    assert as_user_of(Path("/"), open_folder / "link") == {}
    os.chown(open_folder / "link", OTHER, GROUP, follow_symlinks=False)
    assert as_user_of(Path("/"), open_folder / "link")["user"] == OTHER


def test_the_groups_are_those_of_the_account(open_folder: Path) -> None:
    import pwd

    account = next(one for one in pwd.getpwall() if one.pw_uid)
    os.chown(open_folder, account.pw_uid, GROUP)
    found = as_user_of(open_folder)
    assert (found["user"], found["group"]) == (account.pw_uid, account.pw_gid)
    assert GROUP not in found["extra_groups"]


def test_within_we_are_the_owner_and_root_again_after_it(open_folder: Path) -> None:
    def who() -> tuple[int, int, list[int]]:
        return os.geteuid(), os.getegid(), os.getgroups()

    groups = os.getgroups()
    os.setgroups([GROUP])
    before = who()
    try:
        with as_owner_of(open_folder):
            assert who() == before
        os.chown(open_folder, OTHER, GROUP)
        with suppress(ZeroDivisionError), as_owner_of(open_folder):
            assert who() == (OTHER, GROUP, [])
            raise ZeroDivisionError
        assert who() == before
    finally:
        os.setgroups(groups)


def test_who_may_not_become_the_owner_is_refused(theirs: Env, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root of a container that gave up that right."""

    def refuse(_: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    before, groups = theirs.picture(), os.getgroups()
    monkeypatch.setattr(os, "seteuid", refuse)
    for results in (theirs.status(), theirs.apply()):
        assert codes(results)[ISIN] == "not-permitted"
    assert (theirs.picture(), os.getgroups(), os.getegid()) == (before, groups, 0)


def test_what_is_written_is_the_owners(theirs: Env) -> None:
    original = theirs.picture()
    assert fine(theirs.apply()).state is State.PATCHED
    for path in theirs.target.site_packages.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (OTHER, GROUP), path
    fine(theirs.revert())
    assert theirs.picture() == original


def test_a_link_that_is_made_anew_is_the_owners(theirs: Env, open_folder: Path) -> None:
    shutil.move(theirs.source, open_folder / "cached.py")
    theirs.source.symlink_to(open_folder / "cached.py")
    os.chown(theirs.source, OTHER, GROUP, follow_symlinks=False)
    fine(theirs.apply())
    fine(theirs.revert())
    assert (theirs.source.is_symlink(), theirs.source.lstat().st_uid) == (True, OTHER)


@pytest.mark.parametrize("name", ["RECORD", "source", "caller", "backup", "state"])
def test_no_link_leads_to_what_the_owner_may_not_read(theirs: Env, secret: Path, name: str) -> None:
    theirs.apply()
    paths = {
        "RECORD": theirs.record,
        "source": theirs.source,
        "caller": theirs.callers[0],
        "backup": theirs.own / "transformers.pytorch_utils.py.orig",
        "state": theirs.own / "state.json",
    }
    paths[name].unlink()
    paths[name].symlink_to(secret)
    before = theirs.picture()
    for results in (theirs.status(), theirs.apply(), theirs.revert(force=True)):
        assert codes(results)[ISIN] == "not-permitted"
    assert theirs.picture() == before


def test_what_the_owner_may_not_write_is_refused(theirs: Env) -> None:
    os.chown(theirs.source.parent, 0, 0)
    before = theirs.picture()
    assert theirs.states()[ISIN] is State.UNPATCHED
    assert codes(theirs.apply())[ISIN] == "not-permitted"
    assert theirs.picture() == before


def test_a_file_of_another_owner_is_not_taken_over(theirs: Env) -> None:
    """A rename would make it the owner's."""
    os.chown(theirs.source, 0, 0)
    before = theirs.picture()
    assert codes(theirs.apply())[ISIN] == "owner-not-kept"
    assert theirs.picture() == before


def test_a_file_of_a_group_that_its_owner_is_not_in_is_refused_with_a_way_out(theirs: Env) -> None:
    """As `chown -R USER` leaves what root installed: the owner would be told to be the owner."""
    os.chown(theirs.source, -1, 0)
    before = theirs.picture()
    error = theirs.apply()[ISIN].error
    assert error
    assert (error.code, "chgrp" in error.hint) == ("owner-not-kept", True)
    assert "belongs to group 0," in error.message
    assert theirs.picture() == before


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_failure_leaves_us_root_and_the_files_theirs(theirs: Env, command: str) -> None:
    if command == "revert":
        theirs.apply()
    before = theirs.picture()
    with failing(28, at=9):
        assert codes(getattr(theirs, command)())[ISIN] == "disk-full"
    assert (os.geteuid(), theirs.picture()) == (0, before)

"""Who may do what: nothing leads a privileged run elsewhere, and nobody may read, write or run more than before.

Another process that may write to the environment is played by the test itself: it acts while a system call with which
the tool is about to change something is held.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import fault_target
import libcst  # noqa: F401 - before the forks, which would each import it
import pytest
import syscalls
from snapshots import snapshot

from patcher.change.files import digest
from patcher.model import State
from patches.direct_isin import PATCH as DIRECT

held = pytest.mark.skipif(not syscalls.available(), reason="system calls cannot be held here")
ACL, DEFAULT_ACL = "system.posix_acl_access", "system.posix_acl_default"
OTHER = 12345
"""A user whom the environment's owner lets in."""


@pytest.fixture
def victim(env: Callable[..., Any]) -> Any:
    """Another environment, which is nobody's business here."""
    return env()


def instead(path: Path, make: Callable[[Path], Any]) -> None:
    """Puts something else in the place of what is there, which stays beside it."""
    path.rename(path.with_name(f"{path.name}-away"))
    make(path)


def link_site(it: Any, victim: Any) -> None:
    instead(it.target.site_packages, lambda path: path.symlink_to(victim.target.site_packages))


def exchange_site(it: Any, victim: Any) -> None:
    """No link: another folder altogether."""
    away = it.target.site_packages.with_name("away")
    it.target.site_packages.rename(away)
    victim.target.site_packages.rename(it.target.site_packages)
    away.rename(victim.target.site_packages)


def link_above(it: Any, victim: Any) -> None:
    instead(it.target.site_packages.parent, lambda path: path.symlink_to(victim.target.site_packages.parent))


def link_package(it: Any, victim: Any) -> None:
    instead(it.source.parent, lambda path: path.symlink_to(victim.source.parent))


def link_dist_info(it: Any, victim: Any) -> None:
    instead(it.target.dist_info, lambda path: path.symlink_to(victim.target.dist_info))


def link_ledger(it: Any, victim: Any) -> None:
    if it.ours.exists():
        instead(it.ours, lambda path: path.symlink_to(victim.target.dist_info))
    else:
        it.ours.symlink_to(victim.target.dist_info)


def link_source(it: Any, victim: Any) -> None:
    instead(it.source, lambda path: path.symlink_to(victim.source))


def hardlink_source(it: Any, victim: Any) -> None:
    instead(it.source, lambda path: path.hardlink_to(victim.source))


def hardlink_record(it: Any, victim: Any) -> None:
    instead(it.record, lambda path: path.hardlink_to(victim.record))


def link_temporary(it: Any, victim: Any) -> None:
    for path, to in ((it.source, victim.source), (it.record, victim.record)):
        temporary = path.with_name(f".{path.name}.mps-patcher")
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(to)


def hardlink_temporary(it: Any, victim: Any) -> None:
    for path, to in ((it.source, victim.source), (it.record, victim.record)):
        temporary = path.with_name(f".{path.name}.mps-patcher")
        temporary.unlink(missing_ok=True)
        temporary.hardlink_to(to)


SWAPS = (
    link_site, exchange_site, link_above, link_package, link_dist_info, link_ledger, link_source, hardlink_source,
    hardlink_record, link_temporary, hardlink_temporary,
)  # fmt: skip


@held
@pytest.mark.parametrize("swap", SWAPS, ids=lambda swap: str(swap.__name__))
@pytest.mark.parametrize("verb", ["apply", "revert"])
def test_a_swap_at_any_call_changes_nothing_elsewhere(
    env: Callable[..., Any], victim: Any, tmp_path: Path, verb: str, swap: Callable[[Any, Any], None]
) -> None:
    it, number, reached = env(), 0, True
    if verb == "revert":
        it.apply()
    base, elsewhere = it.target.site_packages.parents[2], victim.target.site_packages.parents[2]
    before = snapshot(elsewhere)
    shutil.copytree(base, tmp_path / "base", symlinks=True)
    shutil.copytree(elsewhere, tmp_path / "elsewhere", symlinks=True)
    command = [verb, "isin_mps_friendly", "--site-packages", str(it.target.site_packages)]
    while reached:
        reached = False

        def judge(at: int, _: syscalls.Call, number: int = number) -> None:
            nonlocal reached
            if at == number:
                reached = True
                swap(it, victim)

        ending = syscalls.intercept(partial(fault_target.run_tool, command), judge)
        assert "Traceback" not in ending.err
        if reached:
            assert ending.status in (0, 1)
            assert snapshot(base if swap is exchange_site else elsewhere) == before, number
        moved = ((elsewhere, "elsewhere"),) if swap is exchange_site else ()
        for folder, name in ((base, "base"), *moved):
            shutil.rmtree(folder)
            shutil.copytree(tmp_path / name, folder, symlinks=True)
        number += 1
    assert number > 15


def test_a_folder_that_was_exchanged_after_it_was_judged_is_refused(env: Callable[..., Any]) -> None:
    seen = env().target.site_packages.stat()
    it = env(identity=(seen.st_dev, seen.st_ino))
    before = it.snapshot()
    for command in ("status", "apply", "revert"):
        result = getattr(it, command)()
        assert (result.error.code, result.changed) == ("target-changed", False)
    assert it.snapshot() == before


def test_what_is_found_tells_which_folder_was_judged(unpacked: Callable[..., Path]) -> None:
    from patcher.locate import distribution

    site_packages = unpacked()
    found = site_packages.stat()
    assert distribution.read(site_packages).identity == (found.st_dev, found.st_ino)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="ACLs are attributes on Linux only")
@pytest.mark.parametrize("own", [False, True])
def test_an_acl_is_neither_gained_nor_lost(env: Callable[..., Any], own: bool) -> None:
    it = env()
    it.source.chmod(0o640)
    for folder in (it.source.parent, it.target.dist_info):
        granting(folder, DEFAULT_ACL)
    if own:
        granting(it.source, ACL)
    original = acl(it.source), it.source.stat().st_mode
    assert it.apply().error is None
    assert (acl(it.source), it.source.stat().st_mode) == original
    assert acl(it.record) is None
    assert {acl(path) for path in it.ours.iterdir()} == {original[0]}
    (backup,) = it.ours.glob("*.orig")
    assert backup.stat().st_mode == original[1]
    it.source.write_bytes(it.source.read_bytes() + b"# edited\n")
    assert it.revert(force=True).error is None
    assert (acl(it.source), it.source.stat().st_mode) == original
    (kept,) = it.source.parent.glob("*.kept-*")
    assert (acl(kept), kept.stat().st_mode) == original


def granting(path: Path, name: str) -> None:
    """An ACL that lets OTHER read and write: acl(5), as linux/posix_acl_xattr.h lays it out."""
    nobody = 0xFFFFFFFF
    entries = [(1, 6, nobody), (2, 7, OTHER), (4, 4, nobody), (16, 7, nobody), (32, 0, nobody)]
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        pytest.skip(f"this file system keeps no ACLs: {error.strerror}")


def acl(path: Path) -> bytes | None:
    return os.getxattr(path, ACL) if ACL in os.listxattr(path) else None


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="attributes of Linux")
def test_what_a_user_noted_on_a_file_stays(env: Callable[..., Any]) -> None:
    it = env()
    try:
        os.setxattr(it.source, "user.origin", b"a mirror")
    except OSError as error:
        pytest.skip(f"this file system keeps no attributes: {error.strerror}")
    assert it.apply().error is None
    assert os.getxattr(it.source, "user.origin") == b"a mirror"
    assert it.revert().error is None
    assert os.getxattr(it.source, "user.origin") == b"a mirror"


def test_no_set_uid_bit_is_gained(env: Callable[..., Any]) -> None:
    """A state file is no proof: in an environment that others may write to, anybody may have written it."""
    it = env()
    assert it.apply().error is None
    state = it.ours / "state.json"
    state.write_text(state.read_text().replace(f'"mode": {0o644}', f'"mode": {0o6755}'))
    assert it.revert().error is None
    assert stat.S_IMODE(it.source.stat().st_mode) == 0o755
    assert not stat.S_IMODE(it.record.stat().st_mode) & 0o7000


def test_a_set_uid_bit_stays_and_no_copy_has_it(env: Callable[..., Any]) -> None:
    it = env()
    it.source.chmod(0o4755)
    assert it.apply().error is None
    assert stat.S_IMODE(it.source.stat().st_mode) == 0o4755
    assert [stat.S_IMODE(path.stat().st_mode) for path in it.ours.glob("*.orig")] == [0o755]
    it.source.write_bytes(it.source.read_bytes() + b"# edited\n")
    it.source.chmod(0o4755)
    assert it.revert(force=True).state is State.UNPATCHED
    (kept,) = it.source.parent.glob("*.kept-*")
    assert [stat.S_IMODE(path.stat().st_mode) for path in (kept, it.source)] == [0o755, 0o4755]


@held
@pytest.mark.parametrize("verb", ["apply", "revert"])
@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_at_no_instant_may_anybody_read_more_than_the_original(env: Callable[..., Any], verb: str, mode: int) -> None:
    it = env()
    it.source.chmod(mode)
    if verb == "revert":
        it.apply()

    def judge(_: int, call: syscalls.Call) -> None:
        beside = [*it.source.parent.glob(".*.mps-patcher"), *it.source.parent.glob("*.kept*")]
        for path in [it.source, *beside, *it.target.dist_info.glob("mps-patcher/*.orig")]:
            assert stat.S_IMODE(path.stat().st_mode) & ~mode == 0, (call, path)

    command = [verb, "isin_mps_friendly", "--site-packages", str(it.target.site_packages)]
    assert syscalls.intercept(partial(fault_target.run_tool, command), judge).status == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_others_under_our_name_stays_theirs(env: Callable[..., Any]) -> None:
    it = env()
    os.chown(it.target.dist_info, OTHER, OTHER)
    it.ours.mkdir(mode=0o700)
    (it.ours / "mine").write_text("not yours")
    result = it.apply()
    found = it.ours.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
    assert result.error is None or result.error.exit_code == 1


rooted = pytest.mark.skipif(os.geteuid() != 0, reason="what root may be led to do")


def forged(it: Any, before: bytes, after: bytes, mode: int) -> Path:
    """A state file that tells of a file `odd` of the package, as anybody may write it; returns where its back-up is."""
    it.ours.mkdir()
    name = f"{digest(before)}.orig"
    entry: dict[str, Any] = {
        "path": "transformers/odd",
        "patches": ["direct_isin"],
        "before": digest(before),
        "after": digest(after),
    }
    entry |= {"mode": mode, "mtime_ns": 0, "link": None, "backup": name}
    (it.ours / "state.json").write_text(json.dumps({"schema": 1, "files": [entry], "record": None}))
    return Path(it.ours / name)


def given(it: Any) -> None:
    """Makes the whole target OTHER's."""
    site = it.target.site_packages
    for path in (site, *site.rglob("*")):
        os.chown(path, OTHER, OTHER, follow_symlinks=False)


@rooted
@pytest.mark.parametrize("name", ["symlink", "hardlink"])
def test_a_forged_state_makes_no_set_uid_program(env: Callable[..., Any], tmp_path: Path, name: str) -> None:
    it, program = env(), tmp_path / "su"
    program.write_bytes(b"\x7fELF of root's")
    program.chmod(0o4755)
    odd = it.target.site_packages / "transformers" / "odd"
    odd.symlink_to(program) if name == "symlink" else odd.hardlink_to(program)
    forged(it, b"\x7fELF of the user's", program.read_bytes(), 0o4755).write_bytes(b"\x7fELF of the user's")
    if name == "symlink":
        given(it)
    it.revert(patches=(DIRECT,))
    found = odd.stat()
    assert odd.read_bytes() == program.read_bytes() or not found.st_mode & 0o6000


@rooted
@pytest.mark.parametrize("name", ["symlink", "hardlink"])
@pytest.mark.parametrize("owner", [0, OTHER])
def test_a_forged_state_publishes_no_private_file(
    env: Callable[..., Any], tmp_path: Path, name: str, owner: int
) -> None:
    it, secret = env(), tmp_path / "secret"
    secret.write_bytes(b"root's alone")
    odd = it.target.site_packages / "transformers" / "odd"
    odd.write_bytes(b"odd")
    backup = forged(it, secret.read_bytes(), b"odd", 0o644)
    backup.symlink_to(secret) if name == "symlink" else backup.hardlink_to(secret)
    given(it)
    os.chown(odd, owner, owner)
    os.chown(secret, 0, 0)
    secret.chmod(0o600)
    it.revert(patches=(DIRECT,))
    assert odd.read_bytes() == b"odd" or (odd.stat().st_uid, odd.stat().st_mode & 0o077) == (0, 0)


@rooted
def test_root_follows_no_users_link_to_anothers_file(env: Callable[..., Any], tmp_path: Path) -> None:
    """Not even its digest is for the user, in whose state file it would stand."""
    it, secret = env(), tmp_path / "secret"
    secret.write_bytes(b"root's alone")
    it.record.unlink()
    it.record.symlink_to(secret)
    given(it)
    for command in ("status", "apply", "revert"):
        error = getattr(it, command)().error
        assert error
        assert error.code == "foreign-link"
    assert not it.ours.exists()


@rooted
def test_a_link_that_root_makes_anew_is_the_users(env: Callable[..., Any], tmp_path: Path) -> None:
    it = env()
    shutil.copy2(it.source, tmp_path / "cached.py")
    it.source.unlink()
    it.source.symlink_to(tmp_path / "cached.py")
    given(it)
    os.chown(tmp_path / "cached.py", OTHER, OTHER)
    assert it.apply().error is None
    assert it.revert().error is None
    assert it.source.is_symlink()
    assert it.source.lstat().st_uid == OTHER


@pytest.mark.parametrize("name", ["RECORD", "pytorch_utils.py", "state.json"])
def test_a_file_that_no_memory_holds_is_refused(env: Callable[..., Any], name: str) -> None:
    """It takes no room on the disk, so anybody can leave one."""
    it = env()
    it.apply()
    paths = {"RECORD": it.record, "pytorch_utils.py": it.source, "state.json": it.ours / "state.json"}
    os.truncate(paths[name], 100 << 30)
    for command in ("status", "apply", "revert"):
        assert getattr(it, command)().error.code == "too-large"

"""Every cut and every fault: apply and revert are killed, or fail, at each call that changes anything on disk."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import DIRECT, FEWEST, ISIN, Env, codes, failing, intercepted, killed_at
from snapshots import timeless

from patcher import transaction
from patcher.model import State
from patcher.storage.files import replace_file

FINE = {ISIN: None, DIRECT: None}
OPPOSITE = {"apply": "revert", "revert": "apply"}
each_command = pytest.mark.parametrize("command", ["apply", "revert"])


@pytest.fixture
def it(two: Env) -> Env:
    """Two patches that change three files, and room for bytecode."""
    return with_caches(two)


def with_caches(it: Env) -> Env:
    for folder in {path.parent for path in it.sources}:
        (folder / "__pycache__").mkdir()
    return it


def do(it: Env, command: str) -> None:
    assert codes(getattr(it, command)()) == FINE


def pyc_of(source: Path) -> Path:
    return source.parent / "__pycache__" / f"{source.stem}.cpython-38.pyc"


def contents(it: Env) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (*it.sources, it.record)}


@each_command
@pytest.mark.parametrize("then", ["apply", "revert"])
@pytest.mark.parametrize("name", ["one", "two"])
def test_every_cut_is_repaired_by_the_next_command(
    request: pytest.FixtureRequest, name: str, command: str, then: str
) -> None:
    it = with_caches(request.getfixturevalue(name))
    original, contents_before = it.picture(), contents(it)
    do(it, "apply")
    patched, contents_after, point = it.picture(), contents(it), 0
    while True:
        do(it, OPPOSITE[command])
        old = contents(it)
        for path in it.sources:
            pyc_of(path).write_bytes(b"of the file as it was")
        point += 1
        if not killed_at(lambda: do(it, command), point):
            break
        for path in old:
            now = path.read_bytes()
            assert now in (contents_before[path], contents_after[path])
            assert path == it.record or ast.parse(now)
            assert not pyc_of(path).exists() or now == old[path]
            pyc_of(path).unlink(missing_ok=True)
        assert not {State.MODIFIED, State.OUTDATED, None} & set(it.states().values())
        do(it, then)
        assert timeless(it.picture()) == timeless(patched if then == "apply" else original), point
        do(it, "revert")
        assert it.picture() == original, point
    assert point > FEWEST


@each_command
@pytest.mark.parametrize("then", ["apply", "revert"])
def test_a_cut_of_the_repair_is_repaired_too(two: Env, tmp_path: Path, command: str, then: str) -> None:
    """A sample of the pairs of cuts."""
    site, original = two.target.site_packages, two.picture()
    do(two, "apply")
    patched, pairs = two.picture(), 0
    do(two, OPPOSITE[command])
    replace_tree(tmp_path / "before", site)
    for first in range(3, 1000, 14):
        replace_tree(site, tmp_path / "before")
        if not killed_at(lambda: do(two, command), first):
            break
        replace_tree(tmp_path / "cut", site)
        for second in range(1 + first % 5, 1000, 16):
            replace_tree(site, tmp_path / "cut")
            if not killed_at(lambda: do(two, then), second):
                break
            do(two, OPPOSITE[then])
            wanted = patched if then == "revert" else original
            assert timeless(two.picture()) == timeless(wanted), (first, second)
            do(two, "revert")
            assert two.picture() == original, (first, second)
            pairs += 1
    assert pairs > 2


def replace_tree(path: Path, by: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(by, path)


def test_every_cut_of_reverting_one_of_two_is_repaired(two: Env) -> None:
    """The journal goes on telling of the patch that stays, and forgets no file before that is itself again."""
    two.apply(ISIN)
    only, point = two.picture(), 1
    assert codes(two.apply(DIRECT)) == {DIRECT: None}
    while killed_at(lambda: two.revert(DIRECT), point):
        assert codes(two.revert(DIRECT))[DIRECT] is None
        assert timeless(two.picture()) == timeless(only), point
        two.apply(DIRECT)
        point += 1
    assert point > FEWEST


def test_every_cut_is_repaired_though_another_patch_is_refused(two: Env) -> None:
    two.callers[0].write_text("import torch\n\nisin = torch.isin\n")
    original, point = two.picture(), 1
    while killed_at(lambda: two.apply(ISIN), point):
        assert codes(two.apply(ISIN, DIRECT)) == {ISIN: None, DIRECT: "edited-file"}
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.MODIFIED}, point
        two.revert()
        assert two.picture() == original, point
        point += 1
    assert point > FEWEST


def test_every_cut_of_a_forced_apply_can_be_reverted(one: Env) -> None:
    one.source.write_text("def isin_mps_friendly(elements, test_elements):\n    return None\n")
    original, point = one.picture(), 1
    while killed_at(lambda: one.apply(ISIN, force=True), point):
        is_there = b"mps-patcher" in one.source.read_bytes()
        assert codes(one.apply(ISIN)) == {ISIN: None if is_there else "edited-file"}, point
        expected = (State.PATCHED,) if is_there else (State.MODIFIED, State.INTERRUPTED)
        assert one.states()[ISIN] in expected, point
        do(one, "revert")
        assert one.picture() == original, point
        point += 1
    assert point > FEWEST


def test_every_cut_of_a_forced_revert_leaves_a_copy_and_no_harm(one: Env, tmp_path: Path) -> None:
    original = one.source.read_bytes()
    do(one, "apply")
    edited = one.source.read_bytes() + b"# edited\n"
    one.source.write_bytes(edited)
    shutil.copytree(one.target.site_packages, tmp_path / "saved")
    point = 1
    while killed_at(lambda: one.revert(force=True), point):
        kept = list(one.source.parent.glob("*.kept-*"))
        assert one.source.read_bytes() in (edited, original)
        assert one.source.read_bytes() == edited or [path.read_bytes() for path in kept] == [edited]
        assert codes(one.revert(force=True)) == FINE
        assert one.source.read_bytes() == original
        assert not list(one.target.site_packages.rglob(".*.mps-patcher"))
        shutil.rmtree(one.target.site_packages)
        shutil.copytree(tmp_path / "saved", one.target.site_packages)
        point += 1
    assert point > FEWEST


def test_every_cut_without_a_backup_is_repaired_by_the_next_apply(two: Env, tmp_path: Path) -> None:
    shutil.copytree(two.target.site_packages, tmp_path / "saved")
    two.apply(backup=False)
    patched, point = timeless(two.picture()), 0
    while True:
        shutil.rmtree(two.target.site_packages)
        shutil.copytree(tmp_path / "saved", two.target.site_packages)
        point += 1
        if not killed_at(lambda: two.apply(backup=False), point):
            break
        assert codes(two.apply(backup=False)) == FINE
        assert timeless(two.picture()) == patched, point
    assert point > FEWEST / 2


def test_no_backup_goes_before_its_file_is_itself_again(it: Env) -> None:
    """A loss of power may leave a move between two folders in one of them alone, so nothing moves."""
    originals = {str(path): path.read_bytes() for path in it.sources}
    do(it, "apply")
    backups: list[str] = []

    def act(_: int, name: str, __: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if name == "replace":
            assert Path(arguments[0]).parent == Path(arguments[1]).parent
        if name == "unlink" and str(arguments[0]).endswith(".orig"):
            backups.append(Path(arguments[0]).name)
            assert originals == {str(path): path.read_bytes() for path in it.sources}

    with intercepted(act):
        do(it, "revert")
    assert len(backups) == len([*it.sources, it.record])


@each_command
def test_every_fault_puts_everything_back_and_is_told_in_a_line(it: Env, command: str, fault: int) -> None:
    if command == "revert":
        do(it, "apply")
        it.source.chmod(0o664)  # since then: the backup has another mode
    before, point, refused = it.picture(), 0, 0
    while True:
        point += 1
        with failing(fault, at=point) as calls:
            results = getattr(it, command)()
        if len(calls) < point:
            break
        if not any(codes(results).values()):  # a call whose failure does no harm
            do(it, OPPOSITE[command])
            it.source.chmod(0o664 if command == "revert" else 0o644)
            before = it.picture()
            continue
        refused += 1
        assert it.picture() == before, (point, calls, results)
        for result in results.values():
            assert not result.changed
            assert result.error is None or (result.error.exit_code, "\n" in result.error.message) == (1, False)
    assert refused > FEWEST


def test_every_fault_without_a_backup_puts_everything_back(two: Env, fault: int) -> None:
    """Then what was is known to the process alone."""
    before, point = two.picture(), 0
    while True:
        point += 1
        with failing(fault, at=point) as calls:
            results = two.apply(backup=False)
        if len(calls) < point or not any(codes(results).values()):
            break
        assert two.picture() == before, (point, calls, results)
    assert point > FEWEST / 2


@each_command
def test_a_refusal_before_anything_changed_says_nothing_of_putting_back(it: Env, command: str, fault: int) -> None:
    if command == "revert":
        do(it, "apply")
    with failing(fault, at=1, lasting=True):
        results = getattr(it, command)()
    for result in results.values():
        assert result.error
        assert result.error.code in ("disk-full", "io-error", "not-permitted", "read-only")
        assert "back" not in result.error.message


@each_command
def test_a_fault_that_lasts_is_told_and_the_next_command_repairs_it(it: Env, command: str) -> None:
    original, told, point = it.picture(), 0, 0
    if command == "revert":
        do(it, "apply")
    while True:
        point += 1
        with failing(errno.EIO, at=point, lasting=True) as calls:
            results = getattr(it, command)()
        if len(calls) < point:
            break
        error = results[ISIN].error
        assert error
        assert error.code == ("bytecode-not-removed" if error.message.startswith("Old bytecode") else "io-error")
        told += "Undoing the changes failed too" in error.message
        do(it, "revert")
        assert it.picture() == original, point
        if command == "revert":
            do(it, "apply")
    assert told > FEWEST / 2


@each_command
def test_ctrl_c_at_any_call_puts_everything_back(it: Env, command: str) -> None:
    if command == "revert":
        do(it, "apply")
    before, point = it.picture(), 0

    def act(number: int, *_: Any) -> None:
        if number == point:
            raise KeyboardInterrupt

    while True:
        point += 1
        with intercepted(act) as calls:
            try:
                getattr(it, command)()
            except KeyboardInterrupt:
                pass
            else:
                assert len(calls) < point
                break
        assert it.picture() == before, point
    assert point > FEWEST


def test_ctrl_c_that_cannot_be_undone_says_so(one: Env) -> None:
    def act(number: int, *_: Any) -> None:
        if number == FEWEST:
            raise KeyboardInterrupt
        if number > FEWEST:
            raise OSError(errno.ENOSPC, "No space left on device")

    with intercepted(act):
        error = one.apply(ISIN)[ISIN].error
    assert error
    assert error.code == "put-back-failed"
    assert error.message.startswith("Interrupted. Undoing the changes failed too: ")
    do(one, "revert")


def meddle(path: Path, deed: str) -> None:
    if deed != "writes":
        path.unlink()
    if deed == "folder":
        path.mkdir()
    elif deed == "link":
        path.symlink_to("/dev/null")
    elif deed == "pipe":
        os.mkfifo(path)
    elif deed == "writes":
        path.write_bytes(b"# of another installer\n")


def facts(path: Path) -> tuple[Any, ...]:
    if not path.is_file() or path.is_symlink():
        return (os.path.lexists(path), path.lstat().st_mode if os.path.lexists(path) else 0)
    return (path.read_bytes(), path.stat().st_mode)


@each_command
@pytest.mark.parametrize("which", ["source", "caller", "record"])
@pytest.mark.parametrize("deed", ["writes", "removes", "folder", "link", "pipe"])
def test_what_another_puts_there_before_the_last_look_stays(
    two: Env, monkeypatch: pytest.MonkeyPatch, command: str, which: str, deed: str
) -> None:
    path = {"source": two.source, "caller": two.callers[1], "record": two.record}[which]
    if command == "revert":
        do(two, "apply")
    theirs: list[tuple[Any, ...]] = []
    before, real = two.picture(), replace_file

    def late(target: Path, **options: Any) -> None:
        if target == path and not theirs:
            meddle(path, deed)
            theirs.append(facts(path))
        real(target, **options)

    monkeypatch.setattr(transaction, "replace_file", late)
    results = getattr(two, command)()
    assert set(codes(results).values()) <= {"target-changed", "not-a-file"}
    assert [facts(path)] == theirs
    assert not list(two.target.site_packages.rglob(".*.mps-patcher"))
    name = str(path.relative_to(two.target.site_packages))
    after = two.picture()
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} == {name}


@pytest.mark.parametrize("whole", [False, True])
def test_of_what_is_uninstalled_meanwhile_nothing_stays(two: Env, monkeypatch: pytest.MonkeyPatch, whole: bool) -> None:
    """An installer knows nothing of our folder yet: some keep one that is not empty, others remove the whole."""
    site, real = two.target.site_packages, replace_file

    def late(path: Path, **options: Any) -> None:
        if path == two.callers[0]:
            for file in site.rglob("*"):
                if file.is_file() and (whole or "mps-patcher" not in str(file)):
                    file.unlink()
            if whole:
                shutil.rmtree(two.target.dist_info)
        real(path, **options)

    monkeypatch.setattr(transaction, "replace_file", late)
    assert set(codes(two.apply()).values()) == {"target-changed"}
    assert not [path for path in site.rglob("*") if path.is_file()]
    assert not two.target.dist_info.exists()


@each_command
def test_bytecode_that_another_process_makes_meanwhile_goes(
    it: Env, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    if command == "revert":
        do(it, "apply")
    real = replace_file

    def compile_first(target: Path, **options: Any) -> None:
        if target in it.sources:
            pyc_of(target).write_bytes(b"of the file as it was")
        real(target, **options)

    monkeypatch.setattr(transaction, "replace_file", compile_first)
    do(it, command)
    assert not any(pyc_of(path).exists() for path in it.sources)


def test_bytecode_that_stays_is_an_error_and_nothing_changes(it: Env) -> None:
    pyc_of(it.source).mkdir()  # nobody, root included, unlinks a folder
    before = it.picture()
    assert set(codes(it.apply()).values()) == {"bytecode-not-removed"}
    assert it.picture() == before


@pytest.mark.parametrize(
    "name",
    ["transformers/pytorch_utils.py", "{info}/RECORD", "{own}/*.py.orig", "{own}/*RECORD.orig", "{own}/state.json"],
)
@pytest.mark.parametrize("deed", ["changed", "gone"])
def test_what_was_written_is_read_again(one: Env, monkeypatch: pytest.MonkeyPatch, name: str, deed: str) -> None:
    """A disk that loses or adds a byte after the last write: success must not be said."""
    pattern = name.format(info=one.target.dist_info.name, own=f"{one.target.dist_info.name}/mps-patcher")
    real = transaction.check_written

    def spoil(*arguments: Any) -> None:
        (path,) = one.target.site_packages.glob(pattern)
        path.write_bytes(path.read_bytes() + b"\n") if deed == "changed" else path.unlink()
        real(*arguments)

    monkeypatch.setattr(transaction, "check_written", spoil)
    assert codes(one.apply(ISIN)) == {ISIN: "not-proven"}


def test_one_apply_opens_a_file_at_most_three_times(two: Env) -> None:
    """Its own check of what it wrote included."""
    opened: Counter[str] = Counter()
    is_counting = True

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_counting and event == "open" and isinstance(arguments[0], (str, Path)):
            opened[str(arguments[0])] += 1

    before = {str(path) for path in two.target.site_packages.rglob("*") if path.is_file()}
    sys.addaudithook(hook)  # for good: none can be taken away
    do(two, "apply")
    is_counting = False
    seen = {path: count for path, count in opened.items() if path in before or "mps-patcher/" in path}
    assert {path.name for path in (*two.sources, two.record)} <= {Path(path).name for path in seen}
    assert max(seen.values()) == 3, seen

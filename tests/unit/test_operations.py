"""status, apply and revert: what is told of each, what has no effect, no backup, several targets, and the lock."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import DIRECT, ISIN, Env, catalogue, codes, fine, make_target
from snapshots import timeless

from patcher import operations
from patcher.errors import CannotTell
from patcher.messages import IRREVERSIBLE, RESTARTS
from patcher.model import Effect, NotFound, State, Target
from patcher.snapshot import Snapshot, take_snapshot
from patcher.storage.files import digest
from patcher.storage.lock import LockTimeout, locked


@pytest.mark.parametrize("command", ["status", "apply"])
def test_a_macos_that_the_torch_does_not_run_on(env: Callable[..., Env], command: str) -> None:
    it = env(torch="2.13.0+cpu")
    (result,) = it.run(command, ISIN, macos="13").values()
    assert result.error
    assert (result.error.code, result.error.exit_code, result.state) == ("no-rules", 3, None)
    assert result.error.message == "torch 2.13 needs macOS 14 or newer."
    assert result.error.hint == "Leave out --macos, or ask for 14 or newer."
    assert fine(it.run(command, ISIN, macos="14.1")).state is not State.MODIFIED
    assert fine(env(torch=None).run(command, ISIN, macos="12.3")).state is not State.MODIFIED


class TestTold:
    @pytest.mark.parametrize("command", ["apply", "revert"])
    def test_a_dry_run_writes_nothing_and_says_what_would_be(self, two: Env, command: str) -> None:
        if command == "revert":
            two.apply()
        before = two.picture()
        dry = two.run(command, dry_run=True, diff=True)
        assert two.picture() == before
        done = two.run(command, diff=True)
        for name, result in done.items():
            future = re.sub(r"^would (\w+?)e? ", r"\1ed ", str(dry[name].note)).replace(" disable ", " disabled ")
            assert (dry[name].note != result.note, future) == (True, result.note)
            assert (dry[name].files, dry[name].diff, dry[name].changed) == (result.files, result.diff, False)
            assert [file.after for file in result.files] == [digest(file.path.read_bytes()) for file in result.files]
            assert all(file.before != file.after for file in result.files)
        assert two.run(command)[ISIN].diff is None

    def test_a_dry_run_refuses_what_the_real_one_refuses(self, one: Env) -> None:
        one.source.write_text("import torch\n\n\ndef isin_mps_friendly(elements, test_elements):\n    return None\n")
        assert codes(one.apply(dry_run=True)) == codes(one.apply())
        assert codes(one.apply())[ISIN] == "edited-file"

    def test_the_diffs_can_be_applied_by_git(self, two: Env, tmp_path: Path) -> None:
        shutil.copytree(two.target.site_packages, tmp_path / "copy")
        diff = "".join(str(result.diff) for result in two.apply(diff=True).values())
        assert re.findall(r"^\+\+\+ b/(.*)$", diff, re.MULTILINE) == [
            str(path.relative_to(two.target.site_packages)) for path in two.sources
        ]
        subprocess.run(["git", "apply", "-p1"], input=diff.encode(), cwd=tmp_path / "copy", check=True)
        for path in two.sources:
            assert (tmp_path / "copy" / path.relative_to(two.target.site_packages)).read_bytes() == path.read_bytes()

    def test_the_notes_of_a_round(self, two: Env) -> None:
        calls = "2 direct calls of torch.isin in 2 files"
        unpatched = {
            ISIN: "transformers 4.44.2 has no such function",
            DIRECT: calls,
        }

        def notes(results: dict[str, Any]) -> dict[str, Any]:
            return {name: result.note for name, result in results.items()}

        assert notes(two.status()) == unpatched
        assert notes(two.apply()) == {
            ISIN: "added isin_mps_friendly to pytorch_utils.py",
            DIRECT: f"redirected {calls} to isin_mps_friendly",
        }
        assert notes(two.status()) == {
            ISIN: "fixed function in pytorch_utils.py",
            DIRECT: "2 files redirected to isin_mps_friendly",
        }
        assert set(notes(two.apply()).values()) == {"already patched"}
        two.callers[1].write_bytes(two.callers[1].read_bytes() + b"#\n")
        assert (
            notes(two.status())[DIRECT]
            == f"transformers/generation/utils.py was edited since it was patched: {RESTARTS}"
        )
        reverted = notes(two.revert(force=True))
        (kept,) = two.callers[1].parent.glob("*.kept-*")
        assert reverted == {
            ISIN: "restored pytorch_utils.py",
            DIRECT: f"restored 2 files; your edited file is kept as {kept}",
        }
        assert notes(two.status()) == unpatched

    def test_what_has_no_effect_is_applied_only_by_name(self, env: Callable[..., Env]) -> None:
        it = env("4.44.2", torch="2.9.0")
        before = it.picture()
        results = it.apply(macos="14.0")
        assert {result.impact.effect for result in results.values() if result.impact} == {Effect.NONE}
        assert [(result.error, result.changed) for result in results.values()] == [(None, False)] * 2
        assert it.picture() == before
        assert it.apply(DIRECT, macos="14.0")[DIRECT].changed

    def test_a_release_without_direct_calls_has_nothing_to_do(self, one: Env) -> None:
        before = one.picture()
        (result,) = one.apply(DIRECT).values()
        assert (result.error, result.state, result.changed) == (None, State.ABSENT, False)
        assert result.note == "no direct call of torch.isin"
        assert one.picture() == before


class TestNoBackup:
    @pytest.fixture
    def bare(self, two: Env) -> Env:
        assert not any(codes(two.apply(backup=False)).values())
        return two

    def test_only_the_sources_change(self, two: Env) -> None:
        before = two.picture()
        applied = two.apply(backup=False)
        assert str(fine(applied).note).endswith(f", without a backup: {IRREVERSIBLE}")
        after = two.picture()
        assert {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)} == {
            str(path.relative_to(two.target.site_packages)) for path in two.sources
        }

    @pytest.mark.parametrize("backup", [False, True])
    def test_on_what_is_patched_it_does_nothing(self, bare: Env, backup: bool) -> None:
        before = bare.picture()
        assert [result.changed for result in bare.apply(backup=backup).values()] == [False, False]
        assert bare.picture() == before

    def test_a_backup_that_is_there_is_kept_and_goes_on(self, two: Env) -> None:
        before = two.picture()
        two.apply(ISIN)
        assert IRREVERSIBLE not in str(two.apply(backup=False)[DIRECT].note)
        two.revert()
        assert two.picture() == before


class TestTargets:
    def test_one_error_does_not_stop_the_next(self, env: Callable[..., Env], tmp_path: Path) -> None:
        broken, whole = env(), env()
        broken.source.unlink()
        nowhere = NotFound(python=None, site_packages=tmp_path, error=CannotTell("no-transformers", "None.", "Look."))
        patches = catalogue()
        targets = (broken.target, nowhere, whole.target)
        results = operations.apply(targets, patches, named=False, lock=LockTimeout(seconds=0))
        assert [(result.target, result.patch, result.error and result.error.code) for result in results] == [
            (broken.target, ISIN, "file-missing"),
            (broken.target, DIRECT, "file-missing"),
            (nowhere, None, "no-transformers"),
            (whole.target, ISIN, None),
            (whole.target, DIRECT, None),
        ]

    def test_nor_does_one_that_nobody_thought_of(
        self, env: Callable[..., Env], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        strange, whole = env(), env()

        def take(target: Target, *arguments: Any) -> Snapshot:
            if target == strange.target:
                raise KeyError("RECORD")
            return take_snapshot(target, *arguments)

        monkeypatch.setattr(operations, "take_snapshot", take)
        results = operations.status((strange.target, whole.target), catalogue(), lock=LockTimeout(seconds=0))
        assert [result.error and result.error.code for result in results] == ["defect", "defect", None, None]
        with pytest.raises(KeyError):  # the boundary tells, with -v by its traceback
            operations.status((strange.target,), catalogue(), lock=LockTimeout(seconds=0))

    def test_a_file_that_is_gone_is_told_of(self, two: Env) -> None:
        two.apply()
        two.callers[0].unlink()
        for results in (two.status(), two.apply(), two.revert()):
            assert set(codes(results).values()) == {"file-missing"}

    def test_who_reads_lets_others_read_and_nobody_write(self, one: Env) -> None:
        with locked(one.target.dist_info, exclusive=False, timeout=LockTimeout(seconds=0)):
            for results in (one.status(), one.apply(dry_run=True), one.revert(dry_run=True)):
                fine(results)
            for results in (one.apply(), one.revert()):
                assert set(codes(results).values()) == {"locked"}
        with locked(one.target.dist_info, exclusive=True, timeout=LockTimeout(seconds=0)):
            assert set(codes(one.status()).values()) == {"locked"}

    def test_a_copied_environment_is_undone_on_its_own(self, one: Env, tmp_path: Path) -> None:
        original = one.picture()
        one.apply()
        shutil.copytree(one.target.site_packages, tmp_path / "copy")
        patched = one.picture()
        copy = Env(make_target(tmp_path / "copy"))
        fine(copy.revert())
        assert one.picture() == patched
        assert timeless(copy.picture()) == timeless(original)

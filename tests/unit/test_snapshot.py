"""What a target holds: which files are read, what they and the journal say together, and what cannot be relied on."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import DIRECT, ISIN, Env, codes, fine

from patcher import scan
from patcher.errors import PatcherError
from patcher.model import State

CALL = "import torch\n\ntorch.isin(1, 2)\n"
each_command = pytest.mark.parametrize("command", ["status", "apply", "revert"])


def run(it: Env, command: str) -> dict[str, str | None]:
    return codes(it.run(command))


class TestScan:
    def write(self, it: Env, *names: str, text: str = CALL) -> None:
        for name in names:
            path = it.source.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def found(self, it: Env) -> set[str]:
        """What was read, but for the files that are always there."""
        known = {path.relative_to(it.target.site_packages) for path in it.sources}
        return {"/".join(path.parts[1:]) for path in it.take().files.keys() - known}

    def test_the_python_files_that_mention_what_a_patch_is_about(self, two: Env) -> None:
        assert self.found(two) == set()
        self.write(two, "a/z.py", "a/deep/er/c.py", "folder.py/f.py", "a.txt", "b.pyc", "__pycache__/c.py")
        self.write(two, "d.py", text="isinstance(a, b), visin, isin_mps\n")
        self.write(two, "e.py", text="from .pytorch_utils import isin_mps_friendly\n")
        self.write(two, "../other/e.py")
        assert self.found(two) == {"a/z.py", "a/deep/er/c.py", "folder.py/f.py", "e.py"}

    def test_one_that_only_speaks_of_it_is_none_of_the_patch(self, two: Env) -> None:
        self.write(two, "notes.py", text="# torch.isin(a, b) is what others call\n")
        fine(two.apply())
        assert [file.path for file in two.status()[DIRECT].files] == list(two.callers)

    def test_a_long_one_is_read_to_its_end(self, two: Env, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(scan, "_BUFFER", 64)
        self.write(two, "long.py", text=f"{'#' * 999}\n{CALL}")
        files = {path.name: status.image.data for path, status in two.take().files.items()}
        assert files["long.py"] == (two.source.parent / "long.py").read_bytes()
        assert files["pytorch_utils.py"] == two.source.read_bytes()

    @pytest.mark.parametrize("processors", [2, 4])
    def test_several_processes_find_what_one_finds(
        self, env: Callable[..., Env], processors: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        it = env("4.57.6", whole=True)
        fork, forked = os.fork, list[int]()

        def counted() -> int:
            forked.append(pid := fork())
            return pid

        monkeypatch.setattr(os, "cpu_count", lambda: 1)
        alone = it.take().files
        monkeypatch.setattr(os, "cpu_count", lambda: processors)
        monkeypatch.setattr(os, "fork", counted)
        assert it.take().files == alone
        assert (len(forked), len(alone) > 5) == (processors - 1, True)

    def test_what_only_a_fork_cannot_read_is_told_of(
        self, env: Callable[..., Env], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        it, opened, here = env("4.57.6", whole=True), os.open, set[str | Path]()
        monkeypatch.setattr(os, "cpu_count", lambda: 2)

        def read_here(path: str | Path, flags: int) -> int:
            here.add(path)
            return opened(path, flags)

        def refuse(path: str | Path, flags: int) -> int:
            if str(path).endswith(".py") and path not in here:
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return opened(path, flags)

        monkeypatch.setattr(os, "open", read_here)
        it.take()
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(PatcherError, match="permission denied") as caught:
            it.take()
        assert caught.value.code == "not-permitted"

    def test_linked_files_are_read_and_linked_folders_are_told_of(self, two: Env, tmp_path: Path) -> None:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared" / "caller.py").write_text(CALL)
        (tmp_path / "empty").mkdir()
        (two.source.parent / "link.py").symlink_to(tmp_path / "shared" / "caller.py")
        for name, to in (("own", "shared"), ("empty", "empty"), ("gone", "gone")):
            (two.source.parent / name).symlink_to(tmp_path / to)
        taken = two.take()
        assert self.found(two) == {"link.py"}
        assert taken.linked_folders == (two.source.parent / "own",)
        (linked,) = (status for path, status in taken.files.items() if path.name == "link.py")
        assert linked.image.link == str(tmp_path / "shared" / "caller.py")

    @pytest.mark.parametrize("kind", ["gone", "folder", "dangling link"])
    def test_the_patched_file_must_be_there_if_record_lists_it(self, one: Env, kind: str) -> None:
        one.source.unlink()
        if kind == "folder":
            one.source.mkdir()
        elif kind == "dangling link":
            one.source.symlink_to("gone")
        with pytest.raises(PatcherError, match="missing") as caught:
            one.take()
        assert caught.value.code == "file-missing"


class TestStates:
    @pytest.mark.parametrize("how", ["by apply", "by revert"])
    def test_a_restored_original_is_told_as_what_it_is(self, two: Env, how: str) -> None:
        originals, before = [path.read_bytes() for path in two.sources], two.record.read_bytes()
        two.apply()
        patched = [path.read_bytes() for path in two.sources]
        for path, data in zip(two.sources, originals, strict=True):
            path.write_bytes(data)
        assert two.states() == {ISIN: State.ABSENT, DIRECT: State.UNPATCHED}
        assert str(two.status()[DIRECT].note).endswith("; the original was restored after it was patched")
        if how == "by apply":
            assert fine(two.apply()).state is State.PATCHED
            assert [path.read_bytes() for path in two.sources] == patched
        fine(two.revert())
        assert [path.read_bytes() for path in two.sources] == originals
        assert (two.record.read_bytes(), two.own.exists()) == (before, False)

    def test_what_revert_gives_back_is_the_original_that_was_put_there_last(self, one: Env, tmp_path: Path) -> None:
        """Here no link any more, and for nobody else to read."""
        shutil.move(one.source, tmp_path / "cached.py")
        one.source.symlink_to(tmp_path / "cached.py")
        one.apply()
        one.source.unlink()
        shutil.copy2(tmp_path / "cached.py", one.source)
        one.source.chmod(0o600)
        before = one.source.lstat()
        fine(one.apply())
        fine(one.revert())
        after = one.source.lstat()
        assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)

    def test_one_restored_file_of_several(self, two: Env) -> None:
        original = two.callers[0].read_bytes()
        two.apply()
        two.callers[0].write_bytes(original)
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.UNPATCHED}
        assert two.apply()[DIRECT].state is State.PATCHED

    def test_a_reinstall_over_it_is_repaired(self, one: Env, env: Callable[..., Env]) -> None:
        """The installer knows nothing of our folder: as if a run had been cut off."""
        fresh = env()
        one.apply()
        for path, new in ((one.source, fresh.source), (one.record, fresh.record)):
            shutil.copy(new, path)
        assert one.states()[ISIN] is State.INTERRUPTED
        assert fine(one.revert()).state is State.UNPATCHED
        assert one.record.read_bytes() == fresh.record.read_bytes()
        assert not one.own.exists()

    @each_command
    @pytest.mark.parametrize(
        "left",
        [
            "transformers/.utils.py.mps-patcher",
            "{info}/.RECORD.mps-patcher",
            "{info}/mps-patcher/.state.json.mps-patcher",
        ],
    )
    @pytest.mark.parametrize("is_patched", [False, True])
    def test_what_a_cut_left_is_cleared_away(self, one: Env, command: str, left: str, is_patched: bool) -> None:
        if is_patched:
            one.apply()
        before = one.picture()
        temporary = one.target.site_packages / left.format(info=one.target.dist_info.name)
        temporary.parent.mkdir(exist_ok=True)
        temporary.write_text("half")
        if command == "status":
            assert one.states()[ISIN] is (State.INTERRUPTED if is_patched else State.UNPATCHED)
            assert temporary.exists()
            return
        fine(one.apply() if is_patched else one.revert())
        assert one.picture() == before

    @pytest.mark.parametrize("command", ["apply", "revert"])
    def test_an_empty_folder_of_ours_is_no_hindrance(self, one: Env, command: str) -> None:
        original = one.picture()
        one.own.mkdir()
        assert run(one, command)[ISIN] is None
        one.revert()
        assert one.picture() == original


class TestJournal:
    @each_command
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            ("", "state-damaged"),
            ("{", "state-damaged"),
            ('{"schema": 1, "files": []}', "state-damaged"),
            ('{"schema": 3}', "state-newer"),
        ],
    )
    def test_one_that_cannot_be_read_is_refused(self, one: Env, text: str, code: str, command: str) -> None:
        one.apply()
        (one.own / "state.json").write_text(text)
        before = one.picture()
        assert set(run(one, command).values()) == {code}
        assert one.picture() == before

    @each_command
    @pytest.mark.parametrize("path", ["numpy/__init__.py", "transformers/../typing.py", "/etc/passwd"])
    def test_one_that_leads_elsewhere_is_refused(self, one: Env, path: str, command: str) -> None:
        one.apply()
        state = one.own / "state.json"
        state.write_text(state.read_text().replace("transformers/pytorch_utils.py", path))
        before = one.picture()
        assert set(run(one, command).values()) == {"state-damaged"}
        assert one.picture() == before

    @each_command
    def test_a_patch_that_nobody_here_knows_is_a_newer_ones(self, one: Env, command: str) -> None:
        one.apply()
        state = one.own / "state.json"
        state.write_text(json.dumps({**json.loads(state.read_text()), "requested": ["another"]}))
        assert set(run(one, command).values()) == {"state-newer"}

    @each_command
    def test_backups_without_it_are_never_thrown_away(self, one: Env, command: str) -> None:
        one.apply()
        (one.own / "state.json").unlink()
        before = one.picture()
        assert set(run(one, command).values()) == {"state-damaged"}
        assert one.picture() == before

    def test_it_names_what_was_asked_for_and_no_place_of_this_machine(self, two: Env) -> None:
        two.apply(DIRECT)
        text = (two.own / "state.json").read_text()
        assert json.loads(text)["requested"] == [DIRECT]
        assert not re.search(r"/(?:tmp|home|root)|\d{10}(?!\w)", text)

    @each_command
    @pytest.mark.parametrize("name", ["own", "dist_info"])
    def test_a_folder_that_is_a_link_is_refused(self, one: Env, tmp_path: Path, name: str, command: str) -> None:
        one.apply()
        folder = one.own if name == "own" else one.target.dist_info
        shutil.move(folder, tmp_path / "shared")
        folder.symlink_to(tmp_path / "shared")
        before = one.picture()
        assert set(run(one, command).values()) == {"linked-folder"}
        assert one.picture() == before

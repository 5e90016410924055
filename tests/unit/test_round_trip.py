"""revert after apply is identity, and apply is idempotent: bytes, modes, times, links, RECORD and bytecode."""

from __future__ import annotations

import os
import py_compile
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from engine import DIRECT, ISIN, Env, codes, fine, make_target

from patcher.model import State

EPOCH = 1_500_000_000


class TestRoundTrip:
    @pytest.mark.parametrize(
        ("version", "steps"),
        [
            ("4.45.1", [()]),
            ("4.46.3", [(ISIN,)]),
            ("5.1.0", [(ISIN,)]),
            ("4.44.2", [()]),
            ("4.44.2", [(ISIN, DIRECT)]),
            ("4.44.2", [(ISIN,), (DIRECT,)]),
            ("4.44.2", [(DIRECT,), (ISIN,)]),
            ("4.44.2", [(ISIN,)]),
        ],
    )
    def test_applied_twice_is_applied_once_and_revert_is_identity(
        self, env: Callable[..., Env], shortened: Callable[[Path], Path], version: str, steps: list[tuple[str, ...]]
    ) -> None:
        it = env(version)
        if version == "4.44.2":
            shortened(it.target.site_packages)
        original, was = it.picture(), it.states()
        for names in steps:
            results = it.apply(*names)
            assert not any(codes(results).values())
            assert all(results[name].changed and results[name].state is State.PATCHED for name in names)
        patched = it.picture()
        changed = {path for path in original if original[path] != patched[path]}
        asked = {name for names in steps for name in names or (ISIN, DIRECT)}
        files = it.sources if DIRECT in asked else it.sources[:1]
        assert changed == {str(path.relative_to(it.target.site_packages)) for path in (*files, it.record)}
        for names in steps:
            assert not any(result.changed for result in it.apply(*names).values())
        assert it.picture() == patched  # also each time
        assert not any(codes(it.revert()).values())
        assert (it.picture(), it.states()) == (original, was)

    def test_a_whole_release(self, env: Callable[..., Env]) -> None:
        it = env("5.24.0", whole=True, torch="2.6.0")
        original = it.picture()
        status = it.status()
        assert (status[DIRECT].state, len(status[DIRECT].files)) == (State.UNPATCHED, 11)
        applied = it.apply()
        assert {name: result.state for name, result in applied.items()} == dict.fromkeys((ISIN, DIRECT), State.PATCHED)
        patched = it.picture()
        assert {path for path in original if original[path] != patched[path]} == {
            str(path.relative_to(it.target.site_packages))
            for path in (it.record, *(file.path for result in applied.values() for file in result.files))
        }
        assert not any(result.changed for result in it.apply().values())
        it.revert()
        assert it.picture() == original

    def test_revert_of_an_unpatched_target_changes_nothing(self, two: Env) -> None:
        original = two.picture()
        results = two.revert()
        assert [(result.error, result.changed) for result in results.values()] == [(None, False)] * 2
        assert "nothing to revert" in str(results[ISIN].note)
        assert two.picture() == original

    def test_line_ends_and_marks_stay(self, two: Env) -> None:
        """In a file of CRLF, behind a byte order mark, without a final newline."""
        for path in two.sources:
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n").removesuffix(b"\r\n"))
        original = two.picture()
        assert not any(codes(two.apply()).values())
        for path in two.sources:
            data = path.read_bytes()
            assert data.startswith(b"\xef\xbb\xbf")
            assert data.count(b"\r\n") == data.count(b"\n") > 3
        assert all(not path.read_bytes().endswith(b"\n") for path in two.callers)
        two.revert()
        assert two.picture() == original

    @pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o755])
    def test_modes_are_kept_and_a_backup_opens_to_nobody_else(self, one: Env, mode: int) -> None:
        one.source.chmod(mode)
        one.record.chmod(mode)
        os.utime(one.source, (EPOCH, EPOCH))
        original = one.picture()
        one.apply()
        assert {stat.S_IMODE(path.stat().st_mode) for path in (one.source, one.record, *one.own.iterdir())} == {mode}
        assert (one.own / "transformers.pytorch_utils.py.orig").stat().st_mtime == EPOCH
        one.source.chmod(0o666)  # what happens to the mode in between is not the file's own
        one.revert()
        assert one.picture() == original

    @pytest.mark.parametrize("kind", ["hard", "symbolic"])
    @pytest.mark.parametrize("which", ["source", "record"])
    def test_links_into_a_cache_are_broken_and_made_again(
        self, one: Env, tmp_path: Path, kind: str, which: str
    ) -> None:
        cached, path = tmp_path / "cached", Path(getattr(one, which))
        if kind == "hard":
            os.link(path, cached)
        else:
            shutil.move(path, cached)
            path.symlink_to(cached)
        original, content = one.picture(), cached.read_bytes()
        one.apply()
        assert not any(file.is_symlink() for file in (path, *one.own.iterdir()))
        assert path.read_bytes() != cached.read_bytes() == content
        one.revert()
        assert (one.picture(), cached.read_bytes()) == (original, content)

    @pytest.mark.parametrize("deed", ["gone", "another", "folder"])
    def test_a_link_that_leads_elsewhere_meanwhile_becomes_the_file(self, one: Env, tmp_path: Path, deed: str) -> None:
        cached = tmp_path / "cached"
        shutil.move(one.source, cached)
        one.source.symlink_to(cached)
        content = cached.read_bytes()
        one.apply()
        cached.unlink()
        if deed == "folder":
            cached.mkdir()
        elif deed == "another":
            cached.write_bytes(b"# another release\n")
        one.revert()
        assert (one.source.is_symlink(), one.source.read_bytes()) == (False, content)

    def test_a_site_packages_behind_a_link_is_as_good(self, one: Env, tmp_path: Path) -> None:
        original = one.picture()
        (tmp_path / "lib64").symlink_to(one.target.site_packages)
        fine(Env(make_target(tmp_path / "lib64")).apply())
        assert one.states()[ISIN] is State.PATCHED
        one.revert()
        assert one.picture() == original


class TestRecord:
    def test_it_follows_the_files_and_lists_ours(self, two: Env) -> None:
        two.apply()
        rows = dict(row.split(",", 1) for row in two.record.read_text().splitlines())
        for path in (*two.sources, *two.own.iterdir()):
            assert rows[str(path.relative_to(two.target.site_packages))].endswith(f",{path.stat().st_size}")

    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_odd_rows_come_back_exactly(self, two: Env, end: str) -> None:
        text = two.record.read_text().replace("transformers/pytorch_utils.py,", '"transformers/pytorch_utils.py",')
        rows = [row for row in text.splitlines() if not row.startswith("transformers/generation/utils.py,")]
        two.record.write_bytes(end.join(["transformers/generation/utils.py,,", *rows]).encode())
        original = two.picture()
        two.apply()
        assert b"transformers/generation/utils.py,,\n" not in two.record.read_bytes().replace(b"\r", b"")
        two.revert()
        assert two.picture() == original

    @pytest.mark.parametrize("between", [False, True])
    def test_rows_of_others_that_came_meanwhile_stay(self, two: Env, between: bool) -> None:
        two.record.write_text(two.record.read_text().replace("generation/utils.py,sha256=", "generation/utils.py,md5="))
        before, theirs = two.record.read_bytes(), b"transformers/theirs.py,sha256=abc,3\n"
        two.apply(ISIN) if between else two.apply()
        two.record.write_bytes(theirs + two.record.read_bytes())
        two.apply()
        assert not two.apply()[DIRECT].changed
        two.revert()
        assert two.record.read_bytes() == theirs + before
        assert not two.own.exists()

    def test_it_comes_back_without_its_backup(self, one: Env) -> None:
        before = one.record.read_bytes()
        one.apply()
        (one.own / f"{one.target.dist_info.name}.RECORD.orig").unlink()
        fine(one.revert())
        assert (one.record.read_bytes(), one.own.exists()) == (before, False)

    def test_a_missing_one_is_no_obstacle(self, two: Env) -> None:
        two.record.unlink()
        original = two.picture()
        assert "no RECORD" in str(fine(two.apply()).note)
        assert set(two.states().values()) == {State.PATCHED}
        assert not two.record.exists()
        two.revert()
        assert two.picture() == original

    def test_one_that_was_taken_away_since_is_no_obstacle(self, two: Env) -> None:
        originals = [path.read_bytes() for path in two.sources]
        two.apply(ISIN)
        two.record.unlink()
        two.apply()
        assert set(two.states().values()) == {State.PATCHED}
        two.revert()
        assert [path.read_bytes() for path in two.sources] == originals
        assert not two.record.exists()
        assert not two.own.exists()

    @pytest.mark.parametrize("name", ["pytorch_utils.py", "pytorch_utils.py.orig", "state.json"])
    @pytest.mark.parametrize("deed", ["gone", "another"])
    def test_a_row_that_does_not_follow_is_written_again(self, one: Env, name: str, deed: str) -> None:
        one.apply()
        patched = one.record.read_bytes()
        rows = patched.splitlines(keepends=True)
        (at,) = (number for number, row in enumerate(rows) if row.split(b",")[0].endswith(name.encode()))
        rows[at] = b"" if deed == "gone" else rows[at].split(b",")[0] + b",sha256=x,1\n"
        one.record.write_bytes(b"".join(rows))
        fine(one.apply())
        # what is not listed stays so: somebody wanted it
        assert (one.record.read_bytes() == patched) != ((name, deed) == ("pytorch_utils.py", "gone"))


class TestBytecode:
    RUNS = """if True:
        import sys
        from importlib.machinery import SourceFileLoader
        code = SourceFileLoader("module", sys.argv[1]).get_code("module")
        print([len(part.co_code) for part in code.co_consts if getattr(part, "co_name", "") == "isin_mps_friendly"])
    """

    def ran(self, source: Path) -> str:
        command = [sys.executable, "-c", self.RUNS, str(source)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @pytest.mark.parametrize("mode", py_compile.PycInvalidationMode)
    def test_the_code_that_runs_is_the_code_on_disk(self, one: Env, mode: py_compile.PycInvalidationMode) -> None:
        old = self.ran(one.source)
        py_compile.compile(str(one.source), invalidation_mode=mode)
        one.apply()
        assert self.ran(one.source) != old
        py_compile.compile(str(one.source), invalidation_mode=mode)
        one.revert()
        assert self.ran(one.source) == old

    @pytest.mark.parametrize("command", ["apply", "revert"])
    def test_it_goes_in_every_place(
        self, env: Callable[..., Env], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
    ) -> None:
        it = env(pycache_prefix=tmp_path / "known")
        if command == "revert":
            it.apply()
        monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path / "named"))
        below = PurePosixPath(str(it.source.parent).lstrip("/"))
        for place in (it.source.parent / "__pycache__", tmp_path / "known" / below, tmp_path / "named" / below):
            place.mkdir(parents=True)
            (place / "pytorch_utils.cpython-38.opt-2.pyc").write_bytes(b"old")
            (place / "activations.cpython-38.pyc").write_bytes(b"another module")
        fine(it.run(command))
        assert {path.name for path in tmp_path.rglob("*.pyc")} == {"activations.cpython-38.pyc"}
        assert len(list(it.source.parent.rglob("*.pyc"))) == 1

    def test_what_came_back_beside_a_patched_file_goes(self, one: Env) -> None:
        """As when a layer of an image brings it: unchecked, so that Python would run it."""
        unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
        cached = Path(str(py_compile.compile(str(one.source), invalidation_mode=unchecked)))
        stale = cached.read_bytes()
        one.apply()
        cached.write_bytes(stale)
        assert not one.apply(dry_run=True)[ISIN].changed
        assert cached.exists()
        assert [one.apply()[ISIN].changed for _ in range(2)] == [True, False]
        assert not cached.exists()


class TestSourceDateEpoch:
    @pytest.fixture(autouse=True)
    def fixed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))

    @staticmethod
    def times(it: Env) -> dict[Path, int]:
        site = it.target.site_packages
        return {path: int(path.stat().st_mtime) for path in (site, *site.rglob("*"))}

    def test_nothing_that_is_written_is_later(self, one: Env) -> None:
        before = self.times(one)
        one.apply()
        written = {path: when for path, when in self.times(one).items() if before.get(path) != when}
        assert written.keys() >= {one.source, one.record, one.own, one.source.parent, *one.own.iterdir()}
        assert set(written.values()) == {EPOCH}

    def test_a_copy_that_is_kept_is_not_either(self, one: Env) -> None:
        one.apply()
        one.source.write_bytes(one.source.read_bytes() + b"# edited\n")
        one.revert(force=True)
        (kept,) = one.source.parent.glob("*.kept-*")
        assert int(kept.stat().st_mtime) == EPOCH

    def test_two_builds_at_two_times_are_the_same(self, env: Callable[..., Env]) -> None:
        results = []
        for when in (1_600_000_000, 1_700_000_000):
            it = env()
            for path in it.target.site_packages.rglob("*"):
                os.utime(path, (when, when))
            it.apply()
            written = (it.source, it.record, *sorted(it.own.iterdir()))
            results.append([(path.name, path.read_bytes(), path.stat().st_mtime_ns) for path in written])
        assert results[0] == results[1]

    def test_what_is_older_gets_back_its_time(self, one: Env) -> None:
        for path in (one.source, one.record):
            os.utime(path, (EPOCH - 1000, EPOCH - 1000))
        before = one.picture()
        one.apply()
        one.revert()
        assert one.picture() == before

    def test_only_what_writes_needs_it_to_be_right(self, one: Env, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "tomorrow")
        before = one.picture()
        fine(one.status())
        fine(one.revert())
        assert codes(one.apply())[ISIN] == "bad-epoch"
        assert one.picture() == before

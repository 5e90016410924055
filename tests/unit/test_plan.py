"""What a target shall hold: the patches asked for, what they require, every refusal, and nothing else."""

from __future__ import annotations

import ast
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from engine import DIRECT, ISIN, Env, catalogue, codes
from snapshots import Snapshot as Picture

from patcher import operations
from patcher.edit.syntax import code_digest
from patcher.model import CallsPatch, FunctionPatch, KnownCode, Patch, State
from patcher.plan import plan_apply, plan_revert, planned_state

STRANGE = "import torch\n\n\ndef isin_mps_friendly(elements, test_elements):\n    return None\n"
VALUE = "import torch\n\nisin = torch.isin\n"
"""A use that cannot be redirected."""
BOTH = frozenset((ISIN, DIRECT))


def append(path: Path, text: bytes = b"# edited\n") -> bytes:
    data = path.read_bytes() + text
    path.write_bytes(data)
    return data


def copies(it: Env) -> dict[str, bytes]:
    """What was kept of edited files, by the names of those; the copies go."""
    found = {path.name.partition(".kept-")[0]: path for path in it.source.parent.rglob("*.kept-*")}
    data = {name: path.read_bytes() for name, path in found.items()}
    for path in found.values():
        path.unlink()
    return data


class TestRequested:
    def test_a_dependency_comes_and_goes_by_itself(self, two: Env) -> None:
        original = two.picture()
        plan = plan_apply(two.take(), [DIRECT], force=False, backup=True)
        assert (plan.effective, plan.requested, plan.refused) == (BOTH, (DIRECT,), {})
        assert two.picture() == original
        assert planned_state(plan, catalogue()[0]) is State.PATCHED
        for _ in range(2):  # asking again for the one is not asking for the other
            two.apply(DIRECT)
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.PATCHED}
        plan = plan_revert(two.take(), [DIRECT], force=False)
        assert (plan.effective, plan.requested, plan.journal) == (frozenset(), (), None)
        two.revert(DIRECT)
        assert two.picture() == original

    @pytest.mark.parametrize("order", [(ISIN, DIRECT), (DIRECT, ISIN)])
    def test_what_was_also_asked_for_by_itself_stays(self, two: Env, order: tuple[str, str]) -> None:
        two.apply(ISIN)
        alone = two.source.read_bytes(), two.record.read_bytes()
        two.revert()
        notes = [two.apply(name)[name].note for name in order]
        assert ("it now stays" in str(notes[1])) == (order == (DIRECT, ISIN))
        assert plan_apply(two.take(), [], force=False, backup=True).requested == (DIRECT, ISIN)
        assert set(two.revert(DIRECT)) == {DIRECT}
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.UNPATCHED}
        assert (two.source.read_bytes(), two.record.read_bytes()) == alone

    def test_what_requires_a_patch_is_reverted_with_it(self, two: Env) -> None:
        original = two.picture()
        two.apply(ISIN, DIRECT)
        assert codes(two.revert(ISIN)) == {ISIN: None, DIRECT: None}
        assert two.picture() == original

    def test_what_has_nothing_to_do_is_not_asked_for(self, one: Env) -> None:
        plan = plan_apply(one.take(), [DIRECT], force=False, backup=True)
        assert (plan.effective, plan.changes) == (frozenset(), False)

    @pytest.mark.parametrize("names", [(ISIN,), (DIRECT,), (ISIN, DIRECT)])
    def test_a_plan_that_is_carried_out_is_empty(self, two: Env, names: tuple[str, ...]) -> None:
        assert not plan_revert(two.take(), names, force=False).changes
        two.apply(*names)
        again = plan_apply(two.take(), names, force=False, backup=True)
        assert (again.changes, again.files, again.record) == (False, {}, None)


class TestRefusals:
    @pytest.mark.parametrize("released", [True, False])
    def test_an_unknown_body(self, one: Env, released: bool) -> None:
        """RECORD's digest tells a release that nobody knows, which is to be reported, from an edit, which is not."""
        one.source.write_text(STRANGE)
        if released:
            one.list_in_record(one.source)
        before = one.picture()
        error, note = one.apply(ISIN)[ISIN].error, str(one.status()[ISIN].note)
        assert error
        assert error.code == ("unknown-body" if released else "edited-file")
        assert "--force" in error.hint
        for text in (f"{error.message} {error.hint}", note):
            assert ("report" in text) == released
            assert ("was edited since it was installed: isin_mps_friendly in" in text) != released
        assert one.picture() == before
        assert one.apply(ISIN, force=True)[ISIN].state is State.PATCHED
        assert one.states()[ISIN] is State.PATCHED
        one.revert()
        assert one.picture() == before

    def test_nothing_is_redirected_to_what_could_not_be_patched(self, two: Env) -> None:
        two.source.write_text(STRANGE)
        before = two.picture()
        assert codes(two.apply()) == {ISIN: "edited-file", DIRECT: "needs-patch"}
        assert two.picture() == before

    @pytest.mark.parametrize(
        ("text", "code"), [(VALUE, "unknown-call"), ("torch.isin(a, b\n", "unparsable-source"), ("\udcff isin", None)]
    )
    def test_a_file_that_cannot_be_redirected_refuses_the_calls_alone(
        self, two: Env, text: str, code: str | None
    ) -> None:
        (two.source.parent / "stray.py").write_text(text, errors="surrogateescape")
        before = two.picture()
        assert two.states() == {ISIN: State.ABSENT, DIRECT: State.MODIFIED}
        refused = two.apply(DIRECT)
        assert refused[DIRECT].error
        assert code is None or codes(refused)[DIRECT] == code
        assert refused[DIRECT].files
        assert all(file.before == file.after for file in refused[DIRECT].files)
        assert two.picture() == before  # and what it requires is not there for nothing
        assert codes(two.apply(ISIN, DIRECT)).keys() == BOTH
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.MODIFIED}
        assert codes(two.revert()) == {ISIN: None, DIRECT: None}
        assert two.picture() == before

    def test_force_passes_over_calls_that_cannot_be_redirected(self, two: Env) -> None:
        append(two.callers[0], VALUE.encode())
        before = two.picture()
        assert codes(two.apply(force=True)) == {ISIN: None, DIRECT: None}
        assert two.callers[0].read_text().endswith(VALUE)
        assert codes(two.revert()) == {ISIN: None, DIRECT: None}
        assert two.picture() == before

    def test_a_function_that_is_not_where_it_was(self, env: Callable[..., Env]) -> None:
        it = env("5.1.0")
        moved = it.source.parent / "utils" / "membership.py"
        for text in ("def", "async def", "class"):
            moved.write_text(f"{text} isin_mps_friendly(elements):\n    pass\n")
            status, error = it.status(ISIN)[ISIN], it.apply(ISIN)[ISIN].error
            assert error
            assert error.code == "function-absent"
            for told in (str(status.note), error.hint):
                assert "blob/v5.1.0/src/transformers/utils/membership.py" in told

    def test_a_release_that_is_not_known_to_lack_it(self, one: Env) -> None:
        one.record.write_text("")
        for is_there in (True, False):
            one.source.write_text("import torch\n") if is_there else one.source.unlink()
            before = one.picture()
            assert (one.status()[ISIN].error, one.states()[ISIN]) == (None, State.ABSENT)
            assert codes(one.apply(ISIN)) == {ISIN: "function-absent"}
            assert codes(one.revert()) == {ISIN: None, DIRECT: None}
            assert one.picture() == before

    @pytest.mark.parametrize("name", ["own", "generation"])
    def test_a_linked_folder_refuses_the_calls(self, two: Env, tmp_path: Path, name: str) -> None:
        """What is behind it may belong to other environments."""
        (tmp_path / name).mkdir()
        (tmp_path / name / "caller.py").write_text("import torch\n\ntorch.isin(1, 2)\n")
        folder = two.source.parent / name
        if folder.exists():
            shutil.rmtree(folder)
        folder.symlink_to(tmp_path / name)
        before = two.picture()
        assert codes(two.apply(ISIN, DIRECT)) == {ISIN: None, DIRECT: "linked-folder"}
        assert two.states()[ISIN] is State.PATCHED
        assert codes(two.revert()) == {ISIN: None, DIRECT: None}
        assert two.picture() == before


class TestEditedSinceInstalled:
    """In a file that RECORD has another digest of, whatever is unknown is the user's, and no release's."""

    NOTE = "apply --force replaces the function; revert then restores your edit."

    def test_force_patches_the_edited_file_and_revert_brings_the_edit_back(self, one: Env) -> None:
        one.source.write_text(STRANGE)
        before = one.picture()
        assert self.NOTE in str(one.status()[ISIN].note)
        assert one.apply(force=True)[ISIN].state is State.PATCHED
        one.revert()
        assert one.picture() == before
        assert codes(one.apply())[ISIN] == "edited-file"

    def test_an_edit_that_leaves_a_known_function_is_no_hindrance(self, one: Env) -> None:
        append(one.source)
        assert (one.states()[ISIN], codes(one.apply())[ISIN]) == (State.UNPATCHED, None)

    @pytest.mark.parametrize("text", ["def isin_mps_friendly(:\n", "isin_mps_friendly = None\n", "@x\n" + STRANGE])
    def test_what_force_cannot_patch_is_not_said_to_be(self, one: Env, text: str) -> None:
        one.source.write_text(text)
        result, error = one.status()[ISIN], one.apply()[ISIN].error
        assert "was edited since it was installed: " in str(result.note)
        assert error
        assert (error.code, "--force" in f"{result.note}{error.hint}") == ("edited-file", False)
        assert one.apply(force=True)[ISIN].error

    def test_a_function_that_was_taken_out(self, one: Env) -> None:
        one.source.write_text("import torch\n")
        error = one.apply(ISIN)[ISIN].error
        assert error
        assert error.code == "edited-file"
        assert "report" not in error.hint

    def test_an_unknown_call(self, two: Env) -> None:
        two.callers[0].write_text("import torch\n\nisin = torch.isin\n")
        error = two.apply(DIRECT)[DIRECT].error
        assert error
        assert (error.code, "leaves the unknown use alone" in error.hint) == ("edited-file", True)
        assert two.apply(DIRECT, force=True)[DIRECT].error is None

    @pytest.mark.parametrize("row", ["transformers/pytorch_utils.py,,", "transformers/pytorch_utils.py,md5=x,3", None])
    def test_without_a_digest_it_may_be_a_release(self, one: Env, row: str | None) -> None:
        one.source.write_text(STRANGE)
        others = [line for line in one.rows if not line.startswith("transformers/pytorch_utils.py,")]
        one.record.write_text("".join(f"{line}\n" for line in [*others, *([row] if row else [])]))
        assert codes(one.apply())[ISIN] == "unknown-body"

    def test_uv_is_said_to_hold_it_too(self, env: Callable[..., Env]) -> None:
        one = env(installer="uv")
        one.source.write_text(STRANGE)
        assert str(one.status()[ISIN].note).endswith("uv's cache may contain the edit too, and install it again.")


class TestEdited:
    def test_an_edit_elsewhere_in_the_file_stays(self, one: Env) -> None:
        one.apply()
        append(one.source)
        before = one.picture()
        again = one.apply()[ISIN]
        assert (again.error, again.changed, again.state) == (None, False, State.MODIFIED)
        error = one.revert()[ISIN].error
        assert error
        assert (error.code, "--force" in error.hint) == ("edited-file", True)
        assert one.picture() == before

    @pytest.mark.parametrize("command", ["apply", "revert"])
    @pytest.mark.parametrize("text", [STRANGE.encode(), b"", b"\0", b"def isin_mps_friendly(:\n", b"\xff"])
    def test_force_starts_from_the_original_and_keeps_a_copy(self, one: Env, command: str, text: bytes) -> None:
        original = one.picture()
        one.apply()
        patched = one.source.read_bytes()
        one.source.write_bytes(text)
        before = one.picture()
        assert one.states()[ISIN] is State.MODIFIED
        assert codes(getattr(one, command)())[ISIN] == "edited-file"
        assert one.picture() == before
        result = getattr(one, command)(force=True)[ISIN]
        assert result.error is None
        assert ".kept-" in result.note
        assert copies(one) == {"pytorch_utils.py": text}
        if command == "apply":
            assert one.source.read_bytes() == patched
            one.revert()
        assert one.picture() == original

    def test_of_several_files_those_that_were_edited_are_kept(self, two: Env) -> None:
        original = two.picture()
        two.apply()
        text = append(two.callers[1])
        before = two.picture()
        assert codes(two.revert()) == {ISIN: "needed-by", DIRECT: "edited-file"}
        assert codes(two.revert(ISIN)) == {ISIN: "needed-by", DIRECT: "edited-file"}
        assert two.picture() == before
        assert codes(two.revert(force=True)) == {ISIN: None, DIRECT: None}
        assert copies(two) == {"utils.py": text}
        assert two.picture() == original

    def test_a_failed_run_keeps_no_copy(self, one: Env) -> None:
        one.apply()
        append(one.source)
        (one.source.parent / "__pycache__" / "pytorch_utils.cpython-311.pyc").mkdir(parents=True)
        before = one.picture()
        assert codes(one.revert(force=True))[ISIN] == "bytecode-not-removed"
        assert one.picture() == before


class TestBackups:
    def test_a_damaged_one_is_never_used(self, two: Env) -> None:
        two.apply(ISIN)
        append(two.own / "transformers.pytorch_utils.py.orig")
        before = two.picture()
        assert two.apply(ISIN)[ISIN].changed is False
        assert "revert cannot undo it" in str(two.status()[ISIN].note)
        assert codes(two.revert())[ISIN] == "backup-damaged"
        assert two.picture() == before
        assert codes(two.apply(DIRECT))[DIRECT] is None  # nor does it hinder the other patch
        assert codes(two.revert())[DIRECT] is None
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.UNPATCHED}

    @pytest.mark.parametrize("how", ["no journal", "backup=False"])
    def test_without_one_there_is_no_way_back(self, two: Env, how: str) -> None:
        two.apply(backup=how != "backup=False")
        if how == "no journal":
            shutil.rmtree(two.own)
        before = two.picture()
        assert two.states() == {ISIN: State.PATCHED, DIRECT: State.PATCHED}
        assert [result.changed for result in two.apply().values()] == [False, False]
        assert codes(two.revert()) == {ISIN: "no-backup", DIRECT: "no-backup"}
        assert two.picture() == before

    def test_one_that_is_gone_is_written_again_where_the_original_is_back(self, one: Env) -> None:
        before, original = one.picture(), one.source.read_bytes()
        one.apply()
        (one.own / "transformers.pytorch_utils.py.orig").unlink()
        one.source.write_bytes(original)
        assert codes(one.apply())[ISIN] is None
        assert codes(one.revert())[ISIN] is None
        assert one.source.read_bytes() == original
        assert before.keys() == one.picture().keys()


def use(monkeypatch: pytest.MonkeyPatch, *catalogue: Patch) -> None:
    monkeypatch.setattr(operations, "load_catalogue", lambda: catalogue)


class TestOutdated:
    """What another version of this tool made of the files, which had another replacement, or knew fewer branches."""

    @pytest.fixture
    def outdated(self, one: Env) -> tuple[Env, Picture]:
        """Such a target, and how it was before."""
        isin, direct = catalogue()
        assert isinstance(isin, FunctionPatch)
        before, (head, _, _) = one.picture(), isin.replacement.partition('    """')
        with pytest.MonkeyPatch.context() as earlier:
            use(earlier, isin._replace(replacement=f"{head}    return torch.zeros_like(elements).bool()\n"), direct)
            one.apply(ISIN)
        assert one.states()[ISIN] is State.OUTDATED
        return one, before

    def test_revert_undoes_it(self, outdated: tuple[Env, Picture]) -> None:
        it, before = outdated
        assert "another version" in str(it.status()[ISIN].note)
        assert codes(it.revert())[ISIN] is None
        assert it.picture() == before

    def test_apply_brings_it_up_to_date(self, outdated: tuple[Env, Picture], env: Callable[..., Env]) -> None:
        (it, before), fresh = outdated, env()
        applied = it.apply()[ISIN]
        assert (applied.error, applied.state, applied.changed) == (None, State.PATCHED, True)
        assert "updated" in str(applied.note)
        fresh.apply()
        assert it.source.read_bytes() == fresh.source.read_bytes()
        assert not it.apply()[ISIN].changed
        it.revert()
        assert it.picture() == before

    def test_redirections_too(self, env: Callable[..., Env]) -> None:
        it = env("4.44.2")
        isin, direct = catalogue()
        assert isinstance(direct, CallsPatch)
        original = it.picture()
        with pytest.MonkeyPatch.context() as earlier:
            use(earlier, isin, direct._replace(device_branches=()))
            it.apply()
        assert it.states() == {ISIN: State.PATCHED, DIRECT: State.OUTDATED}
        assert it.apply()[DIRECT].state is State.PATCHED
        assert "if False:" in it.callers[1].read_text()
        it.revert()
        assert it.picture() == original

    def test_without_a_backup_it_is_known_and_refused(
        self, outdated: tuple[Env, Picture], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        it, _ = outdated
        isin, direct = catalogue()
        assert isinstance(isin, FunctionPatch)
        body = next(
            node
            for node in ast.parse(it.source.read_bytes()).body
            if isinstance(node, ast.FunctionDef) and node.name == ISIN
        )
        earlier = KnownCode(name="an earlier body", digest=code_digest(body))
        use(monkeypatch, isin._replace(previous_bodies=(earlier,)), direct)
        shutil.rmtree(it.own)
        before = it.picture()
        assert it.states()[ISIN] is State.OUTDATED
        assert codes(it.apply(ISIN)) == codes(it.revert(ISIN)) == {ISIN: "no-backup"}
        assert it.picture() == before

"""Two patches in one target, one of which changes several files and rests on the other."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libcst  # noqa: F401 - before the forks, which would each import it
import pytest
from snapshots import timeless

from patcher.change import operations, plan, record, transaction
from patcher.errors import PatcherError
from patcher.model import CallsPatch, State
from patches import CATALOGUE

ISIN, DIRECT = CATALOGUE
CALLERS = {"4.44.2": 5, "5.23.0": 11}
"""By release, in how many files it calls torch.isin itself."""
FEW = ("transformers/generation/stopping_criteria.py", "transformers/generation/utils.py")
"""Those of 4.44.2 that are unpacked unless all are."""


def states(results: tuple[Any, ...]) -> dict[str, State | None]:
    assert not [result.error for result in results if result.error]
    return {result.patch: result.state for result in results}


def codes(results: tuple[Any, ...]) -> dict[str, str | None]:
    return {result.patch: result.error and result.error.code for result in results}


def both(state: State) -> dict[str, State]:
    return {ISIN.name: state, DIRECT.name: state}


@pytest.fixture
def real(env: Callable[..., Any]) -> Any:
    """transformers 4.44.2 of a few files, two of which call torch.isin, and both patches."""
    return replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)


@pytest.fixture
def it(real: Any, shortened: Callable[[Path], Path]) -> Any:
    """The same with short files."""
    shortened(real.target.site_packages)
    return real


@pytest.mark.parametrize("version", CALLERS)
def test_the_round_on_a_whole_release(env: Callable[..., Any], version: str) -> None:
    it = replace(env(version, whole=True, torch="2.2.0"), patches=CATALOGUE)
    original = it.snapshot()
    isin, direct = it.each("status")
    assert (direct.state, len(direct.files), direct.need.needed) == (State.UNPATCHED, CALLERS[version], True)
    assert f"in {CALLERS[version]} files" in direct.need.reason
    assert isin.need.needed
    applied = it.each("apply", named=False)
    assert states(applied) == both(State.PATCHED)
    changed = {path for path, facts in it.snapshot().items() if path.endswith(".py") and facts != original[path]}
    assert changed == {str(ISIN.file)} | {str(file.path.relative_to(it.target.site_packages)) for file in direct.files}
    patched = it.snapshot()
    again = it.each("apply", named=False)
    assert [result.changed for result in again] == [False, False]
    assert it.snapshot() == patched
    assert states(it.each("revert")) == {ISIN.name: isin.state, DIRECT.name: State.UNPATCHED}
    assert it.snapshot() == original


def test_by_name_a_patch_brings_along_what_it_requires_and_takes_it_back(it: Any) -> None:
    original = it.snapshot()
    options = {"patches": (DIRECT,), "catalogue": CATALOGUE}
    for _ in range(2):  # asking again for the one is not asking for the other
        assert states(it.each("apply", named=True, **options)) == both(State.PATCHED)
    assert states(it.each("status", **options)) == {DIRECT.name: State.PATCHED}
    assert states(it.each("revert", **options)) == {ISIN.name: State.ABSENT, DIRECT.name: State.UNPATCHED}
    assert it.snapshot() == original


@pytest.mark.parametrize(
    ("version", "needed", "named"),
    [("4.43.4", [True, True], True), ("4.43.4", [True, True], False), ("4.40.2", [False, False], True)],
)
def test_what_was_brought_along_goes_again_whatever_was_asked_since(
    env: Callable[..., Any], shortened: Callable[[Path], Path], version: str, needed: list[bool], named: bool
) -> None:
    """4.43 refuses MPS whatever the torch, so it needs both; 4.40 needs neither beside a torch that can do it."""
    it = replace(env(version, torch="2.9.0"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    original = it.snapshot()
    assert [result.need.needed for result in it.each("status")] == needed
    if named:
        states(it.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE))
    for _ in range(2):
        assert states(it.each("apply", named=False)) == both(State.PATCHED)
    reverted = it.each("revert", patches=(DIRECT,), catalogue=CATALOGUE)
    assert states(reverted) == {ISIN.name: State.ABSENT, DIRECT.name: State.UNPATCHED}
    assert it.snapshot() == original


@pytest.mark.parametrize("order", [(ISIN, DIRECT), (DIRECT, ISIN)])
def test_what_was_also_asked_for_by_itself_stays(it: Any, order: tuple[Any, ...]) -> None:
    for patch in order:
        states(it.each("apply", patches=(patch,), named=True, catalogue=CATALOGUE))
    reverted = it.each("revert", patches=(DIRECT,), catalogue=CATALOGUE)
    assert states(reverted) == {DIRECT.name: State.UNPATCHED}
    assert states(it.each("status")) == {ISIN.name: State.PATCHED, DIRECT.name: State.UNPATCHED}
    assert it.ours.exists()


def test_what_was_asked_for_by_itself_stays_though_another_brings_it_back(it: Any) -> None:
    before = it.source.read_bytes(), it.record.read_bytes()
    states(it.each("apply", patches=(ISIN,), named=True))
    it.source.write_bytes(before[0])
    it.record.write_bytes(before[1])
    states(it.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE))
    assert states(it.each("revert", patches=(DIRECT,), catalogue=CATALOGUE)) == {DIRECT.name: State.UNPATCHED}
    assert states(it.each("status"))[ISIN.name] is State.PATCHED


def test_what_is_needed_by_an_applied_patch_is_taken_back_after_that(it: Any) -> None:
    original = it.snapshot()
    it.each("apply", named=False)
    reverted = it.each("revert", patches=(ISIN,), catalogue=CATALOGUE)
    assert states(reverted) == {ISIN.name: State.ABSENT, DIRECT.name: State.UNPATCHED}
    assert it.snapshot() == original


def test_a_file_that_only_speaks_of_it_is_none_of_the_patch(it: Any) -> None:
    (it.target.site_packages / "transformers" / "notes.py").write_text("# torch.isin(a, b) is what others call\n")
    assert states(it.each("apply", named=False)) == both(State.PATCHED)
    assert [file.path.name for file in it.each("status")[1].files] == [Path(name).name for name in FEW]


def test_what_is_needed_stays_where_the_other_cannot_be_taken_back(it: Any) -> None:
    it.each("apply", named=False)
    with (it.target.site_packages / FEW[1]).open("ab") as file:
        file.write(b"# edited\n")
    before = it.snapshot()
    refused = it.each("revert")
    assert codes(refused) == {ISIN.name: "needed-by", DIRECT.name: "edited-file"}
    assert it.snapshot() == before


def test_force_keeps_the_edited_one_of_several_files(it: Any) -> None:
    original = it.snapshot()
    it.each("apply", named=False)
    edited = it.target.site_packages / FEW[1]
    edited.write_bytes(edited.read_bytes() + b"# edited\n")
    text = edited.read_bytes()
    assert codes(it.each("revert", force=True)) == {ISIN.name: None, DIRECT.name: None}
    (kept,) = edited.parent.glob("*.kept-*")
    assert kept.read_bytes() == text
    kept.unlink()
    assert it.snapshot() == original


def test_a_use_that_cannot_be_redirected_refuses_all_of_them(it: Any) -> None:
    """What was brought along in the same run goes again."""
    caller = it.target.site_packages / FEW[0]
    caller.write_text(f"{caller.read_text()}\nisin = torch.isin\n")
    before = it.snapshot()
    isin, direct = it.each("status")
    assert (direct.state, isin.state) == (State.MODIFIED, State.ABSENT)
    assert "passes torch.isin as a value" in direct.note
    assert "https://github.com/huggingface/transformers/blob/v4.44.2/src/" + FEW[0] in direct.note
    refused = it.each("apply", named=False)
    assert codes(refused) == {ISIN.name: None, DIRECT.name: "unknown-call"}
    assert not any(result.changed for result in refused)
    assert all(file.before == file.after for result in refused for file in result.files)
    assert "Put back as it was" in refused[0].note
    assert it.snapshot() == before
    assert codes(it.each("apply", named=False, force=True)) == {ISIN.name: None, DIRECT.name: None}
    assert caller.read_text().endswith("\nisin = torch.isin\n")
    assert codes(it.each("revert")) == {ISIN.name: None, DIRECT.name: None}
    assert it.snapshot() == before


def test_what_was_brought_along_and_edited_since_stays(it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (it.target.site_packages / FEW[0]).write_text("import torch\nisin = torch.isin\n")
    real = plan.to_apply

    def planned(place: Any, scene: Any, *others: Any, **settings: Any) -> Any:
        if scene.patch is DIRECT:
            it.source.write_bytes(it.source.read_bytes() + b"# theirs\n")
        return real(place, scene, *others, **settings)

    monkeypatch.setattr("patcher.change.operations.to_apply", planned)
    results = it.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE)
    assert codes(results) == {ISIN.name: "edited-file", DIRECT.name: "unknown-call"}
    assert it.source.read_bytes().endswith(b"# theirs\n")


@pytest.mark.parametrize("text", ["torch.isin(a, b\n", "x = 'torch.isin\n"])
def test_a_file_that_is_no_python_refuses_only_the_calls(it: Any, text: str) -> None:
    stray = it.target.site_packages / "transformers" / "stray.py"
    stray.write_text(text)
    before = it.snapshot()
    _, direct = it.each("status")
    assert (direct.error, direct.state) == (None, State.MODIFIED)
    assert "stray.py: The file cannot be parsed as Python" in direct.note
    assert codes(it.each("apply", named=False)) == {ISIN.name: None, DIRECT.name: "unparsable-source"}
    assert it.snapshot() == before
    assert codes(it.each("apply", patches=(ISIN,), named=True)) == {ISIN.name: None}
    assert codes(it.each("revert")) == {ISIN.name: None, DIRECT.name: None}
    assert it.snapshot() == before


def test_ctrl_c_takes_back_what_was_brought_along(it: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = it.snapshot()
    real = transaction.carry

    def interrupted(place: Any, scene: Any, wanted: Any) -> Any:
        if scene.patch is DIRECT and scene.known and len(scene.known.files) == 1:
            raise KeyboardInterrupt
        return real(place, scene, wanted)

    with monkeypatch.context() as broken:
        broken.setattr("patcher.change.operations.carry", interrupted)
        with pytest.raises(KeyboardInterrupt):
            it.each("apply", named=False)
    assert it.snapshot() == before


def test_nothing_is_redirected_to_what_could_not_be_patched(it: Any) -> None:
    it.source.write_text("import torch\n\n\ndef isin_mps_friendly(elements, test_elements):\n    return None\n")
    before = it.snapshot()
    assert codes(it.each("apply", named=False)) == {ISIN.name: "unknown-body", DIRECT.name: "needs-patch"}
    assert it.snapshot() == before


def test_a_dry_run_shows_both_and_writes_nothing(it: Any) -> None:
    before = it.snapshot()
    isin, direct = it.each("apply", named=False, dry_run=True, diff=True)
    assert it.snapshot() == before
    assert "+def isin_mps_friendly(" in isin.diff
    assert re.findall(r"^\+\+\+ b/(.*)$", direct.diff, re.MULTILINE) == list(FEW)
    assert direct.diff.count("+from ..pytorch_utils import isin_mps_friendly  # mps-patcher ") == len(FEW)
    now = it.each("apply", named=False)[1]
    assert [file.after for file in direct.files] == [file.after for file in now.files]


def test_a_release_without_direct_calls_has_nothing_to_do(env: Callable[..., Any]) -> None:
    it = replace(env("4.45.1"), patches=CATALOGUE)
    before = it.snapshot()
    (result,) = it.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE)
    assert (result.error, result.state, result.changed) == (None, State.ABSENT, False)
    assert "nothing to do" in result.note
    assert it.snapshot() == before


def test_where_torch_is_sound_only_what_other_packages_import_is_needed(env: Callable[..., Any]) -> None:
    it = replace(env("5.1.0", torch="2.13.0"), patches=CATALOGUE)
    isin, direct = it.each("apply", named=False)
    assert (isin.state, isin.changed) == (State.PATCHED, True)
    assert (direct.state, direct.changed) == (State.UNPATCHED, False)
    assert "sound isin" in direct.need.reason


def test_a_function_that_moved_is_never_added(env: Callable[..., Any]) -> None:
    it = env("5.23.0")
    moved = it.source.parent / "utils" / "membership.py"
    moved.write_text("def isin_mps_friendly(elements, test_elements):\n    pass\n")
    before = it.snapshot()
    status = it.status()
    assert status.state is State.ABSENT
    assert "not in transformers/pytorch_utils.py but in transformers/utils/membership.py" in status.note
    result = it.apply(named=False)
    assert result.error.code == "function-absent"
    for told in (status.note, result.error.hint):
        assert "blob/v5.23.0/src/transformers/utils/membership.py" in told
    assert it.snapshot() == before


def test_a_function_that_is_only_handed_on_is_not_ours_to_change(env: Callable[..., Any]) -> None:
    it = env("5.23.0")
    it.source.write_text("import torch\nfrom .utils.membership import isin_mps_friendly\n")
    assert it.status().state is State.MODIFIED
    assert "blob/v5.23.0/src/transformers/pytorch_utils.py" in it.status().note
    assert it.apply(named=False, force=True).error.code == "unknown-body"


def test_what_cannot_be_read_does_not_keep_the_other_from_being_taken_back(
    env: Callable[..., Any], tmp_path: Path
) -> None:
    """The ledger tells that it was never applied."""
    it = replace(env("4.45.1"), patches=CATALOGUE)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "caller.py").write_text("import torch\n\ntorch.isin(1, 2)\n")
    (it.target.site_packages / "transformers" / "own").symlink_to(tmp_path / "shared")
    original = it.snapshot()
    assert codes(it.each("apply", named=False)) == {ISIN.name: None, DIRECT.name: "linked-folder"}
    isin, direct = it.each("revert")
    assert (isin.error, isin.state) == (None, State.UNPATCHED)
    assert (direct.error, direct.changed) == (None, False)
    assert direct.note == "It is not patched by us: nothing to revert."
    assert it.snapshot() == original


def test_what_was_applied_and_cannot_be_read_keeps_the_other(it: Any, tmp_path: Path) -> None:
    it.each("apply", named=False)
    folder = it.target.site_packages / "transformers" / "generation"
    shutil.move(folder, tmp_path / "shared")
    folder.symlink_to(tmp_path / "shared")
    assert codes(it.each("revert")) == {ISIN.name: "needed-by", DIRECT.name: "linked-folder"}


@pytest.mark.parametrize("folder", ["transformers", "transformers/generation"])
def test_a_folder_that_is_a_link_is_refused(it: Any, folder: str, tmp_path: Path) -> None:
    """What is behind it may belong to other environments."""
    shutil.move(it.target.site_packages / folder, tmp_path / "shared")
    (it.target.site_packages / folder).symlink_to(tmp_path / "shared")
    assert codes(it.each("apply", named=False))[DIRECT.name] == "linked-folder"


@pytest.mark.parametrize("path", ["numpy/__init__.py", "transformers/pytorch_utils.py", "typing.py"])
def test_a_ledger_that_leads_elsewhere_is_refused(it: Any, path: str) -> None:
    it.each("apply", named=False)
    state = it.ours / "state.json"
    known = json.loads(state.read_text())
    next(entry for entry in known["files"] if entry["path"] == FEW[0])["path"] = path
    del known["record"]["rows"][FEW[0]]
    state.write_text(json.dumps(known))
    before = bytes_of(it.snapshot())
    for command in ("status", "apply", "revert"):
        results = it.each(command, **({"named": False} if command == "apply" else {}))
        assert codes(results)[DIRECT.name] == ("state-damaged" if path == str(ISIN.file) else "state-newer"), command
    now = bytes_of(it.snapshot())
    assert {name for name in before if now[name] != before[name]} <= {
        f"{it.target.dist_info.name}/{name}" for name in ("RECORD", "mps-patcher/state.json")
    }


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], None]:
    """`broken(meanwhile)`: the second transaction of a command calls that, and can then not be written."""

    def plant(meanwhile: Callable[[], None]) -> None:
        carry, done = transaction.carry, []

        def carried(*arguments: Any) -> Any:
            done.append(arguments)
            if len(done) == 2:
                meanwhile()
                raise PatcherError("disk-full", "No space.", "Free some.")
            return carry(*arguments)

        monkeypatch.setattr("patcher.change.operations.carry", carried)

    return plant


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_what_was_done_before_a_failure_is_undone_and_said_to_be(it: Any, broken: Any, command: str) -> None:
    options = {"diff": True, **({"named": True} if command == "apply" else {})}
    if command == "revert":
        it.each("apply", named=True)
    before, stood = it.snapshot(), {result.patch: result for result in it.each("status")}
    broken(lambda: None)
    results = {result.patch: result for result in it.each(command, **options)}
    first, second = (ISIN.name, DIRECT.name) if command == "apply" else (DIRECT.name, ISIN.name)
    assert it.snapshot() == before
    assert codes(tuple(results.values())) == {first: None, second: "disk-full"}
    undone, was = results[first], stood[first]
    assert undone.note == f"Put back as it was, since {second} could not be written."
    assert (undone.state, undone.changed, undone.diff) == (was.state, False, None)
    assert (undone.before, undone.after) == (was.before, was.before)
    assert undone.files
    assert [file.after for file in undone.files] == [file.before for file in undone.files]


def test_every_cut_of_an_undoing_is_repaired(it: Any, broken: Any, cut_at: Callable[..., bool]) -> None:
    """The ledger forgets a file only when that is itself again."""
    original, points = it.snapshot(), 0

    def work() -> None:
        broken(lambda: None)
        it.each("apply", named=True)

    while cut_at(work, points + 1):
        points += 1
        assert codes(it.each("revert")) == {ISIN.name: None, DIRECT.name: None}, points
        assert it.snapshot() == original, points
    assert it.snapshot() == original
    assert points >= 30


def test_what_cannot_be_undone_is_told_as_it_is_now(it: Any, broken: Any) -> None:
    broken(lambda: it.source.write_bytes(it.source.read_bytes() + b"# theirs\n"))
    isin, direct = it.each("apply", named=True)
    assert codes((isin, direct)) == {ISIN.name: "target-changed", DIRECT.name: "disk-full"}
    assert (isin.state, it.status(patches=(ISIN,)).state) == (State.MODIFIED, State.MODIFIED)


def test_what_can_neither_be_undone_nor_read_is_told_as_it_was_left(it: Any, broken: Any) -> None:
    def away() -> None:
        it.source.unlink()
        it.source.mkdir()

    broken(away)
    isin, direct = it.each("apply", named=True)
    assert codes((isin, direct)) == {ISIN.name: "not-a-file", DIRECT.name: "disk-full"}
    assert isin.state is State.PATCHED


@pytest.mark.parametrize("command", ["apply", "revert"])
@pytest.mark.parametrize("step", ["to_{}", "carry"])
def test_ctrl_c_at_the_second_patch_puts_back_the_first(
    it: Any, monkeypatch: pytest.MonkeyPatch, command: str, step: str
) -> None:
    """While it is planned, which takes libcst its time, or while it is written."""
    options = {"apply": {"named": False}, "revert": {}}
    if command == "revert":
        it.each("apply", **options["apply"])
    before, name, calls = it.snapshot(), step.format(command), []
    real = getattr(operations, name)

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **settings)

    with monkeypatch.context() as broken:
        broken.setattr(operations, name, interrupted)
        with pytest.raises(KeyboardInterrupt):
            it.each(command, **options[command])
    assert len(calls) == 2
    assert it.snapshot() == before


@pytest.mark.parametrize("cut_short", ["apply", "revert"])
@pytest.mark.parametrize("then", ["apply", "revert"])
def test_every_cut_is_repaired_by_the_next_command(
    it: Any, cut_at: Callable[..., bool], cut_short: str, then: str
) -> None:
    """Whichever of the two patches was at work, and however many of its files had changed."""
    steps = {"apply": lambda: it.each("apply", named=False), "revert": lambda: it.each("revert")}
    files = [it.target.site_packages / name for name in (str(ISIN.file), *FEW)]
    original, first = it.snapshot(), [path.read_bytes() for path in files]
    states(steps["apply"]())
    patched, second = it.snapshot(), [path.read_bytes() for path in files]
    points = 0
    while True:
        steps["revert" if cut_short == "apply" else "apply"]()
        if not cut_at(steps[cut_short], points + 1):
            break
        points += 1
        for path, *whole in zip(files, first, second, strict=True):
            assert path.read_bytes() in whole
        assert State.MODIFIED not in states(it.each("status")).values(), points
        assert codes(steps[then]()) == {ISIN.name: None, DIRECT.name: None}, points
        assert timeless(it.snapshot()) == timeless(patched if then == "apply" else original), points
        steps["revert"]()
        assert it.snapshot() == original, points
    assert points >= 50


@pytest.mark.parametrize("then", ["apply", "revert"])
def test_every_cut_of_one_of_two_is_repaired(it: Any, cut_at: Callable[..., bool], then: str) -> None:
    """The ledger goes on telling of the patch that stays, and forgets no file before that is itself again."""
    it.each("apply", patches=(ISIN,), named=True)
    only, points = it.snapshot(), 0
    while True:
        states(it.each("apply", patches=(DIRECT,), named=True, catalogue=CATALOGUE))
        if not cut_at(lambda: it.each("revert", patches=(DIRECT,), catalogue=CATALOGUE), points + 1):
            break
        points += 1
        if then == "apply":
            assert states(it.each("apply", named=False)) == both(State.PATCHED), points
        assert states(it.each("revert", patches=(DIRECT,), catalogue=CATALOGUE)) == {DIRECT.name: State.UNPATCHED}
        assert timeless(it.snapshot()) == timeless(only), points
    assert points >= 20


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_every_fault_leaves_all_files_as_they_were(
    it: Any, failing_at: Callable[..., Any], fault: int, command: str
) -> None:
    steps = {
        "apply": lambda: it.each("apply", patches=(DIRECT,), named=True),
        "revert": lambda: it.each("revert", patches=(DIRECT,)),
    }
    it.each("apply", patches=(ISIN,), named=True)
    if command == "revert":
        steps["apply"]()
    before, points, refused = it.snapshot(), 0, 0
    while True:
        with failing_at(points + 1, fault) as calls:
            (result,) = steps[command]()
        if len(calls) <= points:
            break
        points += 1
        if result.error is None:
            steps["revert" if command == "apply" else "apply"]()
            before = it.snapshot()
            continue
        refused += 1
        assert it.snapshot() == before, (points, calls[-1], result.error)
    assert refused >= 30


OUTDATED = Path(__file__).parent / "outdated"
"""What an earlier mps-patcher, with another body, left of the few files of transformers 4.45.1."""


@pytest.fixture
def outdated(env: Callable[..., Any]) -> Any:
    it = env("4.45.1")
    it.ours.mkdir()
    shutil.copy(OUTDATED / "state.json", it.ours)
    (digest,) = set(re.findall(r'"before": "(1e0fe[0-9a-f]+)"', (OUTDATED / "state.json").read_text()))
    shutil.copy(it.source, it.ours / f"{digest}.orig")
    shutil.copy(OUTDATED / "pytorch_utils.py.patched", it.source)
    shutil.copy(OUTDATED / "RECORD", it.record)
    return it


def bytes_of(snapshot: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    return {path: facts[-1] for path, facts in snapshot.items()}


def test_the_work_of_an_earlier_version_is_undone(outdated: Any, env: Callable[..., Any]) -> None:
    status = outdated.status()
    assert status.state is State.OUTDATED
    assert "another version of mps-patcher" in status.note
    assert outdated.revert().error is None
    assert bytes_of(outdated.snapshot()) == bytes_of(env("4.45.1").snapshot())


def test_the_work_of_an_earlier_version_is_brought_up_to_date(outdated: Any, env: Callable[..., Any]) -> None:
    fresh = env("4.45.1")
    pristine = bytes_of(fresh.snapshot())
    applied = outdated.apply(named=False)
    assert (applied.error, applied.state, applied.changed) == (None, State.PATCHED, True)
    assert "up to date" in applied.note
    fresh.apply()
    assert outdated.source.read_bytes() == fresh.source.read_bytes()
    assert outdated.apply().changed is False
    assert outdated.revert().error is None
    assert bytes_of(outdated.snapshot()) == pristine


def test_every_cut_of_bringing_up_to_date_is_repaired(
    outdated: Any, cut_at: Callable[..., bool], env: Callable[..., Any], tmp_path: Path
) -> None:
    pristine, points = bytes_of(env("4.45.1").snapshot()), 0
    saved = shutil.copytree(outdated.target.site_packages, tmp_path / "saved")
    for then in ("apply", "revert"):
        points = 0
        while cut_at(lambda: outdated.apply(named=False), points + 1):
            points += 1
            assert outdated.status().state in (State.OUTDATED, State.INTERRUPTED, State.PATCHED), points
            assert getattr(outdated, then)().error is None, points
            assert outdated.status().state is (State.PATCHED if then == "apply" else State.UNPATCHED)
            assert outdated.revert().error is None, points
            assert bytes_of(outdated.snapshot()) == pristine, points
            shutil.rmtree(outdated.target.site_packages)
            shutil.copytree(saved, outdated.target.site_packages)
        shutil.rmtree(outdated.target.site_packages)
        shutil.copytree(saved, outdated.target.site_packages)
    assert points >= 15


def test_an_earlier_body_without_a_back_up_is_known_and_refused(outdated: Any) -> None:
    shutil.rmtree(outdated.ours)
    before = outdated.snapshot()
    assert outdated.status().state is State.OUTDATED
    for command in (outdated.apply, outdated.revert):
        assert command().error.code == "no-backup"
    assert outdated.snapshot() == before


def test_redirections_of_an_earlier_version_are_brought_up_to_date(real: Any) -> None:
    """One that knew nothing of the branches."""
    assert isinstance(DIRECT, CallsPatch)
    earlier = replace(DIRECT, branches=())
    original = real.snapshot()
    states(real.each("apply", patches=(ISIN, earlier), named=True))
    isin, direct = real.each("status")
    assert (isin.state, direct.state) == (State.PATCHED, State.OUTDATED)
    assert states(real.each("apply", named=False)) == both(State.PATCHED)
    assert "Can't infer missing attention mask" not in (real.target.site_packages / FEW[1]).read_text()
    assert states(real.each("revert"))[DIRECT.name] is State.UNPATCHED
    assert real.snapshot() == original


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_a_function_that_was_added_and_reinstalled_away(env: Callable[..., Any], command: str) -> None:
    """RECORD is the proof that an installer wrote the new file; without it, somebody edited ours."""
    it, fresh = env("5.1.0"), env("5.1.0")
    it.apply()
    newer = fresh.source.read_bytes() + b"# a rebuilt wheel\n"
    it.source.write_bytes(newer)
    assert it.status().state is State.MODIFIED
    fresh.source.write_bytes(newer)
    rows = fresh.record.read_text()
    row = record.row("transformers/pytorch_utils.py", newer)
    it.record.write_text(re.sub(r"^transformers/pytorch_utils\.py,.*$", row, rows, flags=re.MULTILINE))
    listed = it.record.read_bytes()
    assert it.status().state is State.ABSENT
    assert getattr(it, command)().error is None
    if command == "apply":
        assert it.status().state is State.PATCHED
        assert it.revert().error is None
    assert it.source.read_bytes() == newer
    assert it.record.read_bytes() == listed
    assert not it.ours.exists()


def test_an_error_of_the_whole_target_is_told_of_each_patch(it: Any) -> None:
    (it.target.dist_info / "RECORD").unlink()
    (it.target.dist_info / "RECORD").mkdir()
    for results in (it.each("status"), it.each("apply", named=False), it.each("revert")):
        assert [result.patch for result in results] == [ISIN.name, DIRECT.name]
        assert all(isinstance(result.error, PatcherError) for result in results)

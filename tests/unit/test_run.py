"""The environment of a program that runs patched, and the folder that it comes from."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from engine import Env

from patcher import prepared
from patcher.catalogue import load_catalogue
from patcher.errors import CannotTell, PatcherError
from patcher.model import Target
from patcher.run import EMULATING, SELFTEST, Emulation, begin_report, emulation_notice, prepare
from patcher.storage.lock import LockTimeout, locked

SOURCE = Path("transformers", "pytorch_utils.py")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"MPS_PATCHER_CACHE": str(tmp_path / "cache"), "HOME": str(tmp_path)}


@pytest.fixture
def target(one: Env, tmp_path: Path) -> Target:
    """transformers 4.45.1 with an interpreter, which is never started."""
    python = tmp_path / "bin" / "python"
    return one.target._replace(python=python, torch="2.1.0", search_path=(one.target.site_packages,))


@pytest.fixture
def calling(two: Env, target: Target) -> Target:
    """transformers 4.44.2, of which three files change, beside a torch that has no isin on MPS."""
    return two.target._replace(python=target.python, torch="2.1.0")


def prepared_for(target: Target, environ: dict[str, str], **options: Any) -> tuple[Path, dict[str, str]]:
    """The folder that is used, and the variables."""
    options = {"named": False, "lock": LockTimeout(seconds=0), **options}
    variables = prepare(target, load_catalogue(), environ=environ, **options)
    return Path(variables["PYTHONPATH"].split(os.pathsep)[0]).parent, variables


def names_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def folders(parent: Path) -> list[str]:
    return sorted(path.name for path in parent.iterdir())


PLAIN = {"site/sitecustomize.py", "after_torch.py", "site-packages"}


def test_what_is_prepared_is_what_apply_would_write(one: Env, target: Target, environ: dict[str, str]) -> None:
    folder, _ = prepared_for(target, environ)
    assert names_in(folder) == {*PLAIN, "replacement.py", f"files/{SOURCE}"}
    one.apply("isin_mps_friendly")
    assert (folder / "files" / SOURCE).read_bytes() == one.source.read_bytes()


def served(folder: Path) -> int:
    """How many modules come from elsewhere than they are installed."""
    return len(list((folder / "files").rglob("*.py")))


def test_only_what_has_an_effect_is_patched_unless_it_is_named(calling: Target, environ: dict[str, str]) -> None:
    fine = calling._replace(torch="2.9.0")
    assert served(prepared_for(calling, environ)[0]) == 3
    assert served(prepared_for(fine, environ)[0]) == 0
    assert served(prepared_for(fine, environ, named=True)[0]) == 3


def test_the_effect_is_that_under_the_emulated_rules(calling: Target, environ: dict[str, str]) -> None:
    fine = calling._replace(torch="2.9.0")
    assert served(prepared_for(fine, environ, emulate=Emulation(torch="2.1"))[0]) == 3
    folder, _ = prepared_for(fine, environ, emulate=Emulation())
    assert served(folder) == 0
    assert (folder / "emulation").read_text() == "2.9\n14\n"
    assert "selftest/process.py" in names_in(folder)


def test_what_a_file_of_the_emulation_needs_is_there_too(calling: Target, environ: dict[str, str]) -> None:
    folder, _ = prepared_for(calling, environ, emulate=Emulation())
    assert {path.name for path in (folder / "selftest").iterdir()} == {*EMULATING}
    imported = re.findall(
        r"(?m)^from \.(\w*) import (\w+)", "".join((SELFTEST / name).read_text() for name in EMULATING)
    )
    started = re.findall(r"mps_patcher_selftest\.(\w+)", (folder / "after_torch.py").read_text())
    assert {*(f"{module or name}.py" for module, name in imported), *(f"{name}.py" for name in started)} <= {*EMULATING}


def test_a_report_is_begun_in_place_of_an_earlier_one(target: Target, environ: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    for program in (["old.py"], ["new.py"]):
        variables = begin_report(file, target, Emulation(), program)
    assert variables == {"MPS_PATCHER_REPORT": str(file)}
    assert json.loads(file.read_text())["program"] == ["new.py"]
    assert json.loads(file.read_text())["device"] == {"kind": "emulated-mps", "torch": "2.1", "macos": "13"}
    assert "MPS_PATCHER_REPORT" not in prepared_for(target, {**environ, **variables})[1]  # as in a run within a run


@pytest.mark.parametrize("place", ["nowhere/report.json", "folder", "mine.json"])
def test_a_report_that_cannot_be_written(target: Target, tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "mine.md").write_text("Mine\n")
    with pytest.raises(PatcherError) as raised:
        begin_report(tmp_path / place, target, Emulation(), ["script.py"])
    assert raised.value.code == "no-report"
    assert raised.value.message.startswith(str(tmp_path))


def test_unpatched_holds_the_hook_alone(target: Target, environ: dict[str, str]) -> None:
    assert names_in(prepared_for(target, environ, unpatched=True)[0]) == PLAIN


def test_the_variables(target: Target, environ: dict[str, str]) -> None:
    given = {**environ, "PYTHONPATH": "/theirs", "__PYVENV_LAUNCHER__": "x", "OTHER": "1"}
    folder, variables = prepared_for(target, given)
    path = f"{folder / 'site'}{os.pathsep}/theirs"
    ours = {"PYTHONPATH": path, "PYTORCH_ENABLE_MPS_FALLBACK": "1", "MPS_PATCHER_HOOK": "off"}
    assert variables == {**environ, "OTHER": "1", **ours}
    assert prepared_for(target, variables)[1] == variables  # as in a run within a run
    assert prepared_for(target, {**given, "PYTORCH_ENABLE_MPS_FALLBACK": "0"})[1]["PYTORCH_ENABLE_MPS_FALLBACK"] == "0"


def test_a_second_time_nothing_is_read_but_names_and_times(
    target: Target, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = prepared_for(target, environ)
    monkeypatch.setattr(Path, "read_bytes", None)
    with locked(target.dist_info, exclusive=True, timeout=LockTimeout(seconds=0)):
        assert prepared_for(target, environ)[0] == folder


@pytest.mark.parametrize("changed", ["a file", "RECORD", "what lies beside it"])
def test_what_changes_is_prepared_anew(target: Target, environ: dict[str, str], changed: str) -> None:
    before, _ = prepared_for(target, environ)
    if changed == "a file":
        (target.site_packages / "transformers" / "activations.py").write_text("")
    elif changed == "RECORD":
        (target.dist_info / "RECORD.new").write_text("")
    else:
        (target.site_packages / "coqui_tts-0.27.0.dist-info").mkdir()
    assert prepared_for(target, environ)[0] != before


def test_the_hook_of_another_version_of_the_tool_is_another(
    target: Target, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, _ = prepared_for(target, environ)
    monkeypatch.setattr(prepared, "__version__", "9")
    assert prepared_for(target, environ)[0] != before


def test_a_wait_for_the_lock_ends(target: Target, environ: dict[str, str]) -> None:
    with (
        locked(target.dist_info, exclusive=True, timeout=LockTimeout(seconds=0)),
        pytest.raises(PatcherError) as raised,
    ):
        prepared_for(target, environ)
    assert raised.value.code == "locked"


def test_refusals(target: Target, environ: dict[str, str]) -> None:
    def code(target: Target, **options: Any) -> str:
        with pytest.raises(CannotTell) as raised:
            prepared_for(target, environ, **options)
        return raised.value.code

    assert code(target._replace(python=None)) == "no-interpreter"
    assert code(target._replace(torch=None), emulate=Emulation()) == "no-torch"
    assert code(target, emulate=Emulation(torch="9.9")) == "no-rules"
    assert "torch 2.1 on macOS 13" in emulation_notice(target, Emulation())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_does_not_run_what_is_another_users(target: Target, environ: dict[str, str]) -> None:
    os.chown(target.site_packages, 12345, 54321)
    with pytest.raises(PatcherError, match="belongs to another user") as raised:
        prepared_for(target, environ)
    assert raised.value.code == "not-permitted"


class TestFolder:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tmp_path / "run" / "key"

    def test_it_is_written_whole_and_for_its_owner_alone(self, folder: Path) -> None:
        prepared.write_prepared(folder, {"a/b.py": b"1", "c": b"2"})
        assert names_in(folder) == {"a/b.py", "c"}
        assert [path.stat().st_mode & 0o777 for path in (folder, folder / "a", folder.parent)] == [0o700] * 3
        assert folders(folder.parent) == ["key"]

    def test_a_faster_process_wins(self, folder: Path) -> None:
        prepared.write_prepared(folder, {"a": b"1"})
        prepared.write_prepared(folder, {"a": b"2"})
        assert (folder / "a").read_bytes() == b"1"
        assert folders(folder.parent) == ["key"]

    def test_only_what_nobody_used_for_a_month_goes(self, folder: Path) -> None:
        for name, days in (("old", 31), ("new", 29)):
            prepared.write_prepared(folder.with_name(name), {"a": b"1"})
            os.utime(folder.with_name(name), (time.time() - days * 86400,) * 2)
        prepared.write_prepared(folder, {"a": b"1"})
        assert folders(folder.parent) == ["key", "new"]

    def test_a_fault_names_the_variable(self, folder: Path, fault: int, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: object) -> None:
            raise OSError(fault, os.strerror(fault))

        monkeypatch.setattr(Path, "write_bytes", fail)
        with pytest.raises(PatcherError) as raised:
            prepared.write_prepared(folder, {"a": b"1"})
        assert raised.value.code == "no-cache"
        assert os.strerror(fault) in raised.value.message
        assert "MPS_PATCHER_CACHE" in raised.value.hint
        assert folders(folder.parent) == []

    def test_a_cache_that_is_read_only_serves(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        prepared.write_prepared(folder, {"a": b"1"})

        def fail(*_: object) -> None:
            raise PermissionError

        monkeypatch.setattr(os, "utime", fail)
        assert prepared.is_prepared(folder)

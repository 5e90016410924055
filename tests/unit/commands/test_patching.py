"""status, apply, verify and revert: exit codes, one JSON document, and which results are shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import COMMANDS, PATCH, contents, edit, patched_file, read, run, start
from documents import read_document

from patcher import operations
from patcher.commands import patching
from patcher.errors import CannotTell, PatcherError
from patcher.model import Check, Effect, Impact, NotFound, State
from patcher.model import Result as Outcome

NOWHERE = NotFound(python=None, site_packages=None, error=PatcherError("x", "x", "x"))
FINE = Outcome(target=NOWHERE, patch=PATCH, state=State.PATCHED)
UNPATCHED = FINE._replace(state=State.UNPATCHED, impact=Impact(effect=Effect.FAILS))
EDGE_CASES = UNPATCHED._replace(impact=Impact(effect=Effect.EDGE_CASES))
UNKNOWN = FINE._replace(state=None, error=CannotTell("no-transformers", "", ""))
FAILED = FINE._replace(state=None, error=PatcherError("unknown-body", "", ""))
FAILED_CHECK = FINE._replace(checks=(Check(name="contract", status="failed", detail="", seconds=0.0),))


class TestExitCodes:
    @pytest.mark.parametrize(
        ("results", "code"),
        [
            ((), 0),
            ((FINE,), 0),
            ((FINE, UNPATCHED), 4),
            ((UNPATCHED, UNKNOWN), 3),
            ((UNKNOWN, FAILED, UNPATCHED), 1),
            ((EDGE_CASES,), 0),
            ((UNPATCHED._replace(impact=Impact(effect=Effect.NONE)),), 0),
            ((UNPATCHED._replace(impact=None),), 0),
            *(
                ((UNPATCHED._replace(state=state),), code)
                for state, code in (
                    (State.PATCHED, 0),
                    (State.OUTDATED, 0),
                    (State.MODIFIED, 4),
                    (State.INTERRUPTED, 4),
                    (State.ABSENT, 4),
                )
            ),
        ],
    )
    def test_the_first_of_1_3_4_counts(
        self, results: tuple[Outcome, ...], code: int, monkeypatch: pytest.MonkeyPatch, site: Path
    ) -> None:
        monkeypatch.setattr(operations, "status", lambda *_, **__: results)
        assert run("status", "--check", "--site-packages", site).exit_code == code
        assert run("status", "--site-packages", site).exit_code == (0 if code == 4 else code)

    def test_a_failed_check_is_a_failure(self) -> None:
        assert patching.exit_code(FAILED_CHECK, check=False) == 1

    def test_check_says_whether_a_target_is_patched(self, site: Path) -> None:
        assert run("status", "--site-packages", site).exit_code == 0
        assert run("status", "--check", "--site-packages", site).exit_code == 4
        assert run("apply", "--site-packages", site).exit_code == 0
        assert run("status", "--check", "--site-packages", site).exit_code == 0

    def test_check_is_content_where_nothing_fails(self, unpacked: Callable[..., Path]) -> None:
        # generate() needs nothing of the helper's absence, and with no torch at all it is the calls that fail
        site = unpacked("5.1.0")
        assert run("status", "--check", PATCH, "--site-packages", site).exit_code == 0
        assert "generate() works here" in run("status", PATCH, "--site-packages", site).stdout

    def test_macos_decides_on_the_effect(self, site: Path) -> None:
        info = site / "torch-2.7.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.7.1\n")
        for macos, code, assumed in (("13.6", 4, False), ("14", 0, False), (None, 4, True)):
            options = ["--macos", macos] if macos else []
            result = run("status", "--check", PATCH, *options, "--json", "--site-packages", site)
            (only,) = read(result)["results"]
            assert result.exit_code == code
            if assumed and sys.platform != "darwin":
                assert (only["effect"]["macos"], only["effect"]["assumed_macos"]) == ("13", True)
            elif macos:
                assert (only["effect"]["macos"], only["effect"]["assumed_macos"]) == (macos, False)

    def test_every_target_is_tried(self, site: Path, unpacked: Callable[..., Path], tmp_path: Path) -> None:
        refused = unpacked()
        edit(refused)
        places = [argument for folder in (tmp_path, refused, site) for argument in ("--site-packages", folder)]
        result = run("apply", PATCH, "--json", *places)
        told = [(one["state"], one["error"] and one["error"]["code"]) for one in read(result)["results"]]
        assert result.exit_code == 1
        assert told == [(None, "no-transformers"), ("modified", "edited-file"), ("patched", None)]
        assert run("status", "--site-packages", tmp_path, "--site-packages", site).exit_code == 3

    def test_every_target_below_a_folder(self, site: Path, unpacked: Callable[..., Path]) -> None:
        other = unpacked()
        result = run("status", "--json", "--under", site.parents[3], "--site-packages", other)
        assert {Path(one["target"]["site_packages"]) for one in read(result)["results"]} >= {site, other}


IDLE = FINE._replace(patch="direct_isin", state=State.ABSENT, impact=Impact(effect=Effect.NONE))


def test_what_a_target_has_nothing_for_is_left_out_beside_what_it_has() -> None:
    elsewhere = IDLE._replace(target=NOWHERE._replace(python=Path("/other")))
    assert patching.relevant((FINE, IDLE)) == (FINE,)
    assert patching.relevant((IDLE,)) == (IDLE,)
    assert patching.relevant((FINE, IDLE, elsewhere)) == (FINE, elsewhere)
    for told in (
        IDLE._replace(impact=Impact(effect=Effect.EDGE_CASES)),
        IDLE._replace(changed=True),
        IDLE._replace(error=FAILED.error),
        IDLE._replace(state=State.UNPATCHED),
    ):
        assert patching.relevant((FINE, told)) == (FINE, told)


class TestJson:
    @pytest.mark.parametrize("command", COMMANDS)
    def test_where_there_is_no_transformers(self, command: str, tmp_path: Path) -> None:
        result = run(command, "--json", "--site-packages", tmp_path)
        told = read(result)
        assert (result.exit_code, result.stderr, told["command"]) == (3, "", command)
        (only,) = told["results"]
        assert only["error"]["code"] == "no-transformers"
        assert only["target"]["site_packages"] == str(tmp_path)

    def test_the_whole_round(self, site: Path) -> None:
        told = {}
        for command in ("status", "apply", "status", "revert"):
            result = run(command, "--json", "--site-packages", site)
            assert (result.exit_code, result.stderr) == (0, ""), command
            told[command], *others = read(result)["results"]
            assert [(other["patch"], other["state"]) for other in others] == (
                [("direct_isin", "absent")] if command == "status" else []
            )
        assert told["apply"]["changed"]
        (applied,), (reverted,) = told["apply"]["files"], told["revert"]["files"]
        assert applied["path"] == reverted["path"] == str(patched_file(site))
        assert applied["sha256"]["before"] == reverted["sha256"]["after"] != applied["sha256"]["after"]
        assert told["status"]["state"] == told["apply"]["state"] == "patched"
        assert told["revert"]["state"] == "unpatched"

    def test_verify_of_the_files_alone(self, site: Path) -> None:
        result = run("verify", "--static", "--json", "--site-packages", site)
        assert result.exit_code == 1
        (only,) = read(result)["results"]
        assert "failed" in {check["status"] for check in only["checks"]}
        assert only["error"]["code"] == "verification-failed"
        assert run("apply", "--site-packages", site).exit_code == 0
        result = run("verify", "--static", "--json", "--site-packages", site)
        (only,) = read(result)["results"]
        assert (result.exit_code, only["device"]) == (0, None)
        assert {check["status"] for check in only["checks"]} == {"passed"}

    @pytest.mark.parametrize("command", ["apply", "revert"])
    def test_a_refusal(self, command: str, site: Path) -> None:
        if command == "revert":
            assert run("apply", "--site-packages", site).exit_code == 0
            with patched_file(site).open("ab") as file:
                file.write(b"# edited\n")
        else:
            edit(site)
        before = contents(site)
        result = run(command, PATCH, "--json", "--site-packages", site)
        (only,) = read(result)["results"]
        assert (result.exit_code, only["state"], only["changed"]) == (1, "modified", False)
        assert only["error"]["hint"]
        assert contents(site) == before

    def test_what_a_target_has_nothing_for_is_told_of_where_there_is_nothing_else(
        self, unpacked: Callable[..., Path]
    ) -> None:
        site = unpacked("4.39.3")  # without the file that calls torch.isin
        for command in ("status", "apply", "revert"):
            result = run(command, "--json", "--site-packages", site)
            assert result.exit_code == 0
            assert [one["state"] for one in read(result)["results"]] == ["absent", "absent"]

    def test_quiet_verbose_and_colors_change_nothing(self, site: Path) -> None:
        plain = run("status", "--json", "--site-packages", site).stdout
        for option in ("-q", "-v", "--color=always"):
            assert run("status", "--json", option, "--site-packages", site).stdout == plain
            assert run(option, "status", "--json", "--site-packages", site).stdout == plain


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_dry_run_changes_nothing_and_diff_shows_what_would(command: str, site: Path) -> None:
    if command == "revert":
        assert run("apply", "--site-packages", site).exit_code == 0
    before = contents(site)
    result = run(command, "--dry-run", "--diff", "--site-packages", site)
    assert result.exit_code == 0
    assert "@@" in result.stdout
    assert contents(site) == before


def test_force_is_a_word_by_itself(site: Path) -> None:
    edit(site)
    assert run("apply", "--site-packages", site).exit_code == 1
    assert run("apply", "--force", "--site-packages", site).exit_code == 0


def test_without_target_options_the_environment_decides(site: Path, tmp_path: Path) -> None:
    venv = site.parents[2]
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(sys.executable)
    done = start("status", PATCH, "--json", cwd=tmp_path, VIRTUAL_ENV=str(venv))
    (only,) = read_document(done.stdout)["results"]
    assert only["target"]["python"] == str(venv / "bin" / "python") or only["error"]

"""Every command that status, apply, verify and revert tell users to run is complete, and does what was promised."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from command_line import PATCH, contents, edit, patched_file, run

from patcher.storage.record import record_row

SHOWN = re.compile(r"^ *(To \w+ it: +|or  )(mps-patcher .+)$|(Run: )(mps-patcher .+)$", re.MULTILINE)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its options no command finds a target here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")


def shown(result: Result) -> dict[str, str]:
    """The commands of the text, by the words before them."""
    found = [match.groups(default="") for match in SHOWN.finditer(result.stdout)]
    return {(before or last).split(":")[0].strip(): command or final for before, command, last, final in found}


def hinted(result: Result) -> list[str]:
    """The commands of the errors."""
    return re.findall(r"`(mps-patcher .+?)`", result.stderr)


def follow(command: str) -> Result:
    program, *words = shlex.split(command)
    assert program == "mps-patcher"
    return run(*words)


def is_patched(site: Path) -> bool:
    return run("status", "--check", "--site-packages", site).exit_code == 0


class TestStatus:
    @pytest.mark.parametrize("label", ["To fix it", "Run"])
    @pytest.mark.parametrize("names", [[], [PATCH]])
    def test_of_what_needs_a_patch(self, site: Path, label: str, names: list[str]) -> None:
        command = shown(run("status", *names, "--macos", "13", "--site-packages", site))[label]
        assert command.split()[: 2 + len(names)] == ["mps-patcher", "apply", *names]
        assert follow(command).exit_code == 0
        assert is_patched(site)

    def test_of_what_is_patched(self, site: Path) -> None:
        run("apply", "--site-packages", site)
        result = follow(shown(run("status", "--site-packages", site))["To prove it"])
        assert (result.exit_code, "2 checks passed" in result.stdout) == (0, True)

    @pytest.mark.parametrize("label", ["To repair it", "or", "Run"])
    def test_of_what_was_interrupted(self, site: Path, label: str) -> None:
        before = contents(site)
        run("apply", "--site-packages", site)
        (info,) = site.glob("transformers-*.dist-info")
        record = info / "RECORD"
        record.write_bytes(before[record])  # it is written last
        result = run("status", "--site-packages", site)
        assert "an earlier apply or revert was interrupted here" in result.stdout
        assert follow(shown(result)[label]).exit_code == 0
        assert "interrupted" not in run("status", "--site-packages", site).stdout
        assert (contents(site) == before) == (label == "or")

    def test_of_several_targets(self, site: Path, unpacked: Callable[..., Path]) -> None:
        other, top = unpacked(), site.parents[2]
        places = ["--under", top, "--site-packages", other]
        result = run("status", "-v", *places)
        for found in (site, other):
            (command,) = re.findall(rf"To fix it: +(.* {re.escape(str(found))})$", result.stdout, re.MULTILINE)
            assert follow(command).exit_code == 0
            assert is_patched(found)
            run("revert", *places)
        assert follow(shown(result)["Run"]).exit_code == 0
        assert is_patched(site)
        assert is_patched(other)

    def test_nothing_is_promised_where_apply_would_refuse(self, site: Path) -> None:
        edit(site)
        result = run("status", "--site-packages", site)
        assert shown(result) == {}
        assert "The target cannot be patched as it is.\n" in result.stdout
        assert run("apply", "--site-packages", site).exit_code == 1

    @pytest.mark.parametrize("names", [[], [PATCH], ["direct_isin"]])
    @pytest.mark.parametrize("edited", ["original", "function gone", "function changed", "caller changed"])
    def test_of_what_was_edited_since(
        self, unpacked: Callable[..., Path], shortened: Callable[[Path], Path], names: list[str], edited: str
    ) -> None:
        site = shortened(unpacked("4.44.2"))
        file, caller = patched_file(site), site / "transformers" / "generation" / "utils.py"
        original = file.read_bytes()
        run("apply", "--site-packages", site)
        at, content = {
            "original": (file, original),  # an installer's
            "function gone": (file, original + b"# mine\n"),
            "function changed": (file, file.read_bytes().replace(b"\n    ", b"\n    return None\n    ", 1)),
            "caller changed": (caller, caller.read_bytes() + b"# mine\n"),
        }[edited]
        at.write_bytes(content)
        result = run("status", *names, "--check", "--site-packages", site)
        if (edited, names) == ("caller changed", [PATCH]):  # its function is there, for all who call it
            assert result.exit_code == 0
            return
        assert (result.exit_code, "is patched." in result.stdout) == (4, False)
        command = shown(result)["To fix it"]
        assert ("--force" in command) == (edited != "original")
        assert shown(result)["Run"] == command
        assert follow(command).exit_code == 0
        assert is_patched(site)
        assert [path.read_bytes() for path in site.rglob("*.kept-*")] == [content] * ("--force" in command)

    def test_of_many_of_which_one_was_edited_since(self, site: Path, unpacked: Callable[..., Path]) -> None:
        others = [unpacked() for _ in range(8)]
        places = [word for one in (site, *others) for word in ("--site-packages", one)]
        run("apply", *places)
        patched_file(site).write_bytes(patched_file(site).read_bytes() + b"# mine\n")
        result = run("status", "--check", *places)
        assert (result.exit_code, "1 of 9 targets was edited since it was patched." in result.stdout) == (4, True)
        assert follow(shown(result)["Run"]).exit_code == 0
        assert run("status", "--check", *places).exit_code == 0

    def test_of_an_edit_whose_original_is_lost(self, site: Path) -> None:
        run("apply", "--site-packages", site)
        patched_file(site).write_bytes(b"# mine\n")
        (backup,) = site.glob("transformers-*.dist-info/mps-patcher/*pytorch_utils*.orig")
        backup.write_bytes(b"")
        result = run("status", "--check", "--site-packages", site)
        assert (result.exit_code, shown(result)) == (4, {})
        assert "The target cannot be patched as it is." in result.stdout


class TestAfterApply:
    def test_how_to_prove_and_to_undo(self, site: Path) -> None:
        before = contents(site)
        applied = run("apply", "--site-packages", site)
        for line in ("1 target patched.", "Restart Python", "A reinstall or upgrade of transformers removes the patch"):
            assert applied.stdout.count(line) == 1
        commands = shown(applied)
        assert follow(commands["To prove it"]).exit_code == 0
        assert follow(commands["To undo it"]).exit_code == 0
        assert contents(site) == before

    def test_only_after_a_change(self, site: Path) -> None:
        dry = run("apply", "--dry-run", "--site-packages", site)
        assert "Dry run, nothing was written: 1 target would change.\n" in dry.stdout
        assert "Restart" not in dry.stdout
        run("apply", "--site-packages", site)
        again = run("apply", "--site-packages", site)
        assert again.stdout.endswith("\nNothing to do.\n")

    def test_without_a_backup(self, site: Path) -> None:
        applied = run("apply", "--no-backup", "--site-packages", site)
        assert "To undo it:   reinstall transformers (there is no backup)" in applied.stdout
        for command in ("status", "apply", "revert"):
            result = run(command, "--site-packages", site)
            assert "patched without a backup" in result.output
            assert not re.search("damaged|missing", result.output)
        assert f"--target {site} --upgrade --no-deps transformers==4.45.1" in result.stderr

    def test_of_several_targets_once(self, site: Path, unpacked: Callable[..., Path]) -> None:
        refused = unpacked()
        edit(refused)
        result = run("apply", "--site-packages", site, "--site-packages", refused)
        assert "1 target patched, 1 failed." in result.stdout
        assert result.stdout.count("Restart") == 1


class TestHints:
    def test_they_repeat_what_was_typed(self, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(site.parent)
        result = run("verify", "--static", "--site-packages", site.name)
        assert hinted(result) == [f"mps-patcher apply --site-packages {site.name}"]

    def test_where_there_is_no_torch(self, site: Path) -> None:
        python = site.parents[2] / "bin" / "python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        (site.parents[2] / "pyvenv.cfg").write_text("")
        run("apply", "--site-packages", site)
        (command,) = hinted(run("verify", "--python", python))
        assert command == f"mps-patcher verify --static --python {python}"
        assert follow(command).exit_code == 0

    def test_of_a_failed_verification(self, site: Path) -> None:
        place = ["--static", "--site-packages", site]
        (command,) = hinted(run("verify", *place))
        assert follow(command).exit_code == 0
        assert run("verify", *place).exit_code == 0

    def test_of_an_edited_function(self, site: Path) -> None:
        edit(site)
        before = contents(site)
        force, revert = hinted(run("apply", "--site-packages", site))
        assert follow(force).exit_code == 0
        assert is_patched(site)
        assert follow(revert).exit_code == 0
        assert contents(site) == before

    def test_of_a_function_that_was_released_so(self, site: Path) -> None:
        edit(site)
        record, source = site / "transformers-4.45.1.dist-info" / "RECORD", patched_file(site)
        name = source.relative_to(site).as_posix()
        rows = record.read_text().splitlines(keepends=True)
        record.write_text(
            "".join(f"{record_row(name, source.read_bytes())}\n" if row.startswith(f"{name},") else row for row in rows)
        )
        before = contents(site)
        look, force = hinted(run("apply", "--site-packages", site))
        shown_diff = follow(look)
        assert (shown_diff.exit_code, "@@" in shown_diff.stdout, contents(site) == before) == (0, True, True)
        assert follow(force).exit_code == 0
        assert is_patched(site)

    def test_of_a_failed_verification_of_an_edited_file(self, site: Path) -> None:
        run("apply", "--site-packages", site)
        patched_file(site).write_bytes(patched_file(site).read_bytes() + b"# by hand\n")
        place = ["--static", "--site-packages", site]
        (command,) = hinted(run("verify", *place))
        assert follow(command).exit_code == 0
        assert run("verify", *place).exit_code == 0

    @pytest.mark.parametrize("command", ["apply", "revert"])
    def test_of_an_edited_file(self, site: Path, command: str) -> None:
        run("apply", "--site-packages", site)
        edited = patched_file(site).read_bytes() + b"# by hand\n"
        patched_file(site).write_bytes(edited)
        result = run(command, "--site-packages", site)
        assert result.exit_code == (1 if command == "revert" else 0)
        assert re.search("--force.* starts from the original again, and keeps a copy of the edited file", result.output)
        for hint in hinted(result):
            assert follow(hint).exit_code == 0
            (kept,) = patched_file(site).parent.glob("*.kept-*")
            assert kept.read_bytes() == edited


def test_after_revert_a_restart_too(site: Path) -> None:
    run("apply", "--site-packages", site)
    reverted = run("revert", "--site-packages", site).stdout
    assert "\n1 target reverted.\n\nRestart Python" in reverted
    assert run("revert", "--site-packages", site).stdout.endswith("\nNothing to do.\n")
    assert run("verify", "--static", "--site-packages", site, "--site-packages", site.parent).exit_code == 1

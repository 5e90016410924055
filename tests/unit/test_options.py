"""What people type: wherever an option stands, however a version or a patch is written, and what was meant instead."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from documents import read_document

from patcher import __version__, cli
from patcher.catalogue import load_catalogue
from patcher.options import did_you_mean

ROOT = Path(__file__).resolve().parents[2]


def mps(*arguments: object, **environment: str) -> Result:
    """One command line in this process."""
    runner = CliRunner(env=environment)
    return runner.invoke(cli.program, [str(argument) for argument in arguments], prog_name="mps-patcher")


def wrong(*arguments: object) -> tuple[str, str]:
    """Cause and hint of a command line that is wrong."""
    result = mps(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    cause, hint = result.stderr.splitlines()
    return cause.removeprefix("error: "), hint.removeprefix("hint: ")


@pytest.fixture
def site(unpacked: Callable[..., Path]) -> Path:
    """A site-packages folder with an unpatched transformers 4.45.1."""
    return unpacked()


class TestPlace:
    """An option of every command stands before or after it."""

    @pytest.mark.parametrize("arguments", [["--json", "status"], ["status", "--json"], ["--json", "status", "--json"]])
    def test_json(self, arguments: list[str], site: Path) -> None:
        result = mps(*arguments, "--site-packages", site)
        assert (result.exit_code, read_document(result.stdout)["command"]) == (0, "status")

    @pytest.mark.parametrize("arguments", [["-q", "status"], ["status", "-q"]])
    def test_quiet(self, arguments: list[str], site: Path) -> None:
        result = mps(*arguments, "--site-packages", site)
        assert (result.exit_code, result.output) == (0, "")

    @pytest.mark.parametrize(
        "arguments", [["--json", "status", "--macos", "99"], ["status", "--macos", "99", "--json"]]
    )
    def test_json_of_a_wrong_command_line(self, arguments: list[str]) -> None:
        result = mps(*arguments)
        told = read_document(result.stdout)
        assert (result.exit_code, result.stderr, told["error"]["code"]) == (2, "", "usage")

    @pytest.mark.parametrize("command", ["run", "template", "evaluate", "help", "version"])
    def test_a_command_without_json(self, command: str) -> None:
        result = mps("--json", command)
        error = read_document(result.stdout)["error"]
        assert (result.exit_code, error["message"]) == (2, f"`mps-patcher {command}` has no --json.")

    def test_the_json_of_a_program_is_its_own(self) -> None:
        result = mps("run", "--frobnicate", "--", "script.py", "--json")
        assert (result.exit_code, result.stdout) == (2, "")

    @pytest.mark.parametrize("arguments", [["status", "--python"], ["-q", "status", "--check=1"]])
    def test_what_is_named_for_more_is_the_command(self, arguments: list[str]) -> None:
        """click does not say whose option it is that has no value, or one too many."""
        assert wrong(*arguments)[1] == "Run `mps-patcher status -h` for help."

    def test_an_option_of_a_command_before_it(self) -> None:
        told = wrong("--under", ".", "status")
        assert told == (
            "--under is an option of a command.",
            "Write it after the command: `mps-patcher status --under .`.",
        )
        assert wrong("--device", "mps")[1] == "Write it after the command: `mps-patcher verify --device mps`."

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["doctor", "--json"], ("`mps-patcher doctor` has no --json.", "status, apply, verify, revert, setup")),
            (["apply", "--check"], ("`mps-patcher apply` has no --check.", "status, setup")),
        ],
    )
    def test_an_option_of_another_command(self, arguments: list[str], told: tuple[str, str]) -> None:
        if "--json" in arguments:
            error = read_document(mps(*arguments).stdout)["error"]
            assert (error["message"], error["hint"]) == (told[0], f"It is an option of {told[1]}.")
        else:
            assert wrong(*arguments) == (told[0], f"It is an option of {told[1]}.")


class TestPrograms:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("gen.py", "-- gen.py"),
            ("--python .venv 'my gen.py' --fast", "--python .venv -- 'my gen.py' --fast"),
            ("--emulate python gen.py -- --fast", "--emulate -- gen.py -- --fast"),
            ("--emulate -- python gen.py", "--emulate -- gen.py"),
            ("-- python -m pytest", "-- -m pytest"),
        ],
    )
    def test_a_script_as_it_is_often_typed(self, typed: str, meant: str) -> None:
        assert wrong("run", *shlex.split(typed))[1] == f"Did you mean `mps-patcher run {meant}`?"


class TestCommands:
    @pytest.mark.parametrize(
        ("typed", "meant"),
        [("aply", "apply"), ("stauts", "status"), ("Verify", "verify"), ("rev", "revert"), ("reverse", "revert"),
         ("evalute", "evaluate"), ("versions", "version"), ("install", "apply"), ("Undo", "revert"),
         ("uninstall", "revert"), ("fix", "apply")],
    )  # fmt: skip
    def test_a_misspelt_one(self, typed: str, meant: str) -> None:
        assert wrong(typed) == (f"There is no command {typed!r}.", f"Did you mean `mps-patcher {meant}`?")
        assert wrong("help", typed) == (f"There is no command {typed!r}.", f"Did you mean `mps-patcher {meant}`?")

    @pytest.mark.parametrize("typed", ["xyz", "", "isin_mps_friendly"])
    def test_an_unknown_one(self, typed: str) -> None:
        shown = [name for name, command in cli.program.commands.items() if not command.hidden]
        listed = f"The commands are: {', '.join(shown)}."
        assert wrong(typed) == (f"There is no command {typed!r}.", listed)

    @pytest.mark.parametrize("arguments", [["-V"], ["--version"], ["version"], ["status", "-V"]])
    def test_version(self, arguments: list[str]) -> None:
        result = mps(*arguments)
        assert (result.exit_code, result.output) == (0, f"mps-patcher {__version__}\n")

    @pytest.mark.parametrize("arguments", [["-q"], ["--color", "never"]])
    def test_none(self, arguments: list[str]) -> None:
        assert wrong(*arguments)[0] == "Missing command."


class TestPatches:
    def test_dashes_are_underscores(self, site: Path) -> None:
        result = mps("status", "isin-mps-friendly", "isin_mps_friendly", "--json", "--site-packages", site)
        assert [one["patch"] for one in json.loads(result.stdout)["results"]] == ["isin_mps_friendly"]

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [("isin", "isin_mps_friendly"), ("direct", "direct_isin"), ("direct-isn", "direct_isin"),
         ("ISIN_MPS_FRIENDLY", "isin_mps_friendly"), ("isin_mps_freindly", "isin_mps_friendly")],
    )  # fmt: skip
    def test_another_name_is_corrected_and_not_taken(self, typed: str, meant: str) -> None:
        assert wrong("apply", typed) == (f"There is no patch {typed!r}.", f"Did you mean {meant}?")

    def test_an_unknown_one(self) -> None:
        listed = f"The patches are: {', '.join(patch.name for patch in load_catalogue())}."
        assert wrong("apply", "transformers")[1] == listed
        assert wrong("apply", "")[1] == listed
        assert wrong("apply", "isin_mps_friendly,direct_isin")[1] == listed  # a half of them is not what was meant

    def test_a_folder_is_no_patch(self, tmp_path: Path) -> None:
        assert wrong("status", tmp_path)[1] == f"Did you mean --python {tmp_path}?"
        assert wrong("status", "./my env")[1] == "Did you mean --python './my env'?"

    def test_what_was_meant(self) -> None:
        assert did_you_mean("x", ["ab", "ac"]) is None
        assert did_you_mean("ab", ["abc", "xyz"]) == "abc"


class TestVersions:
    @pytest.mark.parametrize("typed", ["2.6", "2.6.1", "2.6.0+cpu", "v2.6.0", "2.6.0.dev20250101", "2.6.0a0+git12ab"])
    @pytest.mark.parametrize("command", [["verify"], ["run", "--emulate"]])
    def test_of_torch_the_release_counts(self, command: list[str], typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
        seen = given(monkeypatch, *command, "--torch", typed)
        assert seen["torch"] == "2.6"

    @pytest.mark.parametrize("typed", ["9.9", "1.13", "2", "2.15", "1.13.1+cpu", "two", "torch==2.6", "", "2.x", "-1"])
    def test_an_unknown_torch(self, typed: str) -> None:
        for command in (["verify"], ["run", "--emulate"]):
            cause, hint = wrong(*command, f"--torch={typed}")
            assert cause == f"--torch: {typed!r} is not a known release of torch."
            assert hint == "Choose one from 2.0 to 2.14."

    @pytest.mark.parametrize(
        ("typed", "means"),
        [("12", "12.3"), ("12.3", "12.3"), ("12.7.6", "12.7.6"), ("13", "13"), ("13.6", "13.6"), ("14.5.1", "14.5.1"),
         ("15", "15"), ("26", "26"), ("26.2", "26.2")],
    )  # fmt: skip
    def test_of_macos(self, typed: str, means: str, monkeypatch: pytest.MonkeyPatch) -> None:
        for command in ("status", "apply", "verify", "run"):
            assert given(monkeypatch, command, "--macos", typed)["macos"] == means

    @pytest.mark.parametrize(
        "typed", ["99", "11", "10.16", "12.0", "12.2.1", "16", "25.1", "Sonoma", "14rc1", "14.1.2.3", ""]
    )
    def test_an_unknown_macos(self, typed: str) -> None:
        for command in ("status", "apply", "verify", "run"):
            cause, hint = wrong(command, f"--macos={typed}")
            assert cause == f"--macos: {typed!r} is not a known macOS."
            assert hint == "Choose 12.3, 13, 14, 15 or 26."


def given(monkeypatch: pytest.MonkeyPatch, command: str, *arguments: str) -> dict[str, Any]:
    """The settings that a command gets of its command line."""
    seen: dict[str, Any] = {}
    words = ["--", "script.py"] if command == "run" else []
    called: Any = cli.program.commands[command]
    monkeypatch.setattr(called, "callback", lambda **settings: seen.update(settings))
    assert mps(command, *arguments, *words).exit_code == 0
    return seen


@pytest.mark.parametrize(
    ("arguments", "span"),
    [
        (("status", "--lock-timeout", "86401"), "from 0 to 86400"),
        (("verify", "--timeout", "0"), "from 1 to 86400"),
        (("evaluate", "--model", "m", "--scenarios", "s", "--repeat", "x"), "of 1 or more"),
    ],
)
def test_a_number_out_of_range(arguments: tuple[str, ...], span: str) -> None:
    cause, _ = wrong(*arguments)
    assert cause == f"Invalid value for '{arguments[-2]}': '{arguments[-1]}' is not a whole number {span}."


def test_a_home_folder_that_the_shell_did_not_expand(site: Path) -> None:
    result = mps("status", f"--site-packages=~/{site.name}", HOME=str(site.parent))
    assert (result.exit_code, str(site) in result.stdout) == (0, True)


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, after `code`."""
    code += "\nfrom patcher.__main__ import main\nmain()"
    command, environ = [sys.executable, "-c", code, *arguments], {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, capture_output=True, text=True, env=environ, check=False)


class TestStart:
    def test_windows(self) -> None:
        """One line, before anything is imported that Windows does not have."""
        gone = "import sys\nsys.platform = 'win32'\nsys.modules.update(fcntl=None, pwd=None, click=None)"
        done = python(gone, "status")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "mps-patcher needs macOS or Linux.\n")

    def test_ctrl_c_while_it_is_loaded(self) -> None:
        interrupt = (
            "import sys, importlib.abc\n"
            "class Interrupt(importlib.abc.MetaPathFinder):\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            "        if name == 'patcher.options': raise KeyboardInterrupt\n"
            "sys.meta_path.insert(0, Interrupt())"
        )
        done = python(interrupt, "status")
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    def test_an_executable_that_is_no_python(self, tmp_path: Path) -> None:
        program = tmp_path / "deploy.sh"
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
        program.chmod(0o755)
        for command in ("status", "apply", "verify", "revert"):
            result = mps(command, "--python", program)
            assert (result.exit_code, len(result.stderr.splitlines())) == (1, 2)
            assert re.search("is not named like a Python interpreter, so it was not started", result.stderr)
        assert not (tmp_path / "started").exists()

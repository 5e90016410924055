"""The command line: options, help, and what reaches the operations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command_line import COMMANDS, PATCH, read, run, two_lines

from patcher import __version__, cli, operations
from patcher.catalogue import load_catalogue


class TestParsing:
    @pytest.mark.parametrize(
        "arguments", [["-h"], ["--help"], *([command, "-h"] for command in (*COMMANDS, "evaluate"))]
    )
    def test_help(self, arguments: list[str]) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout.startswith("Usage: mps-patcher")

    def test_help_tells_the_commands_and_the_exit_codes(self) -> None:
        told = run("-h").stdout
        assert "Exit codes:\n" in told
        assert [line.split()[0] for line in told.partition("Commands:\n")[2].splitlines()[:4]] == list(COMMANDS)

    @pytest.mark.parametrize("command", COMMANDS)
    def test_help_tells_every_option_of_the_contract(self, command: str) -> None:
        own = {
            "status": ["--check", "--macos N"],
            "apply": ["--dry-run", "--diff", "--force", "--no-backup", "--macos N"],
            "verify": ["--static", "--device [auto|mps|emulated]", "--torch X.Y", "--macos N", "--timeout S"],
            "revert": ["--dry-run", "--diff", "--force"],
        }
        places = ["[PATCH]...", "--python PATH", "--site-packages DIR", "--under DIR", "--lock-timeout S", "--json"]
        everywhere = ["-q, --quiet", "-v, --verbose", "--color [auto|always|never]", "-V, --version", "-h, --help"]
        told = run(command, "-h").stdout
        for option in [*own[command], *places, *everywhere]:
            assert option in told

    @pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["status", "--version"], ["revert", "-V"]])
    def test_version(self, arguments: list[str]) -> None:
        assert run(*arguments).stdout == f"mps-patcher {__version__}\n"

    WRONG = (
        (["--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        *(([command, "--nonsense"], "--nonsense") for command in COMMANDS),
        *(([command, "--color", "blue"], "blue") for command in COMMANDS),
        (["status", "-q", "-v"], "--quiet"),
        (["-q", "status", "-v"], "--quiet"),
        (["status", "--dry-run"], "--dry-run"),
        (["apply", "--check"], "--check"),
        (["revert", "--no-backup"], "--no-backup"),
        (["revert", "--macos", "14"], "--macos"),
        (["apply", "--python"], "--python"),
        *(([command, "--lock-timeout", "-1"], "--lock-timeout") for command in COMMANDS),
        (["apply", "--lock-timeout", "soon"], "--lock-timeout"),
        (["verify", "--device", "cuda"], "cuda"),
        (["verify", "--torch", "2"], "2.1"),
        (["verify", "--torch", "\N{FULLWIDTH DIGIT TWO}.\N{FULLWIDTH DIGIT ONE}"], "2.1"),
        *(([command, "--macos", "Ventura"], "Ventura") for command in ("status", "apply", "verify")),
        (["status", "--macos", "14rc1"], "14rc1"),
        (["status", "--macos", "1.2.3.4"], "1.2.3.4"),
        (["verify", "--timeout", "0"], "--timeout"),
        (["verify", "--timeout", "nan"], "--timeout"),
        (["verify", "--static", "--device", "auto"], "--static"),
        (["verify", "--static", "--torch", "2.1"], "--static"),
        (["verify", "--static", "--macos", "13"], "--static"),
        (["verify", "--device", "mps", "--torch", "2.1"], "--device"),
        (["verify", "--device", "mps", "--macos", "13"], "--device"),
        *(([command, "no_such_patch"], PATCH) for command in COMMANDS),
        *((["status", option, ""], "the path is empty") for option in ("--python", "--site-packages", "--under")),
    )

    @pytest.mark.parametrize(("arguments", "names"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
    def test_a_wrong_command_line(self, arguments: list[str], names: str) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        _, hint = two_lines(result.stderr)
        assert names in result.stderr
        if "-h" in hint:
            command = next((f" {word}" for word in arguments if word in COMMANDS), "")
            assert hint == f"Run `mps-patcher{command} -h` for help."

    @pytest.mark.parametrize(
        "arguments",
        [arguments for arguments, _ in WRONG if arguments[-1:] != ["--python"]],  # that would take --json for its value
        ids=" ".join,
    )
    def test_a_wrong_command_line_as_json(self, arguments: list[str]) -> None:
        result = run(*arguments, "--json")
        told = read(result)
        assert (result.exit_code, result.stderr, told["results"]) == (2, "", [])
        assert told["command"] == next((word for word in arguments if word in COMMANDS), None)
        assert told["error"]["code"] == ("unknown-patch" if "no_such_patch" in arguments else "usage")

    def test_the_commands_are_those_of_the_contract(self) -> None:
        expected = [*COMMANDS, "setup", "explain", "doctor", "run", "template", "evaluate", "help", "version"]
        assert list(cli.program.commands) == expected

    def test_naming_a_patch_twice_is_naming_it_once(self, site: Path) -> None:
        result = run("status", PATCH, PATCH, "--json", "--site-packages", site)
        assert [one["patch"] for one in read(result)["results"]] == [PATCH]

    def test_every_setting_reaches_the_operation(self, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
        asked: dict[str, Any] = {}

        def note(targets: Any, patches: Any, **settings: Any) -> tuple[()]:
            asked.update(settings, sites=[one.site_packages for one in targets], names=[one.name for one in patches])
            asked["seconds"] = asked.pop("lock").seconds
            return ()

        for name in ("status", "apply", "revert"):
            monkeypatch.setattr(operations, name, note)
        there = {"sites": [site], "names": [patch.name for patch in load_catalogue()], "seconds": 30}
        written = {"dry_run": False, "diff": False, "force": False}
        for arguments, settings in (
            (["status"], {"macos": None}),
            (["status", "--macos", "14.5.1"], {"macos": "14.5.1"}),
            (["apply"], {**written, "named": False, "backup": True, "macos": None}),
            (["apply", PATCH], {**written, "named": True, "backup": True, "macos": None, "names": [PATCH]}),
            (
                ["apply", "--no-backup", "--dry-run", "--diff", "--force", "--lock-timeout", "0", "--macos", "13"],
                {"dry_run": True, "diff": True, "force": True, "backup": False, "named": False, "macos": "13",
                 "seconds": 0},
            ),
            (["revert"], written),
            (["revert", "--force"], {**written, "force": True}),
        ):  # fmt: skip
            asked.clear()
            assert run(*arguments, "--site-packages", site).exit_code == 0
            assert asked == {**there, **settings}

    def test_verify_gets_what_was_asked(self, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
        verify = pytest.importorskip("patcher.verify")
        asked: list[Any] = []

        def note(*values: Any, **settings: Any) -> tuple[()]:
            asked.append((values, settings))
            return ()

        monkeypatch.setattr(verify, "verify_targets", note)
        options = ["--torch", "2.6", "--macos", "13", "--timeout", "9"]
        assert run("verify", *options, "--site-packages", site).exit_code == 0
        assert run("verify", PATCH, "--static", "--site-packages", site).exit_code == 0
        first, second = (values[2] for values, _ in asked)
        assert (first.device, first.torch, first.macos, first.static, first.timeout) == ("auto", "2.6", "13", False, 9)
        assert (second.device, second.torch, second.macos, second.static, second.timeout) == (
            "auto", None, None, True, 600,
        )  # fmt: skip
        assert [settings["named"] for _, settings in asked] == [False, True]

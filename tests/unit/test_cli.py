"""The command-line contract: options, exit codes, one JSON document, and what goes to which stream."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from documents import read_document

from patcher import __version__, cli, operations
from patcher.catalogue import load_catalogue
from patcher.commands import patching
from patcher.errors import CannotTell, PatcherError
from patcher.model import Check, Effect, Impact, NotFound, State
from patcher.model import Result as Outcome
from patcher.options import OutputOptions

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("status", "apply", "verify", "revert")
PATCH = "isin_mps_friendly"
needs_full_device = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
MAIN = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # ignored in the background of a script
    "from patcher.__main__ import main; main()"
)


def run(*arguments: object, **environment: str) -> Result:
    """One command line in this process."""
    runner = CliRunner(env=environment)
    return runner.invoke(cli.program, [str(argument) for argument in arguments], prog_name="mps-patcher")


def command(*arguments: object) -> list[str]:
    """One command line as a process of its own, which Ctrl-C reaches wherever the tests run."""
    return [sys.executable, "-c", MAIN, *map(str, arguments)]


def environ(**extra: str) -> dict[str, str]:
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return {**base, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "", **extra}


def start(*arguments: object, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """What such a process says."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, cwd=cwd, env=environ(**extra), check=False
    )


def read(result: Result) -> dict[str, Any]:
    """The one JSON document that is all of standard output."""
    told = read_document(result.stdout)
    assert told["ok"] == (result.exit_code == 0)
    return told


def two_lines(stderr: str) -> tuple[str, str]:
    """The cause and the hint that are all of standard error."""
    cause, hint = stderr.splitlines()
    assert (cause[:7], hint[:6]) == ("error: ", "hint: ")
    return cause[7:], hint[6:]


def patched_file(site_packages: Path) -> Path:
    return site_packages / "transformers" / "pytorch_utils.py"


def edit(site_packages: Path) -> None:
    """Gives the function a body that nobody knows."""
    file = patched_file(site_packages)
    file.write_bytes(file.read_bytes().replace(b"return torch.isin(elements, test_elements)", b"return None"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def site(unpacked: Callable[..., Path]) -> Path:
    """A site-packages folder with an unpatched transformers 4.45.1."""
    return unpacked()


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
        ([], "command"),
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
        (["verify", "--torch", "2.1.0"], "2.1"),
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
        if "-h" in hint and arguments[-1:] != ["--python"]:  # click does not say whose option has no value
            command = next((f" {word}" for word in arguments if word in COMMANDS), "")
            assert hint == f"`mps-patcher{command} -h` tells what it accepts."

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
        assert list(cli.program.commands) == [*COMMANDS, "explain", "doctor", "run", "template", "evaluate"]

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
        assert told == [(None, "no-transformers"), ("modified", "unknown-body"), ("patched", None)]
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


class TestStreams:
    def test_text_goes_to_stdout_and_errors_to_stderr(self, site: Path, tmp_path: Path) -> None:
        result = run("status", "--site-packages", site, "--site-packages", tmp_path)
        assert "isin_mps_friendly: unpatched" in result.stdout
        assert "error:" not in result.stdout
        two_lines(result.stderr)

    @pytest.mark.parametrize("arguments", [["-q", "apply"], ["apply", "-q"]])
    def test_quiet_says_nothing_of_success(self, arguments: list[str], site: Path) -> None:
        result = run(*arguments, "--site-packages", site)
        assert (result.exit_code, result.output) == (0, "")

    def test_quiet_still_tells_errors_and_shows_a_diff(self, site: Path, tmp_path: Path) -> None:
        assert "error:" in run("status", "-q", "--site-packages", tmp_path).stderr
        assert run("apply", "-q", "--diff", "--site-packages", site).stdout.startswith("---")

    @pytest.mark.parametrize("arguments", [["-v", "status"], ["status", "-v"]])
    def test_verbose_shows_digests(self, arguments: list[str], site: Path) -> None:
        assert "sha256" in run(*arguments, "--site-packages", site).stdout

    def test_the_next_command_names_the_target_where_the_user_did(self, site: Path) -> None:
        assert f"next: mps-patcher apply --site-packages {site}" in run("status", "--site-packages", site).stdout

    @pytest.mark.parametrize(("name", "shown"), [("s\u65e5", "s\\u65e5"), (os.fsdecode(b"s\xff"), "s\\udcff")])
    def test_a_path_that_the_terminal_cannot_show(self, site: Path, name: str, shown: str) -> None:
        odd = site.with_name(name)
        try:
            site.rename(odd)
        except OSError:
            pytest.skip("this file system refuses the name")
        done = start("status", "--site-packages", odd, PYTHONIOENCODING="latin-1")
        assert (done.returncode, done.stderr) == (0, "")
        assert shown in done.stdout

    def test_control_characters_of_a_path_are_shown_and_stay_one_line(self, site: Path) -> None:
        odd = site.with_name("a\n\x1b[31mb")
        site.rename(odd)
        result = run("status", "--site-packages", odd, "--site-packages", f"{odd}/none", "--color", "always")
        assert "a\\n\\x1b[31mb" in result.stdout
        assert "a\\n\\x1b[31mb/none" in result.stderr
        assert len(result.stderr.splitlines()) == 2
        for text in (result.stdout, result.stderr):
            assert "\x1b[31mb" not in text

    @pytest.mark.parametrize("is_terminal", [True, False])
    def test_text_is_as_wide_as_the_terminal(
        self, is_terminal: bool, monkeypatch: pytest.MonkeyPatch, site: Path
    ) -> None:
        out = StringIO()
        monkeypatch.setattr(out, "isatty", lambda: is_terminal, raising=False)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setenv("COLUMNS", "60")
        monkeypatch.setenv("NO_COLOR", "1")
        with pytest.raises(SystemExit, match="0"):
            cli.program(["status", "--site-packages", str(site)])
        sentences = [len(line) for line in out.getvalue().splitlines() if str(site) not in line]
        assert (max(sentences) <= 60) == is_terminal

    def test_a_gone_reader_is_no_failure(self, site: Path) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            command("apply", "--json", "--site-packages", site),
            stdout=writer, stderr=subprocess.PIPE, env=environ(), check=False,
        )  # fmt: skip
        os.close(writer)
        assert (done.returncode, done.stderr) == (0, b"")
        assert run("status", "--check", "--site-packages", site).exit_code == 0

    @needs_full_device
    @pytest.mark.parametrize(
        "options", [[], ["--json"], ["--json", "--color=blue"], ["--json", "no_such_patch"]], ids=" ".join
    )
    def test_an_output_that_cannot_be_written_is_a_failure(self, site: Path, options: list[str]) -> None:
        line = command("status", "--site-packages", site, *options)
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, env=environ(), check=False)
        assert done.returncode == (1 if options in ([], ["--json"]) else 2)
        assert two_lines(done.stderr)[0] == "The output cannot be written: No space left on device."

    @needs_full_device
    @pytest.mark.parametrize("arguments", [["--version"], ["-h"], ["apply", "-h"]], ids=" ".join)
    def test_help_that_cannot_be_written_is_a_failure(self, arguments: list[str]) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, env=environ(), check=False
            )
        assert done.returncode != 0
        assert "No space left on device" in done.stderr
        assert "Traceback" not in done.stderr

    @needs_full_device
    def test_an_error_that_nobody_can_be_told_of_still_has_its_exit_code(self, tmp_path: Path) -> None:
        with Path("/dev/full").open("w") as full:
            line = command("status", "--site-packages", tmp_path)
            assert subprocess.run(line, stderr=full, env=environ(), check=False).returncode == 3

    def test_closed_streams_do_not_matter(self, site: Path) -> None:
        line = f"'{sys.executable}' -m patcher status --check --site-packages '{site}' >&- 2>&-"
        assert subprocess.run(["sh", "-c", line], env=environ(), check=False).returncode == 4


class TestColors:
    @pytest.mark.parametrize(
        ("asked", "environment", "colors"),
        [
            ("auto", {}, None),
            ("auto", {"NO_COLOR": "1"}, False),
            ("auto", {"NO_COLOR": ""}, None),
            ("auto", {"FORCE_COLOR": "1"}, True),
            ("auto", {"FORCE_COLOR": "1", "TERM": "dumb"}, True),
            ("auto", {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
            ("auto", {"TERM": "dumb"}, False),
            ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
            ("never", {"FORCE_COLOR": "1"}, False),
        ],
    )
    def test_who_decides(
        self, asked: str, environment: dict[str, str], colors: bool | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("NO_COLOR", "FORCE_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert OutputOptions(command=None, json=False, color=asked).colors() is colors

    @pytest.mark.parametrize(
        ("arguments", "environment", "colored"),
        [
            ([], {}, True),
            ([], {"NO_COLOR": "1"}, False),
            (["--color=never"], {}, False),
        ],
    )
    def test_on_a_terminal(self, arguments: list[str], environment: dict[str, str], colored: bool, site: Path) -> None:
        told = on_terminal(["status", *arguments, "--site-packages", str(site)], {"TERM": "xterm", **environment})
        assert ("\033[" in told) == colored

    def test_not_in_a_pipe_unless_asked_for(self, site: Path) -> None:
        assert "\033" not in start("status", "--site-packages", site).stdout
        assert "\033[" in start("--color", "always", "status", "--site-packages", site).stdout
        assert "\033[" in start("status", "--site-packages", site, FORCE_COLOR="1").stdout
        # whatever is wrong with another option, and wherever it stands
        assert "\033[" in run("status", "--lock-timeout", "soon", "--color", "always").stderr


def on_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What a command writes to a terminal, both streams."""
    ours, theirs = os.openpty()
    with subprocess.Popen(command(*arguments), stdout=theirs, stderr=theirs, env=environ(**environment)):
        os.close(theirs)
        told = bytearray()
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # what Linux says at the end
                part = b""
            if not part:
                break
            told += part
    os.close(ours)
    return told.decode()


class TestTheBoundary:
    @pytest.mark.parametrize("json_too", [False, True])
    def test_an_error_that_ends_the_run_is_told(
        self, monkeypatch: pytest.MonkeyPatch, site: Path, json_too: bool
    ) -> None:
        break_status(monkeypatch, CannotTell("no-transformers", "Odd.", "Be even."))
        result = run("status", "--site-packages", site, *(["--json"] if json_too else []))
        assert result.exit_code == 3
        if json_too:
            assert read(result)["error"]["code"] == "no-transformers"
        else:
            assert two_lines(result.stderr) == ("Odd.", "Be even.")

    def test_a_defect_is_told_in_two_lines(self, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
        break_status(monkeypatch, ZeroDivisionError("on\ntwo lines"))
        result = run("status", "--site-packages", site)
        cause, hint = two_lines(result.stderr)
        assert (result.exit_code, result.stdout) == (1, "")
        assert cause == r"Unexpected ZeroDivisionError: on\ntwo lines"
        assert "report" in hint
        assert read(run("status", "--json", "--site-packages", site))["error"]["code"] == "defect"

    def test_what_the_system_refuses_is_no_defect(self, monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
        break_status(monkeypatch, OSError(24, "Too many open files", "/srv/x"))
        result = run("status", "--site-packages", site)
        assert result.exit_code == 1
        assert two_lines(result.stderr)[0] == "[Errno 24] Too many open files: '/srv/x'."
        assert read(run("status", "--json", "--site-packages", site))["error"]["code"] == "os-error"

    @pytest.mark.parametrize("option", ["-v", "--verbose"])
    def test_a_defect_shows_its_traceback_where_asked(
        self, monkeypatch: pytest.MonkeyPatch, site: Path, option: str
    ) -> None:
        break_status(monkeypatch, ZeroDivisionError())
        told = run("status", option, "--site-packages", site).stderr
        assert "Traceback" in told
        assert "in fail" in told
        break_status(monkeypatch, CannotTell("no-transformers", "Odd.", "Be even."))
        assert "Traceback" not in run("status", option, "--site-packages", site).stderr

    @pytest.mark.parametrize("json_too", [False, True])
    def test_ctrl_c(self, monkeypatch: pytest.MonkeyPatch, site: Path, json_too: bool) -> None:
        break_status(monkeypatch, KeyboardInterrupt())
        result = run("status", "--site-packages", site, *(["--json"] if json_too else []))
        assert result.exit_code == 130
        if json_too:
            assert (read(result)["error"]["code"], result.stderr) == ("interrupted", "")
        else:
            assert two_lines(result.stderr)[0] == "Interrupted."


def break_status(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(operations, "status", fail)


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_interpreter_that_is_asked_ends_too(self, tmp_path: Path, number: signal.Signals) -> None:
        slow = tmp_path / "python"
        slow.write_text(
            f"#!/bin/sh\necho $$ > '{tmp_path}/pid.new'; mv '{tmp_path}/pid.new' '{tmp_path}/pid'; exec sleep 60\n"
        )
        slow.chmod(0o755)
        with Popen("status", "--python", slow) as process:
            wait_for(lambda: (tmp_path / "pid").exists())
            process.send_signal(number)
            out, errors = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, "")
        assert two_lines(errors)[0] == "Interrupted."
        asked = int((tmp_path / "pid").read_text())
        wait_for(lambda: not is_running(asked))

    @pytest.mark.parametrize("milliseconds", range(40, 400, 60))
    def test_no_half_written_file_is_left(self, site: Path, milliseconds: int) -> None:
        before = contents(site)
        with Popen("apply", "--site-packages", site) as process:
            time.sleep(milliseconds / 1000)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
        original, now = before[patched_file(site)], patched_file(site).read_bytes()
        assert now == original or b"mps-patcher" in now
        assert run("apply", "--site-packages", site).exit_code == 0
        assert run("status", "--check", "--site-packages", site).exit_code == 0
        assert run("revert", "--site-packages", site).exit_code == 0
        assert contents(site) == before


class Popen(subprocess.Popen[str]):
    """A command that is sent signals."""

    def __init__(self, *arguments: object, stderr: Any = subprocess.PIPE) -> None:
        super().__init__(command(*arguments), stdout=subprocess.PIPE, stderr=stderr, text=True, env=environ())


def wait_for(condition: Callable[[], bool]) -> None:
    """Returns once it holds; fails where it does not within a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def busy(site: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works on the site until it is killed."""
    (folder,) = site.glob("transformers-*.dist-info")
    script = (
        "import fcntl, os, sys, time\n"
        "fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)\n"
        "print(flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield holder
        holder.kill()


@pytest.mark.usefixtures("busy")
class TestWaiting:
    @pytest.mark.parametrize("command", ["status", "apply", "verify --static", "revert"])
    def test_as_long_as_was_asked(self, command: str, site: Path) -> None:
        (folder,) = site.glob("transformers-*.dist-info")
        for options in (["--json"], ["--quiet"]):
            began = time.monotonic()
            result = run(*command.split(), PATCH, *options, "--lock-timeout", 1, "--site-packages", site)
            assert 1 <= time.monotonic() - began < 10
            assert result.exit_code == 1
            told = [line for line in result.stderr.splitlines() if line.startswith("Waiting for another mps-patcher")]
            if options == ["--quiet"]:
                assert told == []
                continue
            assert result.stderr.splitlines() == told
            assert [f"{folder}, for at most 1 s." in line for line in told] == [True]
            (only,) = read(result)["results"]
            assert only["error"]["code"] == "locked"
            assert str(folder) in only["error"]["message"]

    def test_who_does_not_want_to_wait_need_not(self, site: Path) -> None:
        began = time.monotonic()
        result = run("apply", "--json", "--lock-timeout", 0, "--site-packages", site)
        assert time.monotonic() - began < 1
        assert (result.exit_code, result.stderr) == (1, "")
        assert read(result)["results"][0]["error"]["code"] == "locked"

    def test_it_goes_on_as_soon_as_the_other_is_dead(self, site: Path, busy: subprocess.Popen[bytes]) -> None:
        with Popen("apply", "--json", "--site-packages", site) as process:
            until_it_waits(process)
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.5)
            busy.kill()
            told, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "")
        assert read_document(told)["results"][0]["state"] == "patched"

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_who_waits_can_be_interrupted(self, site: Path, number: signal.Signals) -> None:
        before = contents(site)
        with Popen("apply", "--json", "--site-packages", site) as process:
            until_it_waits(process)
            process.send_signal(number)
            told, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (130, "")
        assert read_document(told)["error"]["code"] == "interrupted"
        assert contents(site) == before

    @needs_full_device
    def test_a_wait_that_cannot_be_told_of_is_a_wait(self, site: Path, busy: subprocess.Popen[bytes]) -> None:
        with Path("/dev/full").open("w") as full, Popen("apply", "--json", "--site-packages", site, stderr=full) as one:
            with pytest.raises(subprocess.TimeoutExpired):
                one.wait(1.5)
            busy.kill()
            told, _ = one.communicate(timeout=60)
        assert one.returncode == 0
        assert read_document(told)["ok"]


def until_it_waits(process: subprocess.Popen[str]) -> None:
    assert process.stderr
    assert process.stderr.readline().startswith("Waiting for another mps-patcher")

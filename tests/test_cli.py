"""The command-line contract: options, exit codes, one JSON document, and what goes to which stream."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from patcher import __main__ as beginning
from patcher import __version__, cli, flags
from patcher.change import operations
from patcher.errors import CannotTell, PatcherError
from patcher.model import Check, Need, NotFound, State
from patcher.model import Result as Outcome
from patches import CATALOGUE

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = ("status", "apply", "verify", "revert")
PATCH = "isin_mps_friendly"


def run(*arguments: object, **extra: str) -> Result:
    """One command line in this process."""
    return CliRunner(env=extra).invoke(cli.main, [str(argument) for argument in arguments], prog_name="mps-patcher")


def start(*arguments: object, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    """One command line as a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **extra}
    command = [sys.executable, "-m", "patcher", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def read(result: Result) -> dict[str, Any]:
    """The one JSON document that is all of standard output."""
    told = json.loads(result.stdout)
    assert (told["schema"], told["ok"]) == (1, result.exit_code == 0)
    assert isinstance(told, dict)
    return told


def patched_file(site_packages: Path) -> Path:
    return site_packages / "transformers" / "pytorch_utils.py"


def edit(site_packages: Path) -> None:
    """Gives the function a body that nobody knows."""
    file = patched_file(site_packages)
    file.write_bytes(file.read_bytes().replace(b"return torch.isin(elements, test_elements)", b"return None"))


@pytest.fixture
def place(unpacked: Callable[..., Path]) -> Path:
    """A site-packages folder with an unpatched transformers 4.45.1."""
    return unpacked()


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], *([command, "-h"] for command in COMMANDS)])
def test_help(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: mps-patcher")
    assert result.stderr == ""


def test_help_tells_the_exit_codes() -> None:
    assert "Exit codes:\n" in run("-h").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_every_option_of_the_contract(command: str) -> None:
    told = run(command, "-h").stdout
    own = {
        "status": ["--check"],
        "apply": ["--dry-run", "--diff", "--force"],
        "verify": ["--static", "--device [auto|mps|emulated]", "--torch X.Y", "--macos N", "--timeout S"],
        "revert": ["--dry-run", "--diff", "--force"],
    }
    helped = {
        "--dry-run": "Change nothing; say what would be done.",
        "--diff": "Show what changes.",
        "--force": "Go on where the function or the file is not the expected one.",
        "--static": "Prove source and bytecode only, without running transformers.",
        "--device": "The real MPS, an emulated one, or auto: real where there is one.",
        "--torch X.Y": "Emulate the rules of this torch. [default: the installed one]",
        "--macos N": "Emulate the rules of this macOS. [default: the oldest that the torch supports]",
        "--timeout S": "Seconds until the self-test of a target is given up. [default: 600]",
        "--check": "Exit 4 if a target needs a patch that it does not hold.",
    }
    for option in own[command]:
        assert helped[option.partition(" [")[0]] in " ".join(told.split())
    everywhere = ["-q, --quiet", "-v, --verbose", "--color [auto|always|never]", "--version", "-h, --help", "--json"]
    places = ["[PATCH]...", "--python PATH", "--site-packages DIR", "--under DIR", "--lock-timeout S"]
    for option in [*own[command], *everywhere, *places]:
        assert option in told


@pytest.mark.parametrize("arguments", [["--version"], ["status", "--version"]])
def test_version(arguments: list[str]) -> None:
    assert run(*arguments).stdout == f"mps-patcher {__version__}\n"


WRONG = [
    (["--nonsense"], "--nonsense"),
    (["nonsense"], "nonsense"),
    ([], "command"),
    *(([command, "--nonsense"], "--nonsense") for command in COMMANDS),
    *(([command, "--color", "blue"], "blue") for command in COMMANDS),
    (["status", "-q", "-v"], "--quiet"),
    (["-q", "status", "-v"], "--quiet"),
    (["status", "--dry-run"], "--dry-run"),
    (["apply", "--check"], "--check"),
    (["apply", "--python"], "--python"),
    *(([command, "--lock-timeout", "-1"], "--lock-timeout") for command in COMMANDS),
    (["apply", "--lock-timeout", "soon"], "--lock-timeout"),
    (["verify", "--device", "cuda"], "cuda"),
    (["verify", "--torch", "2"], "2.1"),
    (["verify", "--torch", "2.1.0"], "2.1"),
    (["verify", "--torch", "\N{FULLWIDTH DIGIT TWO}.\N{FULLWIDTH DIGIT ONE}"], "2.1"),
    (["verify", "--macos", "Ventura"], "Ventura"),
    (["verify", "--timeout", "0"], "--timeout"),
    (["verify", "--timeout", "nan"], "--timeout"),
    (["verify", "--static", "--device", "auto"], "--static"),
    (["verify", "--static", "--torch", "2.1"], "--static"),
    (["verify", "--static", "--macos", "13"], "--static"),
    (["verify", "--device", "mps", "--torch", "2.1"], "--device"),
    (["verify", "--device", "mps", "--macos", "13"], "--device"),
    *(([command, "no_such_patch"], PATCH) for command in COMMANDS),
]


@pytest.mark.parametrize(("arguments", "names"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_command_line(arguments: list[str], names: str) -> None:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    cause, hint = result.stderr.splitlines()
    assert cause.startswith("error: ")
    assert hint.startswith("hint: ")
    assert names in result.stderr
    if "-h" in hint and arguments[-1:] != ["--python"]:  # click does not say whose option has no value
        command = next((f" {word}" for word in arguments if word in COMMANDS), "")
        assert hint == f"hint: `mps-patcher{command} -h` tells what it accepts."


@pytest.mark.parametrize(
    "arguments",
    [arguments for arguments, _ in WRONG if arguments[-1:] != ["--python"]],  # that would take --json for its value
    ids=" ".join,
)
def test_a_wrong_command_line_as_json(arguments: list[str]) -> None:
    result = run(*arguments, "--json")
    told = read(result)
    assert (result.exit_code, result.stderr, told["results"]) == (2, "", [])
    assert told["command"] == next((word for word in arguments if word in COMMANDS), None)
    assert set(told["error"]) == {"code", "message", "hint"}
    assert told["error"]["code"] == ("unknown-patch" if "no_such_patch" in arguments else "usage")


@pytest.mark.parametrize("command", COMMANDS)
def test_json_where_there_is_no_transformers(command: str, tmp_path: Path) -> None:
    result = run(command, "--json", "--site-packages", tmp_path)
    told = read(result)
    assert (result.exit_code, result.stderr, told["command"]) == (3, "", command)
    (only,) = told["results"]
    assert only["error"]["code"] == "no-transformers"
    assert only["target"]["site_packages"] == str(tmp_path)


def test_json_through_the_whole_round(place: Path) -> None:
    told = {}
    for command in ("status", "apply", "status", "verify --static", "revert"):
        result = run(*command.split(), "--json", "--site-packages", place)
        assert (result.exit_code, result.stderr) == (0, ""), command
        told[command], *others = read(result)["results"]
        assert [(other["patch"], other["state"]) for other in others] == (
            [("direct_isin", "absent")] if command == "status" else []
        )
    assert told["apply"]["changed"]
    assert told["apply"]["sha256"]["before"] == told["revert"]["sha256"]["after"]
    assert told["status"]["state"] == told["apply"]["state"] == "patched"
    assert [check["status"] for check in told["verify --static"]["checks"][:2]] == ["passed", "passed"]
    assert told["revert"]["state"] == "unpatched"


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_json_of_a_refusal(command: str, place: Path) -> None:
    if command == "revert":
        assert run("apply", "--site-packages", place).exit_code == 0
        with patched_file(place).open("ab") as file:
            file.write(b"# edited\n")
    else:
        edit(place)
    before = patched_file(place).read_bytes()
    result = run(command, "--json", "--site-packages", place)
    (only,) = read(result)["results"]
    assert (result.exit_code, only["state"], only["changed"]) == (1, "modified", False)
    assert only["error"]["hint"]
    assert patched_file(place).read_bytes() == before


def test_verify_of_an_unpatched_target_fails(place: Path) -> None:
    result = run("verify", "--static", "--json", "--site-packages", place)
    assert result.exit_code == 1
    assert "failed" in {check["status"] for check in read(result)["results"][0]["checks"]}


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_dry_run_changes_nothing_and_diff_shows_what_would(command: str, place: Path) -> None:
    if command == "revert":
        assert run("apply", "--site-packages", place).exit_code == 0
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    result = run(command, "--dry-run", "--diff", "--site-packages", place)
    assert result.exit_code == 0
    assert "@@" in result.stdout
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_check_tells_whether_a_target_is_patched(place: Path) -> None:
    assert run("status", "--site-packages", place).exit_code == 0
    assert run("status", "--check", "--site-packages", place).exit_code == 4
    assert run("apply", "--site-packages", place).exit_code == 0
    assert run("status", "--check", "--site-packages", place).exit_code == 0


def test_check_is_content_with_a_target_that_needs_no_patch(unpacked: Callable[..., Path]) -> None:
    assert run("status", "--check", "--site-packages", unpacked("4.39.3")).exit_code == 0


def test_what_a_target_has_nothing_for_is_told_of_where_there_is_nothing_else(unpacked: Callable[..., Path]) -> None:
    place = unpacked("4.39.3")
    for command in ("status", "apply", "verify --static", "revert"):
        result = run(*command.split(), "--json", "--site-packages", place)
        assert result.exit_code == 0
        assert [one["state"] for one in read(result)["results"]] == ["absent", "absent"]


def outcome(**settings: Any) -> Outcome:
    target = NotFound(python=None, site_packages=None, error=PatcherError("x", "x", "x"))
    return Outcome(target=target, **{"patch": PATCH, "file": None, "state": State.PATCHED, **settings})


FINE = outcome()
UNPATCHED = outcome(state=State.UNPATCHED, need=Need(needed=True, reason=""))
UNKNOWN = outcome(state=None, error=CannotTell("no-transformers", "", ""))
FAILED = outcome(state=None, error=PatcherError("unknown-body", "", ""))


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ((FINE,), 0),
        ((FINE, UNPATCHED), 4),
        ((UNPATCHED, UNKNOWN), 3),
        ((UNKNOWN, FAILED, UNPATCHED), 1),
        ((outcome(state=State.MODIFIED),), 4),
        ((outcome(state=State.INTERRUPTED, need=Need(needed=True, reason="")),), 4),
        ((outcome(state=State.ABSENT),), 0),
        ((outcome(state=State.UNPATCHED, need=Need(needed=False, reason="")),), 0),
        ((outcome(checks=(Check(name="contract", status="failed", detail="", seconds=0.0),)),), 1),
    ],
)
def test_the_worst_exit_code_counts(results: tuple[Outcome, ...], code: int) -> None:
    assert cli.worst(results, check=True) == code
    assert cli.worst(results, check=False) == (0 if code == 4 else code)


IDLE = replace(FINE, patch="direct_isin", state=State.ABSENT, need=Need(needed=False, reason=""))


def test_what_a_target_has_nothing_for_is_left_out_beside_what_it_has() -> None:
    elsewhere = replace(IDLE, target=replace(IDLE.target, python=Path("/other")))
    assert cli.concerned((FINE, IDLE)) == (FINE,)
    assert cli.concerned((IDLE,)) == (IDLE,)
    assert cli.concerned((FINE, IDLE, elsewhere)) == (FINE, elsewhere)
    for told in (
        replace(IDLE, need=Need(needed=True, reason="")),
        replace(IDLE, changed=True),
        replace(IDLE, error=FAILED.error),
        replace(IDLE, state=State.UNPATCHED),
    ):
        assert cli.concerned((FINE, told)) == (FINE, told)


def test_every_target_is_tried(place: Path, unpacked: Callable[..., Path], tmp_path: Path) -> None:
    refused = unpacked()
    edit(refused)
    places = [argument for folder in (tmp_path, refused, place) for argument in ("--site-packages", folder)]
    result = run("apply", "--json", *places)
    told = [(one["state"], one["error"] and one["error"]["code"]) for one in read(result)["results"]]
    assert result.exit_code == 1
    assert told == [(None, "no-transformers"), ("modified", "unknown-body"), ("patched", None)]
    assert run("status", "--site-packages", tmp_path, "--site-packages", place).exit_code == 3


def test_every_target_below_a_folder(place: Path, unpacked: Callable[..., Path]) -> None:
    other = unpacked()
    result = run("status", "--json", "--under", place.parents[3], "--site-packages", other)
    assert {Path(one["target"]["site_packages"]) for one in read(result)["results"]} >= {place, other}


def test_naming_a_patch_twice_is_naming_it_once(place: Path) -> None:
    result = run("status", PATCH, PATCH, "--json", "--site-packages", place)
    assert [one["patch"] for one in read(result)["results"]] == [PATCH]


def test_text_goes_to_stdout_and_errors_to_stderr(place: Path, tmp_path: Path) -> None:
    result = run("status", "--site-packages", place, "--site-packages", tmp_path)
    assert "isin_mps_friendly: unpatched" in result.stdout
    assert "error:" not in result.stdout
    assert [line.split()[0] for line in result.stderr.splitlines()] == ["error:", "hint:"]


@pytest.mark.parametrize("arguments", [["-q", "apply"], ["apply", "-q"]])
def test_quiet_says_nothing_of_success(arguments: list[str], place: Path) -> None:
    result = run(*arguments, "--site-packages", place)
    assert (result.exit_code, result.output) == (0, "")


def test_quiet_still_tells_errors_and_shows_a_diff(place: Path, tmp_path: Path) -> None:
    assert "error:" in run("status", "-q", "--site-packages", tmp_path).stderr
    assert run("apply", "-q", "--diff", "--site-packages", place).stdout.startswith("---")


def test_quiet_json_is_whole(place: Path) -> None:
    assert read(run("apply", "-q", "--json", "--site-packages", place))["results"]


@pytest.mark.parametrize("arguments", [["-v", "status"], ["status", "-v"]])
def test_verbose_shows_digests(arguments: list[str], place: Path) -> None:
    assert "sha256" in run(*arguments, "--site-packages", place).stdout


@pytest.mark.parametrize(
    ("option", "environment", "colored"),
    [
        ("auto", {}, True),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, True),
        ("auto", {"TERM": "dumb"}, False),
        ("always", {"NO_COLOR": "1"}, True),
        ("never", {}, False),
    ],
)
def test_colors_on_a_terminal(option: str, environment: dict[str, str], colored: bool, place: Path) -> None:
    settings = {"TERM": "xterm", **environment}
    told = on_terminal(["status", "--color", option, "--site-packages", str(place)], settings)
    assert ("\033[" in told) == colored


@pytest.mark.parametrize(("option", "told"), [("--device=auto", True), ("--static", False), ("--quiet", False)])
def test_at_a_terminal_a_wait_is_announced(option: str, told: bool, tmp_path: Path) -> None:
    seen = on_terminal(["verify", option, "--site-packages", str(tmp_path)], {})
    assert ("this takes some seconds" in seen) == told
    assert "error: There is no transformers" in seen.replace("\r\n", " ").replace("\033[31m", "").replace("\033[0m", "")


@pytest.mark.parametrize(
    ("manner", "static", "stream", "told"),
    [
        (flags.Manner(), False, "terminal", True),
        (flags.Manner(), True, "terminal", False),
        (flags.Manner(quiet=True), False, "terminal", False),
        (flags.Manner(json=True), False, "terminal", False),
        (flags.Manner(), False, "pipe", False),
        (flags.Manner(), False, "closed", False),
    ],
)
def test_who_is_told_that_it_takes_a_moment(
    manner: flags.Manner, static: bool, stream: str, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, err = StringIO(), StringIO()
    monkeypatch.setattr(err, "isatty", lambda: stream == "terminal", raising=False)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", None if stream == "closed" else err)
    cli.announce(manner, static)
    assert (out.getvalue(), "this takes some seconds" in err.getvalue()) == ("", told)


def on_terminal(arguments: list[str], environment: dict[str, str]) -> str:
    """What a command writes to a terminal, both streams."""
    base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    ours, theirs = os.openpty()
    command = [sys.executable, "-m", "patcher", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, env={**base, "PYTHONPATH": str(ROOT), **environment}):
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


def test_no_colors_in_a_pipe_unless_asked_for(place: Path) -> None:
    assert "\033" not in start("status", "--site-packages", place).stdout
    assert "\033[" in start("--color", "always", "status", "--site-packages", place).stdout


@pytest.mark.parametrize(
    ("asked", "environment", "colors"),
    [
        ("auto", {}, None),
        ("auto", {"NO_COLOR": "1"}, False),
        ("auto", {"NO_COLOR": ""}, None),
        ("auto", {"TERM": "dumb"}, False),
        ("auto", {"term": "dumb"}, None),
        ("always", {"NO_COLOR": "1", "TERM": "dumb"}, True),
        ("never", {}, False),
    ],
)
def test_who_decides_on_colors(
    asked: str, environment: dict[str, str], colors: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert flags.Manner(color=asked).colors() is colors


def test_colors_are_given_where_they_were_asked_for(place: Path) -> None:
    for asked, given in (("always", True), ("never", False)):
        assert ("\033[" in run("--color", asked, "status", "--site-packages", place).stdout) == given
    # whatever is wrong with another option, and wherever it stands
    assert "\033[" in run("status", "--lock-timeout", "soon", "--color", "always").stderr


def test_json_has_no_colors(place: Path) -> None:
    assert "\033" not in run("status", "--json", "--color", "always", "--site-packages", place).stdout


def test_force_is_a_word_by_itself(place: Path) -> None:
    edit(place)
    assert run("apply", "--site-packages", place).exit_code == 1
    assert run("apply", "--force", "--site-packages", place).exit_code == 0


def test_a_defect_is_told_in_two_lines(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(operations, "status", broken)
    result = run("status", "--site-packages", place)
    cause, hint = result.stderr.splitlines()
    assert (result.exit_code, result.stdout) == (1, "")
    assert cause == r"error: Unexpected ZeroDivisionError: on\ntwo lines"
    assert "report" in hint


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_a_defect_shows_its_traceback_where_asked(monkeypatch: pytest.MonkeyPatch, place: Path, option: str) -> None:
    monkeypatch.setattr(operations, "status", broken)
    result = run("status", option, "--site-packages", place)
    assert "Traceback" in result.stderr
    assert "in broken" in result.stderr


def test_a_defect_as_json(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(operations, "status", broken)
    result = run("status", "--json", "--site-packages", place)
    told = read(result)
    assert (result.exit_code, told["command"], told["error"]["code"]) == (1, "status", "defect")


def broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("on\ntwo lines")


@pytest.mark.parametrize("json_too", [False, True])
def test_an_error_that_ends_the_run_is_told(monkeypatch: pytest.MonkeyPatch, place: Path, json_too: bool) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CannotTell("odd", "Odd.", "Be even.")

    monkeypatch.setattr(operations, "status", refuse)
    result = run("status", "--site-packages", place, *(["--json"] if json_too else []))
    assert result.exit_code == 3
    assert read(result)["error"]["code"] == "odd" if json_too else result.stderr == "error: Odd.\nhint: Be even.\n"


def test_a_document_that_cannot_be_written_is_told_of_in_words(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PatcherError("output", "The output cannot be written.", "See why.")

    monkeypatch.setattr(operations, "status", fail)
    result = run("status", "--json", "--site-packages", place)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: The output cannot be written.\nhint: See why.\n"


@pytest.mark.parametrize("json_too", [False, True])
def test_ctrl_c(monkeypatch: pytest.MonkeyPatch, place: Path, json_too: bool) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(operations, "apply", stop)
    result = run("apply", "--site-packages", place, *(["--json"] if json_too else []))
    assert result.exit_code == 130
    assert "Traceback" not in result.output
    assert read(result)["error"]["code"] == "interrupted" if json_too else "error: Interrupted." in result.stderr


def test_ctrl_c_in_a_real_process(place: Path) -> None:
    script = (
        "import os, signal\n"
        "from patcher import cli\nfrom patcher.change import operations\n"
        f"operations.status = lambda *_, **__: os.kill(os.getpid(), {signal.SIGINT:d}) or __import__('time').sleep(9)\n"
        f"cli.main(['status', '--site-packages', {str(place)!r}])\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_where_it_begins_interrupts_wait_until_they_can_be_told_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/anywhere/__main__.py", "--nonsense"])
    before, seen = signal.pthread_sigmask(signal.SIG_BLOCK, ()), []
    handler = signal.getsignal(signal.SIGTERM)

    def begin(*, ready: Callable[[], object]) -> None:
        seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        ready()
        seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    try:
        with pytest.raises(SystemExit, match="2"):
            beginning.main()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
        monkeypatch.setattr(cli, "main", begin)
        beginning.main()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGTERM, handler)
    assert "`mps-patcher -h` tells what it accepts." in capsys.readouterr().err
    assert seen == [before | {signal.SIGINT, signal.SIGTERM}, before]


def test_an_interrupt_as_soon_as_it_can_be_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    def ready() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit, match="130"):
        cli.main(["status"], ready=ready)
    assert "error: " in capsys.readouterr().err


def test_help_for_a_reader_that_has_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("click.decorators.echo", gone)
    with (Path(os.devnull)).open("w") as stream:  # what is left to be written is sent away
        monkeypatch.setattr(sys, "stdout", stream)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["-h"])


@pytest.mark.parametrize("is_terminal", [True, False])
def test_text_is_as_wide_as_the_terminal(is_terminal: bool, monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    out = StringIO()
    monkeypatch.setattr(out, "isatty", lambda: is_terminal, raising=False)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["status", "--site-packages", str(place)])
    sentences = [len(line) for line in out.getvalue().splitlines() if str(place) not in line]
    assert (max(sentences) <= 60) == is_terminal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", ["click", "patcher.cli", "patcher.document"])
@pytest.mark.parametrize("json_too", [False, True])
def test_ctrl_c_while_it_is_loaded(tmp_path: Path, module: str, number: signal.Signals, json_too: bool) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *others):\n"
        f"        if name == {module!r}:\n"
        f"            os.kill(os.getpid(), {number:d})\n"
        "sys.meta_path.insert(0, Finder())\n"
    )
    options = ["--json"] if json_too else []
    done = start("status", "--site-packages", tmp_path, *options, PYTHONPATH=f"{tmp_path}:{ROOT}")
    assert done.returncode == 130
    if json_too:
        assert json.loads(done.stdout)["error"]["code"] == "interrupted"
    assert done.stderr.splitlines()[:1] == ([] if json_too else ["error: Interrupted."])
    assert "Traceback" not in done.stderr


def test_a_gone_reader_is_no_failure(place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "patcher", "apply", "--json", "--site-packages", str(place)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("status", "--check", "--site-packages", place).exit_code == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("options", [[], ["--json"]], ids=" ".join)
def test_an_output_that_cannot_be_written_is_a_failure(place: Path, options: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "patcher", "status", *options, "--site-packages", str(place)]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: The output cannot be written: No space left on device."
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("arguments", [["--version"], ["-h"], ["status", "--version"], ["apply", "-h", "--json"]])
def test_help_that_cannot_be_written_is_a_failure(arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    command = [sys.executable, "-m", "patcher", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[0] == "error: The output cannot be written: No space left on device."
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.parametrize("arguments", [["--version"], ["status", "-h"]])
def test_help_that_nobody_reads_is_no_failure(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "patcher", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=environment, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_closed_streams_do_not_matter(place: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    line = f"'{sys.executable}' -m patcher status --check --site-packages '{place}' >&- 2>&-"
    assert subprocess.run(["sh", "-c", line], env=environment, check=False).returncode == 4


@pytest.mark.parametrize(("name", "shown"), [("s\u65e5", "s\\u65e5"), (os.fsdecode(b"s\xff"), "s\\udcff")])
def test_a_path_that_the_terminal_cannot_show(place: Path, name: str, shown: str) -> None:
    odd = place.with_name(name)
    try:
        place.rename(odd)
    except OSError:
        pytest.skip("this file system refuses the name")
    done = start("status", "--site-packages", odd, PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_without_target_options_the_environment_decides(place: Path, tmp_path: Path) -> None:
    venv = place.parents[2]
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to(sys.executable)
    done = start("status", "--json", cwd=tmp_path, VIRTUAL_ENV=str(venv))
    (only,) = json.loads(done.stdout)["results"]
    assert only["target"]["python"] == str(venv / "bin" / "python") or only["error"]


def test_verify_gets_what_was_asked(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    asked: dict[str, Any] = {}

    def note(*_: object, **settings: object) -> tuple[()]:
        asked.update(settings)
        return ()

    monkeypatch.setattr("patcher.verify.verify", note)
    assert run("verify", "--torch", "2.6", "--macos", "13", "--timeout", "9", "--site-packages", place).exit_code == 0
    assert asked.pop("patience").seconds == 30
    assert asked == {
        "catalogue": CATALOGUE, "named": False, "static": False,
        "device": "auto", "torch": "2.6", "macos": "13", "timeout": 9,
    }  # fmt: skip


@pytest.fixture
def busy(place: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that works on the place until it is killed."""
    (folder,) = place.glob("transformers-*.dist-info")
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


@pytest.mark.parametrize("command", ["status", "apply", "verify --static", "revert"])
def test_a_target_in_use_is_waited_for_as_long_as_was_asked(
    command: str, place: Path, busy: subprocess.Popen[bytes]
) -> None:
    (folder,) = place.glob("transformers-*.dist-info")
    for options in ([], ["--json"], ["--quiet"]):
        began = time.monotonic()
        result = run(*command.split(), *options, "--lock-timeout", 1, "--site-packages", place)
        assert 1 <= time.monotonic() - began < 10
        assert result.exit_code == 1
        told = [line for line in result.stderr.splitlines() if line.startswith("Waiting for another mps-patcher")]
        assert len(told) == (0 if options == ["--quiet"] else 1)
        assert all(f"{folder}, for at most 1 s." in line for line in told)
        if options == ["--json"]:
            assert result.stderr.splitlines() == told
            errors = [one["error"] for one in read(result)["results"]]
            assert {error["code"] for error in errors} == {"locked"}
            assert all(str(folder) in error["message"] for error in errors)
            if Path("/proc/locks").exists():
                assert all(f"process {busy.pid}" in error["message"] for error in errors)


def test_who_does_not_want_to_wait_need_not(place: Path, busy: subprocess.Popen[bytes]) -> None:
    assert busy.poll() is None
    began = time.monotonic()
    result = run("apply", "--json", "--lock-timeout", 0, "--site-packages", place)
    assert time.monotonic() - began < 1
    assert (result.exit_code, result.stderr) == (1, "")
    assert read(result)["results"][0]["error"]["code"] == "locked"


@pytest.fixture
def waiting(place: Path, busy: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[str]]:
    """An apply that waits, and has said so."""
    assert busy.poll() is None
    command = [sys.executable, "-m", "patcher", "apply", "--json", "--site-packages", str(place)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("Waiting for another mps-patcher")
        yield process


def test_it_goes_on_as_soon_as_the_other_is_dead(
    waiting: subprocess.Popen[str], busy: subprocess.Popen[bytes], place: Path
) -> None:
    busy.send_signal(signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(0.5)
    busy.kill()
    told, errors = waiting.communicate(timeout=10)
    assert (waiting.returncode, errors) == (0, "")
    assert json.loads(told)["results"][0]["state"] == "patched"
    assert run("status", "--check", "--site-packages", place).exit_code == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_can_be_interrupted(waiting: subprocess.Popen[str], number: signal.Signals) -> None:
    waiting.send_signal(number)
    told, errors = waiting.communicate(timeout=10)
    assert (waiting.returncode, errors.strip()) == (130, "")
    assert json.loads(told)["error"]["code"] == "interrupted"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_wait_that_cannot_be_told_of_is_a_wait(place: Path, busy: subprocess.Popen[bytes]) -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "patcher", "apply", "--json", "--site-packages", str(place)]
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=full, text=True, env=environ)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1.5)
    busy.kill()
    told, _ = process.communicate(timeout=10)
    assert process.returncode == 0
    assert json.loads(told)["ok"]


def test_click_is_met_only_at_the_edge() -> None:
    assert isinstance(cli.main, click.Group)
    assert set(cli.main.commands) == set(COMMANDS)


@pytest.mark.parametrize("option", ["--python", "--site-packages", "--under"])
def test_an_empty_place_is_refused(option: str) -> None:
    """As of an unset variable in a build script: it must not mean the current folder."""
    result = run("status", option, "")
    assert result.exit_code == 2
    assert "the path is empty" in result.stderr

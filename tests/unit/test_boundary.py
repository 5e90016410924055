"""What goes to which stream, in which colours, and how errors are told."""

from __future__ import annotations

import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from command_line import command, environ, needs_full_device, on_terminal, read, run, start, two_lines

from patcher import cli, operations
from patcher.errors import CannotTell
from patcher.options import OutputOptions


class TestStreams:
    def test_text_goes_to_stdout_and_errors_to_stderr(self, site: Path, tmp_path: Path) -> None:
        result = run("status", "--site-packages", site, "--site-packages", tmp_path)
        assert "isin_mps_friendly  unpatched" in result.stdout
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
        assert (
            f"To fix it:  mps-patcher apply --site-packages {site}\n" in run("status", "--site-packages", site).stdout
        )

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
        assert two_lines(done.stderr)[0] == "Cannot write the output: No space left on device."

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

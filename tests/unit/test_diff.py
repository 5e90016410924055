"""The diff of a change: lines end where a diff ends them, and nowhere else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from patcher.diff import unified_diff


def test_a_line_changes() -> None:
    assert unified_diff("a/x.py", b"1\n2\n3\n", b"1\nb\n3\n") == (
        "--- a/a/x.py\n+++ b/a/x.py\n@@ -1,3 +1,3 @@\n 1\n-2\n+b\n 3\n"
    )


def test_nothing_changes() -> None:
    assert unified_diff("x.py", b"1\n", b"1\n") == ""


def test_a_missing_end_of_line_is_said_to_be() -> None:
    assert unified_diff("x.py", b"1", b"1\n").splitlines()[3:] == ["-1", "\\ No newline at end of file", "+1"]
    assert unified_diff("x.py", b"", b"1").splitlines()[3:] == ["+1", "\\ No newline at end of file"]


def test_a_name_is_written_as_git_writes_it() -> None:
    assert unified_diff("é x.py", b"1\n", b"2\n").splitlines()[0] == "--- a/é x.py"
    odd = unified_diff('a\n"\u200b\\.py', b"1\n", b"2\n").splitlines()[:2]
    assert odd == [f'{sign} "{side}/a\\012\\042\\342\\200\\213\\134.py"' for sign, side in (("---", "a"), ("+++", "b"))]


def test_bytes_that_are_no_utf_8_are_shown_as_replacements() -> None:
    assert "-\N{REPLACEMENT CHARACTER}\n" in unified_diff("x.py", b"\xff\n", b"1\n")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"1\r\n2\r\n", b"1\r\n3\r\n"),
        (b"1\r2\n", b"1\r3\n"),
        (b"1\x0c\n2\n", b"1\x0c\n3\n"),
        ("1\u2028x\n2".encode(), "1\u2028x\n3".encode()),
        (b"1\n", b"1\n2\n"),
        (b"1\n2", b"1\n2\n"),
    ],
)
def test_git_applies_it(before: bytes, after: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_bytes(before)
    diff = unified_diff("x.py", before, after).encode()
    subprocess.run(["git", "apply", "--whitespace=nowarn", "-p1"], input=diff, cwd=tmp_path, check=True)
    assert (tmp_path / "x.py").read_bytes() == after

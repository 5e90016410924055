"""The scenarios' file: what is read, and what is refused with which words."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.errors import PatcherError
from patcher.evaluation.scenarios import check_scenarios

# Prints how many rows a file has, and by how much the process grew while it was read: bytes on macOS, else KiB.
GROWTH = """
import pathlib, resource, sys
from patcher.evaluation.scenarios import check_scenarios
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
rows = check_scenarios(pathlib.Path(sys.argv[1])).rows
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
GOOD = b'{"id": "a", "prompt": "Hello"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "scenarios.jsonl"


def refusal(path: Path, content: bytes) -> PatcherError:
    path.write_bytes(content)
    with pytest.raises(PatcherError) as caught:
        check_scenarios(path)
    return caught.value


def test_what_a_scenario_may_be(path: Path) -> None:
    messages = [{"role": "system", "content": ""}, {"role": "user", "content": "Grüße \N{SNOWMAN}"}]
    lines = [
        {"id": "a", "prompt": "Hello", "expected": "there"},
        {"id": 1, "prompt": "日本語の質問", "expected": ""},
        {"id": "ä", "messages": messages, "prompt": None, "expected": None},
    ]
    content = b"\xef\xbb\xbf" + b"\r\n\n".join(json.dumps(line, ensure_ascii=False).encode() for line in lines)
    path.write_bytes(content)
    assert check_scenarios(path) == (path, hashlib.sha256(content).hexdigest(), 3)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b"nonsense", "this is not JSON: Expecting value at column 1"),
        (b'{"id": "b", "prompt": "x"', "this is not JSON: Expecting ',' delimiter at column 26"),
        (b'["b"]', "expected an object, not a list"),
        (b'"b"', "expected an object, not a string"),
        (b"17", "expected an object, not a number"),
        (b'{"id": "b", "prompt": "caf\xe9"}', "byte 27 is not UTF-8"),
        (b"[" * 100_000, "this JSON cannot be read: "),
        (b'{"id": 1' + b"0" * 5000 + b', "prompt": "x"}', "this JSON cannot be read: "),
        (b'{"prompt": "x"}', "there is no id; every scenario needs a unique one"),
        (b'{"id": true, "prompt": "x"}', "id must be a string or an integer, not true or false"),
        (b'{"id": 1.5, "prompt": "x"}', "id must be a string or an integer, not a number"),
        (b'{"id": null, "prompt": "x"}', "id must be a string or an integer, not null"),
        (b'{"id": " ", "prompt": "x"}', "id is empty"),
        (b'{"id": "a", "prompt": "x"}', "the id 'a' is also on line 1; ids must be unique"),
        (b'{"id": "b"}', "expected either prompt or messages, but there is neither"),
        (b'{"id": "b", "prompt": "x", "messages": []}', "expected either prompt or messages, but there are both"),
        (b'{"id": "b", "prompt": 5}', "prompt must be a string, not a number"),
        (b'{"id": "b", "prompt": ""}', "prompt is empty"),
        (b'{"id": "b", "prompt": "\\ud800"}', "prompt contains half of a surrogate pair, which is not a character"),
        (b'{"id": "b", "prompt": "x", "expected": 4}', "expected must be a string, not a number"),
        (b'{"id": "b", "prompt": "x", "answer": "y"}', "a scenario has no 'answer'; its keys are id, prompt, "),
        (b'{"id": "b", "messages": []}', "messages must be a list of at least one message, not an empty list"),
        (b'{"id": "b", "messages": {}}', "messages must be a list of at least one message, not an object"),
        (b'{"id": "b", "messages": ["x"]}', "message 1 must be an object, not a string"),
        (b'{"id": "b", "messages": [{"role": "user"}]}', "message 1 has no content"),
        (b'{"id": "b", "messages": [{"content": "x"}]}', "message 1 has no role"),
        (b'{"id": "b", "messages": [{"role": "", "content": "x"}]}', "role of message 1 is empty"),
        (b'{"id": "b", "messages": [{"role": "u", "content": []}]}', "content of message 1 must be a string, not an"),
        (b'{"id": "b", "messages": [{"role": "u", "content": "x", "n": 1}]}', "message 1 has no 'n'; its keys are"),
    ],
)
def test_a_bad_line_is_named_with_what_was_expected(path: Path, line: bytes, cause: str) -> None:
    error = refusal(path, GOOD + b"\n" + line + b"\n")
    assert (error.code, error.exit_code) == ("bad-scenario", 1)
    assert error.message.startswith(f"{path}, line 3: {cause}")
    assert '{"id": "capital", "prompt": ' in error.hint


def test_a_line_that_repeats_an_integer_as_text(path: Path) -> None:
    error = refusal(path, b'{"id": 1, "prompt": "x"}\n{"id": "1", "prompt": "x"}\n')
    assert "line 2: the id '1' is also on line 1" in error.message


@pytest.mark.parametrize("content", [b"", b"\n \n", b"\xef\xbb\xbf"])
def test_a_file_without_a_scenario(path: Path, content: bytes) -> None:
    assert refusal(path, content).message == f"{path} has no scenarios."


def test_what_is_no_file(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(PatcherError, match=f"cannot be read: {why}") as caught:
            check_scenarios(path)
        assert caught.value.code == "no-scenarios"


def test_a_hundred_thousand_rows_are_not_held_in_memory(path: Path) -> None:
    with path.open("w") as file:
        for number in range(100_000):
            file.write(json.dumps({"id": f"scenario-{number}", "prompt": "x" * 1000}) + "\n")
    done = subprocess.run([sys.executable, "-c", GROWTH, str(path)], capture_output=True, text=True, check=True)
    rows, grown = map(int, done.stdout.split())
    assert rows == 100_000
    assert path.stat().st_size > 100e6
    assert grown * (1 if sys.platform == "darwin" else 1024) < 40e6

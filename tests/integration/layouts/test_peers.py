"""What other tools of this class fail at, measured on nine of them: each column of that table as a test of this tool.

| column | test |
|---|---|
| apply / `python -c pass` | a benchmark: `make benchmark` |
| applied twice | `test_applied_twice_is_applied_once` here |
| undo, status, JSON | `test_undo_status_and_json` here |
| the same patch on 4.46.3, with CRLF, re-wrapped | `test_another_release_crlf_and_a_re_wrapped_function` here |
| a file shared with uv's cache, by hardlink and symlink | `test_two_environments_share_one_cache` in test_caches.py |
| unchecked-hash bytecode | `test_the_code_that_runs_is_the_code_on_disk` here, with PYTHONPYCACHEPREFIX too |
| RECORD; what is left | `test_record_is_right_and_after_uninstall_nothing_is_left` here, with pip and uv |
| SIGKILL at a system call | `test_a_process_that_is_killed_or_fails_loses_nothing` in tests/robustness/faults |
| mode 0640, owner | test_rights.py: `test_a_read_only_file_...`, `test_of_another_owner_root_keeps_the_owner` |
| a read-only folder | test_rights.py: `test_a_read_only_folder_is_refused` |
| a decoy of the old body | `test_only_the_function_of_that_name_changes` here |
| inside a git project | `test_inside_a_git_project` here |
| a failure exits non-zero | `test_every_failure_exits_non_zero` here |
| state from a marker | `test_the_state_is_that_of_the_file` here |
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PATCH = "isin_mps_friendly"
SOURCE = Path("transformers", "pytorch_utils.py")
RE_WRAPPED = b'''\
def isin_mps_friendly(
    elements: torch.Tensor,
    test_elements: torch.Tensor | int,
) -> torch.Tensor:
    """As a formatter with shorter lines would have it."""
    if (
        elements.device.type == "mps"
        and not is_torch_greater_or_equal_than_2_4
    ):
        return (
            elements.tile(test_elements.shape[0], 1)
            .eq(test_elements.unsqueeze(1)).sum(dim=0)
            .bool().squeeze()
        )
    else:
        return torch.isin(
            elements, test_elements
        )
'''
DECOYS = b'''

OLD = """
def isin_mps_friendly(elements, test_elements):
    if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
        return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
    else:
        return torch.isin(elements, test_elements)
"""


class Decoy:
    def isin_mps_friendly(elements, test_elements):
        if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
            return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
        else:
            return torch.isin(elements, test_elements)


def isin_mps_friendly_old(elements, test_elements):
    if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
        return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
    else:
        return torch.isin(elements, test_elements)
'''


def around(source: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the function, byte for byte; the two comment lines above it count as its own."""
    (found,) = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == PATCH]
    lines = source.split(b"\n")
    before = [line for line in lines[: found.lineno - 1] if not line.startswith(b"# mps-patcher ")]
    return b"\n".join(before), b"\n".join(lines[found.end_lineno or 0 :])


def replace_function(path: Path, new: bytes) -> None:
    before, behind = around(path.read_bytes())
    path.write_bytes(before + b"\n" + new.rstrip(b"\n") + b"\n" + behind)


def test_applied_twice_is_applied_once(tool: Any, tree: Any, site: Path) -> None:
    assert tool("apply", "--site-packages", site).code == 0
    patched = tree(site)
    again = tool.json("apply", "--site-packages", site)
    assert (again.code, [result["changed"] for result in again.results]) == (0, [False] * len(again.results))
    assert tree(site) == patched


def test_undo_status_and_json(tool: Any, tree: Any, site: Path) -> None:
    original = tree(site)

    def run(command: str) -> dict[str, Any]:
        results: list[dict[str, Any]] = tool.json(command, PATCH, "--site-packages", site).results
        (result,) = results
        return result

    before = run("status")
    applied, after = run("apply"), run("status")
    assert (before["state"], applied["state"], after["state"]) == ("unpatched", "patched", "patched")
    digests = [result["files"][0]["sha256"] for result in (before, applied, after)]
    assert digests[1] == {"before": digests[0]["before"], "after": digests[2]["before"]}
    assert digests[2]["before"] == hashlib.sha256((site / SOURCE).read_bytes()).hexdigest()
    assert run("revert")["state"] == "unpatched"
    assert tree(site) == original


@pytest.mark.parametrize("kind", ["4.46.3", "CRLF", "mixed line ends", "no final newline", "re-wrapped"])
def test_another_release_crlf_and_a_re_wrapped_function(
    tool: Any, tree: Any, unpacked: Callable[..., Path], kind: str, tmp_path: Path
) -> None:
    """The patch is the same one, what stands around the function stays byte for byte, and the diff can be applied."""
    site = unpacked("4.46.3" if kind == "4.46.3" else "4.45.1")
    file = site / SOURCE
    if kind == "re-wrapped":
        replace_function(file, RE_WRAPPED)
    if kind == "CRLF":
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    if kind == "mixed line ends":
        file.write_bytes(file.read_bytes().replace(b"\nimport", b"\r\nimport"))
    if kind == "no final newline":
        file.write_bytes(file.read_bytes().rstrip(b"\n"))
    original, source = tree(site), file.read_bytes()
    diff = tool.raw("apply", PATCH, "--dry-run", "--diff", "--quiet", "--site-packages", site)
    assert tree(site) == original
    assert tool("apply", PATCH, "--site-packages", site).code == 0
    new = file.read_bytes()
    assert new != source
    assert around(new) == around(source)
    if kind == "CRLF":
        assert new.count(b"\n") == new.count(b"\r\n")
    copy = tmp_path / SOURCE
    copy.parent.mkdir()
    copy.write_bytes(source)
    subprocess.run(["git", "apply", "-"], input=diff, cwd=tmp_path, check=True)
    assert copy.read_bytes() == new
    assert tool("revert", "--site-packages", site).code == 0
    assert tree(site) == original


COMPILE = """
import py_compile, sys
print(py_compile.compile(sys.argv[1], invalidation_mode=py_compile.PycInvalidationMode[sys.argv[2]]))
"""
RUNS = """
import sys
from importlib.machinery import SourceFileLoader
loaded = SourceFileLoader("transformers.pytorch_utils", sys.argv[1]).get_code("transformers.pytorch_utils")
fresh = compile(open(sys.argv[1], "rb").read(), sys.argv[1], "exec")
print(loaded == fresh)
"""


@pytest.mark.parametrize("mode", ["TIMESTAMP", "CHECKED_HASH", "UNCHECKED_HASH"])
@pytest.mark.parametrize("prefix", [False, True], ids=["beside", "PYTHONPYCACHEPREFIX"])
def test_the_code_that_runs_is_the_code_on_disk(
    tool: Any, site: Path, venv: Callable[..., Path], environ: dict[str, str], tmp_path: Path, mode: str, prefix: bool
) -> None:
    env = venv("env", site)
    python = env / "bin" / "python"
    (file,) = env.glob(f"lib/python3.*/site-packages/{SOURCE}")
    variables = {"PYTHONPYCACHEPREFIX": str(tmp_path / "caches")} if prefix else {}

    def run(script: str, *words: object) -> str:
        command = [str(python), "-c", script, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**environ, **variables})
        return done.stdout.strip()

    for command in ("apply", "revert"):
        cached = Path(run(COMPILE, file, mode))
        assert cached.is_relative_to(tmp_path / "caches") == prefix
        assert tool(command, "isin_mps_friendly", "--python", python, **variables).code == 0
        assert not cached.exists()
        assert run(RUNS, file) == "True"


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_record_is_right_and_after_uninstall_nothing_is_left(
    tool: Any, wheels: Callable[[str], Path], torch_in: Callable[[Path], Path], tmp_path: Path, installer: str
) -> None:
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    (site,) = env.glob("lib/python3.*/site-packages")
    torch_in(site)
    before = set(env.rglob("*"))
    python = env / "bin" / "python"
    there = f"--python={python}"
    commands = {
        "pip": (["pip", "--quiet", there], ["--no-index", "--no-compile"], ["--yes"]),
        "uv": (["uv", "--quiet", "pip"], ["--offline", there], [there]),
    }
    start, installing, removing = commands[installer]
    start = [sys.executable, "-m", *start]
    subprocess.run([*start, "install", *installing, "--no-deps", str(wheels("4.50.3"))], check=True)
    applied = tool.json("apply", "--python", python)
    assert applied.states == {"isin_mps_friendly": "patched", "direct_isin": "patched"}
    (record,) = site.glob("transformers-*.dist-info/RECORD")
    assert wrong_rows(site, record) == []
    ours = {str(path.relative_to(site)) for path in site.rglob("mps-patcher/*")}
    assert len(ours) == 5, "a state file, and the originals of three files and of RECORD"
    assert ours <= {path for path, *_ in csv.reader(record.read_text().splitlines())}
    subprocess.run([*start, "uninstall", *removing, "transformers"], check=True)
    assert set(env.rglob("*")) - {env / ".lock"} == before, "the lock is uv's own"


def wrong_rows(site: Path, record: Path) -> list[str]:
    """The rows of RECORD whose digest or size is not that of the file."""
    wrong = []
    for path, digest, size in csv.reader(record.read_text().splitlines()):
        data = (site / path).read_bytes()
        sha = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        if digest and (digest, size) != (f"sha256={sha}", str(len(data))):
            wrong.append(path)
    return wrong


@pytest.mark.parametrize("where", ["before", "behind"])
def test_only_the_function_of_that_name_changes(tool: Any, tree: Any, site: Path, where: str) -> None:
    """Copies of the old body in a string, in a class, and under another name are none of ours."""
    file = site / SOURCE
    source = file.read_bytes()
    at = source.index(b"def isin_mps_friendly") if where == "before" else len(source)
    file.write_bytes(source[:at] + DECOYS + b"\n\n" + source[at:])
    original, source = tree(site), file.read_bytes()
    assert tool("apply", PATCH, "--site-packages", site).code == 0
    new = file.read_bytes()
    assert around(new) == around(source)
    assert new != source
    assert tool("revert", "--site-packages", site).code == 0
    assert tree(site) == original


@pytest.mark.parametrize("tracked", [False, True], ids=["ignored", "committed"])
def test_inside_a_git_project(
    tool: Any, tree: Any, site: Path, venv: Callable[..., Path], tmp_path: Path, tracked: bool
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    env = venv(".venv", site, parent=project)
    (own,) = env.glob("lib/python3.*/site-packages")
    (project / ".gitignore").write_text("" if tracked else ".venv\n")
    git = ["git", "-C", str(project), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run([*git, "init", "--quiet"], check=True)
    subprocess.run([*git, "add", "--all"], check=True)
    subprocess.run([*git, "commit", "--quiet", "-m", "all"], check=True)
    original = tree(own)
    assert tool.json("apply", cwd=project).states[PATCH] == "patched"
    assert tool.json("status", cwd=project).states[PATCH] == "patched"
    assert tree(own) != original
    assert tool("revert", cwd=project).code == 0
    assert tree(own) == original
    assert subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True).stdout == b""


def test_every_failure_exits_non_zero(tool: Any, tree: Any, site: Path, tmp_path: Path) -> None:
    """And says so in two lines; nothing is skipped in silence, and no unknown option is."""
    place = ("--site-packages", site)
    original = tree(site)
    assert tool("verify", "--static", PATCH, *place).code == 1
    assert tool("status", "--check", *place).code == 4
    assert tool("apply", "--batch", *place).code == 2
    assert tool("apply", "no_such_patch", *place).code == 2
    assert tool("apply", "--site-packages", tmp_path).code == 3
    assert tool("apply", "--site-packages", tmp_path / "missing").code == 1
    assert tree(site) == original
    file = site / SOURCE
    file.write_bytes(re.sub(rb"(?s)(def isin_mps_friendly.*?:\n).*", rb"\1    return None\n", file.read_bytes()))
    for command in (("apply",), ("apply", PATCH), ("apply", "--dry-run"), ("verify", "--static")):
        told = tool(*command, *place)
        assert (told.code, len(told.err.splitlines())) == (1, 2), command
    file.write_bytes(b"def broken(:\n")
    assert tool("apply", *place).code == 1
    file.write_bytes(b"")
    assert tool("apply", *place).code == 1
    file.unlink()
    assert tool("apply", *place).code == 1


def test_the_state_is_that_of_the_file(tool: Any, site: Path) -> None:
    """Edited, restored by hand or patched by other means: a marker would go on saying what it said."""
    place = ("--site-packages", site)
    file = site / SOURCE
    original = file.read_bytes()

    def state() -> str:
        told = tool.json("status", PATCH, *place)
        found: str = told.states[PATCH]
        return found

    assert tool("apply", *place).code == 0
    patched = file.read_bytes()
    file.write_bytes(original)
    assert state() != "patched"
    file.write_bytes(patched + b"# an edit\n")
    assert state() == "modified"
    file.write_bytes(patched)
    assert state() == "patched"
    assert tool("revert", *place).code == 0
    file.write_bytes(patched)
    assert state() == "patched", "by content, though nothing is written down about it"


def test_the_table_above_names_what_there_is() -> None:
    """Each test that the table names exists."""
    here = Path(__file__)
    text = "\n".join(path.read_text("utf-8") for path in here.parents[2].rglob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)(?:\.\.\.)?`", __doc__ or ""))
    assert len(named) > 10
    assert [name for name in named if f"def {name}" not in text] == []

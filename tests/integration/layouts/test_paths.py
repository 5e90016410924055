"""Where the environment lies: every path that a file system allows works, and none disturbs terminal or JSON."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

LONG = "/".join(chr(ord("a") + number) * 200 for number in range(3))
NAMES = {
    "spaces": "my  own envs ",
    "quotes": 'it\'s "mine" & $HOME `id` \\ *',
    "a newline": "two\nlines",
    "a carriage return and a tab": "one\r\tother",
    "terminal escapes": "\033[2J\033]0;title\007\x9b31m",
    "non-ASCII": "Ænvironment-環境-\u0301é",
    "text that runs backwards": "abc\u202edcba",
    "undecodable bytes": os.fsdecode(b"caf\xe9 \xff"),
    "200-character components": LONG,
    "a leading dash": "-rf",
    "brackets": "[a-z]{1,2}?",
}


@pytest.fixture(params=NAMES)
def odd(request: pytest.FixtureRequest, site: Path, tmp_path: Path) -> Path:
    """A site-packages folder below one with that name."""
    above = tmp_path / "odd" / NAMES[request.param]
    try:
        above.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system refuses the name")
    return site.parents[2].rename(above / "env") / "lib" / "python3.11" / "site-packages"


def test_a_path_of_any_name_is_patched_and_taken_back(tool: Any, tree: Any, odd: Path) -> None:
    original = tree(odd)
    applied = tool.json("apply", "--site-packages", odd)
    assert (applied.code, applied.states["isin_mps_friendly"]) == (0, "patched")
    assert applied.results[0]["target"]["site_packages"] == str(odd)
    assert applied.results[0]["files"][0]["path"] == str(odd / "transformers" / "pytorch_utils.py")
    assert tool.json("status", "--under", odd.parent).states["isin_mps_friendly"] == "patched"
    assert tool("verify", "--static", "isin_mps_friendly", "-v", "--site-packages", odd).code == 0
    assert tool("revert", "--site-packages", odd).code == 0
    assert tree(odd) == original


def test_a_command_that_is_suggested_for_such_a_path_works_in_a_shell(
    tool: Any, odd: Path, environ: dict[str, str]
) -> None:
    told = tool("status", "isin_mps_friendly", "--site-packages", odd)
    (line,) = [line for line in told.out.splitlines() if line.strip().startswith("To fix it: ")]
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    words = line.strip().removeprefix("To fix it: ").strip().removeprefix("mps-patcher ")
    told_words = subprocess.run([bash, "-c", f"printf '%s\\0' {words}"], capture_output=True, check=True, env=environ)
    assert told_words.stdout.split(b"\0")[:-1] == [b"apply", b"isin_mps_friendly", b"--site-packages", os.fsencode(odd)]


def test_a_refusal_about_such_a_path_is_one_line_of_cause_and_one_of_cure(tool: Any, odd: Path) -> None:
    """`tool` looks at every line that it prints, and that its JSON is one document."""
    missing, python = odd / "missing", odd / "python"
    (odd / "transformers-4.45.1.dist-info" / "METADATA").unlink()
    python.write_text("no interpreter")
    python.chmod(0o755)
    options = ("--python", python, "--site-packages", odd, "--under", missing)
    told = tool("apply", *options)
    assert (told.code, len(told.err.splitlines())) == (1, 6)
    assert tool.json("status", *options).errors == ["python-broken", "no-metadata", "unreadable-folder"]
    hint = tool.json("status", "--site-packages", odd.parents[2]).error["hint"]
    if str(odd).isprintable():
        assert shlex.split(hint.rstrip("?"))[-1] == str(odd)


def test_a_wrong_word_is_told_of_without_its_escapes(tool: Any) -> None:
    for word in NAMES.values():
        told = tool("status", "--", word)
        assert (told.code, len(told.err.splitlines())) == (2, 2)


def test_the_interpreter_of_an_environment_of_any_name_is_asked(
    tool: Any, site: Path, venv: Callable[..., Path], tmp_path: Path
) -> None:
    prefix = venv("env", site)
    for name in ("two\nlines", "\033[2J", os.fsdecode(b"\xff"), "spaced  out ", "Ænne 環境"):
        try:
            prefix = prefix.rename(tmp_path / name)
        except OSError:
            continue  # this file system refuses the name
        told = tool.json("status", "--python", prefix / "bin" / "python")
        assert told.results[0]["target"]["python"] == str(prefix / "bin" / "python")
        assert told.code == 0
        told = tool.json("status", "--python", prefix)
        assert told.results[0]["target"]["python"] == str(prefix / "bin" / "python")


@pytest.mark.parametrize("where", ["METADATA", "INSTALLER", "torch"])
def test_what_an_installer_wrote_does_not_reach_the_terminal_raw(tool: Any, site: Path, where: str) -> None:
    info = site / ("torch-2.1.0.dist-info" if where == "torch" else "transformers-4.45.1.dist-info")
    if where == "INSTALLER":
        (info / where).write_text("pip\033[2J\nand more")
    else:
        metadata = info / "METADATA"
        name = info.name.partition("-")[0]
        version = "2.1.0\033[2J" if where == "torch" else "4.45.1\033[2J"
        metadata.write_text(f"Name: {name}\nVersion: {version}\n")
    assert tool("status", "--site-packages", site).code in (0, 1)


def test_a_look_alike_of_another_case_is_another_folder(tool: Any, tree: Any, site: Path) -> None:
    """A package and a module whose names differ by case alone, where the file system tells them apart."""
    package = site / "transformers"
    try:
        shutil.copytree(package, site / "Transformers")
        shutil.copy(package / "pytorch_utils.py", package / "PyTorch_Utils.py")
        (site / "transformers-4.45.1.dist-info" / "record").write_text("transformers/pytorch_utils.py,,\n")
    except FileExistsError:
        pytest.skip("this file system does not tell upper from lower case")
    if len(list(site.glob("transformers-4.45.1.dist-info/[Rr][Ee][Cc][Oo][Rr][Dd]"))) == 1:
        pytest.skip("this file system does not tell upper from lower case")
    original = tree(site)
    assert tool("apply", "isin_mps_friendly", "--site-packages", site).code == 0
    changed = {path for path, facts in tree(site).items() if original.get(path) != facts}
    assert {path for path in changed if "mps-patcher" not in path} == {
        "transformers/pytorch_utils.py",
        "transformers-4.45.1.dist-info/RECORD",
    }
    assert tool("revert", "--site-packages", site).code == 0
    assert tree(site) == original


def test_a_file_of_the_package_in_another_case_alone_is_not_taken_for_it(tool: Any, tree: Any, site: Path) -> None:
    package = site / "transformers"
    (package / "pytorch_utils.py").rename(package / "PyTorch_Utils.py")
    if (package / "pytorch_utils.py").exists():
        pytest.skip("this file system does not tell upper from lower case")
    original = tree(site)
    told = tool.json("apply", "--site-packages", site)
    assert (told.code, told.errors[0]) == (1, "file-missing")
    assert tree(site) == original


def test_one_install_named_in_two_cases_is_one_target(tool: Any, site: Path) -> None:
    """Where the file system does not tell upper from lower case; elsewhere the other name is none."""
    other = site.with_name(site.name.upper())
    told = tool.json("status", "isin_mps_friendly", "--site-packages", site, "--site-packages", other)
    assert told.errors == ([None] if other.exists() else [None, "unreadable-folder"])


@pytest.mark.parametrize("name", ["two\nlines", "\033[2J", os.fsdecode(b"caf\xe9"), 'a,"b\\', "\u202eÆnne ", "n" * 200])
def test_a_file_of_any_name_is_patched_shown_and_taken_back(
    tool: Any, tree: Any, site: Path, tmp_path: Path, name: str
) -> None:
    """A module of that name that calls torch.isin: nobody imports it by a statement, but it is Python's."""
    file = site / "transformers" / f"{name}.py"
    try:
        file.write_text("import torch\n\n\ndef f(a, b):\n    return torch.isin(a, b)\n")
    except OSError:
        pytest.skip("this file system refuses the name")
    (record,) = site.glob("transformers-*.dist-info/RECORD")
    with record.open("a", encoding="utf-8", errors="surrogateescape", newline="") as rows:
        csv.writer(rows, lineterminator="\n").writerow([f"transformers/{name}.py", "", ""])
    original, source = tree(site), file.read_bytes()
    shutil.copytree(site, tmp_path / "copy")
    diff = tool.raw("apply", "direct_isin", "--dry-run", "--diff", "--quiet", "--site-packages", site)
    assert not [byte for byte in diff if byte < 32 and byte != 10]
    subprocess.run(["git", "apply", "-"], input=diff, cwd=tmp_path / "copy", check=True)
    told = tool.json("apply", "direct_isin", "--site-packages", site)
    assert told.states == {"isin_mps_friendly": "patched", "direct_isin": "patched"}
    assert file.read_bytes() != source
    assert (tmp_path / "copy" / "transformers" / f"{name}.py").read_bytes() == file.read_bytes()
    told = tool.json("status", "--site-packages", site)
    assert told.results[1]["files"][0]["path"] == str(file)
    assert tool("status", "-v", "--site-packages", site).code == 0
    assert tool("revert", "--site-packages", site).code == 0
    assert tree(site) == original

"""Shell completion: what the shells are told, and that they complete a command line with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from patcher.catalogue import load_catalogue
from patcher.cli import program

ROOT = Path(__file__).resolve().parents[2]
PATCHES = [patch.name for patch in load_catalogue()]
COMMANDS = [name for name, command in program.commands.items() if not command.hidden]


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """One with `mps-patcher` on PATH, as an installed one is."""
    tool = tmp_path / "bin" / "mps-patcher"
    tool.parent.mkdir()
    main = "from patcher.__main__ import main; main()"
    tool.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{main}' \"$@\"\n")
    tool.chmod(0o755)
    path = os.pathsep.join([str(tool.parent), os.environ["PATH"]])
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "HOME": str(tmp_path)}


def shell(program: str, *arguments: str, environ: dict[str, str]) -> list[str]:
    """The lines that a shell prints, which must find nothing wrong."""
    found = shutil.which(program, path=environ["PATH"])
    if not found:
        pytest.skip(f"no {program} is installed")
    done = subprocess.run([found, *arguments], capture_output=True, text=True, env=environ, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("", COMMANDS),
        ("ap", ["apply"]),
        ("apply ", PATCHES),
        ("apply is", ["isin_mps_friendly"]),
        ("apply isin-mps", ["isin_mps_friendly"]),
        ("-q --json apply d", ["direct_isin"]),
        ("apply --no-such-option d", ["direct_isin"]),
        ("status --torch 99 --json d", ["direct_isin"]),
        ("status --si", ["--site-packages"]),
        ("verify --device e", ["emulated"]),
        ("run d", ["direct_isin"]),
        ("help ev", ["evaluate"]),
        ("help -", ["-q", "--quiet", "-v", "--verbose", "--color", "-V", "--version", "-h", "--help"]),
        ("template r", ["runtime"]),
        ("nonsense zz", []),
    ],
)
def test_what_the_tool_tells(line: str, completed: list[str], environ: dict[str, str]) -> None:
    words = f"mps-patcher {line}"
    given = {"_MPS_PATCHER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    told = shell("mps-patcher", environ={**environ, **given})
    assert told == [f"plain,{one}" for one in completed]


@pytest.mark.parametrize(
    "line", ["run -- scr", "run -m scr", "run isin_mps_friendly -- a.py scr", "status --python scr"]
)
def test_files(line: str, environ: dict[str, str]) -> None:
    words = f"mps-patcher {line}"
    given = {"_MPS_PATCHER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    assert shell("mps-patcher", environ={**environ, **given}) == ["file,scr"]


def test_bash(environ: dict[str, str]) -> None:
    script = (
        'eval "$(_MPS_PATCHER_COMPLETE=bash_source mps-patcher)"\n'
        "COMP_WORDS=(mps-patcher apply d) COMP_CWORD=2\n"
        "complete -p mps-patcher > /dev/null && _mps_patcher_completion mps-patcher\n"
        'echo "${COMPREPLY[@]}"'
    )
    assert shell("bash", "--norc", "-c", script, environ=environ) == ["direct_isin"]


def test_fish(environ: dict[str, str]) -> None:
    script = '_MPS_PATCHER_COMPLETE=fish_source mps-patcher | source; complete -C "mps-patcher apply d"'
    (line,) = shell("fish", "--no-config", "-c", script, environ=environ)
    assert line.split("\t")[0] == "direct_isin"


def test_zsh(environ: dict[str, str]) -> None:
    """zsh completes at a terminal alone: what it would offer is caught where it takes it."""
    script = (
        "autoload -U compinit; compinit -u -D\n"
        'eval "$(_MPS_PATCHER_COMPLETE=zsh_source mps-patcher)"\n'
        "_describe() { print -l -- ${(P)3} }\n"
        "words=(mps-patcher apply d) CURRENT=3\n"
        "print ${_comps[mps-patcher]}; ${_comps[mps-patcher]}"
    )
    told = shell("zsh", "-f", "-c", script, environ=environ)
    assert told[0] == "_mps_patcher_completion"
    assert told[1].startswith("direct_isin:")

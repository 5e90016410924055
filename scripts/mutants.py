"""Breaks the code in one small place at a time and looks whether the tests tell: `make mutants`.

mutmut makes the mutants and runs the tests of each. Left out of the count are those that the type checker refuses, for
they cannot get into the project, and those that change nothing but the words of a message. Of each file some are run,
drawn at random with a fixed seed, and more of those that can lose data: all of them take half a day (`--all`). What
survives needs a reason in tests/mutants.toml.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, wrap
from typing import Any

import reliability
from mutants_plugin import BUDGET, PATIENT, SECONDS

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
WORK = ROOT / "mutants"
REASONS = ROOT / "tests" / "mutants.toml"
FLOOR = 90
"""The percentage that must die."""
CORE = ("patcher/body.py", "patcher/calls/", "patcher/change/", "patcher/edits.py", "patcher/rewrite.py")
"""What reads and writes the files of others."""
SEED, SAMPLE, CORE_SAMPLE = 4, 40, 60
"""How many mutants of a file are run at most, drawn with that seed."""

GENERATE = """
from mutmut.__main__ import copy_also_copy_files, copy_src_dir, create_mutants, setup_source_paths
copy_src_dir(); copy_also_copy_files(); setup_source_paths(); create_mutants(2)
"""
CHECK = ["-m", "mypy", "--output=json", "--no-warn-unused-ignores", "--disable-error-code=no-redef"]
KILLED, SURVIVED = {1, 24, -24, 36, 152, 255}, {0, 5, 33}
NOT_DRAWN, REFUSED = 34, 37
"""What mutmut's own records say of a mutant: exit codes of pytest, and codes for what was not run.

255 is a module that cannot even be imported, so that pytest does not find its tests.
"""

WORDS = re.compile(r"[A-Za-z]\S* +\S*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One small change of one function."""

    name: str
    """As mutmut calls it: `patcher.body.x_parse__mutmut_1`."""
    function: str
    line: str
    """The first line that changes, without its indentation; with the file and the function it is found again."""
    becomes: str
    span: tuple[int, int]
    """The lines of the changed function in mutmut's copy of the file."""
    only_words: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files and folders to look at, such as patcher/calls; else all")
    parser.add_argument("--all", action="store_true", help="run all of every file")
    parser.add_argument("--again", action="store_true", help="run only what lived on in the last run without a reason")
    parser.add_argument("--told", action="store_true", help="run none: tell of the last run, with the reasons of now")
    options = parser.parse_args()
    os.chdir(ROOT)
    if not (options.again or options.told):
        shutil.rmtree(WORK, ignore_errors=True)
    subprocess.run([sys.executable, "-c", GENERATE], check=True, stdout=subprocess.DEVNULL)
    files = {path: mutants(path) for path in sorted(changed_files(options.paths))}
    if not options.told:
        draw(files, every=options.all)
        run(again=options.again)
    lines, bad = report(files)
    print("\n".join(lines))
    if not options.paths:
        reliability.write("mutants", lines)
    return 1 if bad else 0


def run(*, again: bool) -> None:
    """Has mutmut run what is drawn. What lived on once gets more time, and only new tests are looked at before."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}  # for mutants_plugin.py
    if again:
        environment[SECONDS] = str(PATIENT)
    names = [
        name for path in changed_files([]) for name, code in records(path)["exit_code_by_key"].items() if code is None
    ]
    command = [str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "2", *(names if again else ())]
    if names and subprocess.run(command, check=False, env=environment).returncode:
        raise SystemExit("mutmut hides what the tests tell: run those of [tool.mutmut] by pytest, in mutants/")


def changed_files(paths: Iterable[str]) -> Iterator[str]:
    """The files of which there are mutants, as paths below the project."""
    for meta in WORK.rglob("*.py.meta"):
        path = str(meta.relative_to(WORK)).removesuffix(".meta")
        if not paths or any(path == one or path.startswith(f"{one.rstrip('/')}/") for one in paths):
            yield path


def records(path: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((WORK / f"{path}.meta").read_text("utf-8"))
    return found


def set_codes(path: str, codes: dict[str, int | None]) -> None:
    data = records(path)
    data["exit_code_by_key"] |= codes
    (WORK / f"{path}.meta").write_text(json.dumps(data), "utf-8")


def mutants(path: str) -> dict[str, Mutant]:
    """Every mutant of a file, by mutmut's name for it."""
    spans = json.loads((WORK / f"{path}.spans").read_text("utf-8"))["spans"]
    lines = (WORK / path).read_text("utf-8").splitlines()

    def text(key: str) -> list[str]:
        start, end = spans[key]
        return [line.replace(key, key.partition("__mutmut")[0]) for line in lines[start - 1 : end]]

    found = {}
    for name in records(path)["exit_code_by_key"]:
        key = name.rpartition(".")[2]
        original = key.partition("__mutmut")[0] + "__mutmut_orig"
        found[name] = _mutant(name, key, tuple(spans[key]), text(original), text(key))
    return found


def _mutant(name: str, key: str, span: tuple[int, int], old: list[str], new: list[str]) -> Mutant:
    first = next((i for i, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    return Mutant(
        name=name,
        function=re.split("_|ǁ", key.partition("__mutmut")[0], maxsplit=1)[1].replace("ǁ", "."),
        line=old[first].strip(),
        becomes=new[first].strip(),
        span=span,
        only_words=_wordless(old) == _wordless(new),
    )


def _wordless(lines: list[str]) -> str:
    """What a function does, whatever the words of its messages, and with nothing said that goes without saying."""
    tree = ast.parse(dedent("\n".join(lines)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = "words" if WORDS.search(node.value) else _encoding(node.value)
        elif isinstance(node, ast.Call):
            node.keywords = [one for one in node.keywords if ast.unparse(one) != "strict=False"]
    return ast.dump(tree)


def _encoding(text: str) -> str:
    """The name of an encoding, for which case does not matter; all other text as it is."""
    return text.lower() if text.lower() in ("ascii", "utf-8", "unicode_escape") else text


def draw(files: dict[str, dict[str, Mutant]], *, every: bool) -> None:
    """Marks in mutmut's records what is not to be run, or need not be run again: it goes by them."""
    refused, reasons = refused_lines(), Reasons.read()
    for path in changed_files([]):
        before = records(path)["exit_code_by_key"]
        if path not in files:
            set_codes(path, {name: NOT_DRAWN for name, code in before.items() if code is None})
            continue
        found = files[path]
        codes: dict[str, int | None] = dict.fromkeys(before, NOT_DRAWN)
        for one in found.values():
            if refused.get(path, set()) & set(range(one.span[0], one.span[1] + 1)):
                codes[one.name] = REFUSED
        chosen = [name for name, one in found.items() if codes[name] != REFUSED and not one.only_words]
        if not every:
            most = CORE_SAMPLE if path.startswith(CORE) else SAMPLE
            chosen = sorted(chosen, key=lambda name: _lot(path, found[name]))[:most]
        done = {
            name
            for name in chosen
            if before[name] in KILLED or (before[name] in SURVIVED and reasons.why(path, found[name]) != Reasons.NONE)
        }
        set_codes(path, codes | {name: before[name] if name in done else None for name in chosen})


def _lot(path: str, one: Mutant) -> str:
    """Its place in the draw: the same after a change elsewhere."""
    return hashlib.sha256(f"{SEED} {path} {one.function} {one.line} {one.becomes}".encode()).hexdigest()


def refused_lines() -> dict[str, set[int]]:
    """Where mypy finds fault in mutmut's copies."""
    command = [sys.executable, *CHECK, "patcher", "patches", "--exclude=^patcher/selftest/"]
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False)
    found: dict[str, set[int]] = {}
    for one in map(json.loads, done.stdout.splitlines()):
        if one["severity"] == "error":
            found.setdefault(one["file"], set()).add(one["line"])
    return found


def report(files: dict[str, dict[str, Mutant]]) -> tuple[list[str], bool]:
    """The section of docs/reliability.md, and whether the command fails."""
    reasons, table, left = Reasons.read(), [], []
    total: Counter[str] = Counter()
    for path, every in files.items():
        codes = records(path)["exit_code_by_key"]
        if unknown := set(codes.values()) - KILLED - SURVIVED - {NOT_DRAWN, REFUSED}:
            raise SystemExit(
                f"{path}: some mutants have ended with {unknown} (None: not run since the function changed)"
            )
        count = Counter(
            valid=sum(codes[name] != REFUSED and not one.only_words for name, one in every.items()),
            run=sum(code in KILLED | SURVIVED for code in codes.values()),
            killed=sum(code in KILLED for code in codes.values()),
        )
        table += [_row(f"`{path}`", count)] if count["valid"] else []
        total += count
        survivors = [one for name, one in every.items() if codes[name] in SURVIVED]
        left += [f"- `{path}`, {text}" for text in _survivors(path, survivors, reasons)]
    rate = 100 * total["killed"] / max(total["run"], 1)
    silent = sum(line.endswith(Reasons.NONE) for line in left)
    head = ["| file | mutants | run | killed | survived | killed of run |", "|---|---|---|---|---|---|"]
    lines = [*_intro(total), "", *head, *table, _row("all", total), "", "What survived:", "", *left]
    if silent:
        print(f"{silent} survivors have no reason in {REASONS.relative_to(ROOT)}", file=sys.stderr)
    return lines, bool(silent) or rate < FLOOR


def _intro(total: Counter[str]) -> list[str]:
    run, valid = total["run"], total["valid"]
    most = f"{SAMPLE} of a file, {CORE_SAMPLE} of one that reads or writes the files of others"
    drawn = f" They were drawn at random (seed {SEED}), at most {most}." if run < valid else ""
    text = f"""
        mutmut broke one small place of a function at a time: {run} of {valid} mutants were run, and {total["killed"]}
        were killed.{drawn} Not counted: mutants that mypy refuses, and those that change only the words of a message
        (a string of two words or more), the case of an encoding's name, or `strict=False`, which goes without saying.
        A mutant gets the tests that reach its function in this process, up to {BUDGET} seconds of them, or {PATIENT}
        in a second run of those that lived on: first those that killed others of its function or module, then those of
        its module, then one case of every other test before a second one of any. Not broken: code outside of functions,
        functions with a decorator, and what runs in another interpreter (`selftest/`, `probe.py`, `replacement.py`,
        `contract.py`)."""
    return wrap(" ".join(text.split()), 118)


def _row(name: str, count: Counter[str]) -> str:
    run, killed = count["run"], count["killed"]
    share = f"{100 * killed / run:.1f} %" if run else "-"
    return f"| {name} | {count['valid']} | {run} | {killed} | {run - killed} | {share} |"


class Reasons:
    """tests/mutants.toml: file, function and line, as it stands, of what may survive, and why it may."""

    NONE = "not looked at"

    def __init__(self, told: list[dict[str, str]]) -> None:
        self.told = told

    @classmethod
    def read(cls) -> Reasons:
        return cls(tomllib.loads(REASONS.read_text("utf-8"))["survivor"])

    def why(self, path: str, one: Mutant) -> str:
        for told in self.told:
            known = told["file"] == path and told["function"] == one.function and told["line"] in ("*", one.line)
            if known and told.get("becomes", one.becomes) == one.becomes:
                return told["why"]
        return self.NONE


def _survivors(path: str, survivors: list[Mutant], reasons: Reasons) -> list[str]:
    """One line for every changed line and reason."""
    found: dict[tuple[str, str, str], int] = {}
    for one in survivors:
        key = (one.function, one.line, reasons.why(path, one))
        found[key] = found.get(key, 0) + 1
    return [f"{function}: `{line}` ({number}): {why}" for (function, line, why), number in found.items()]


if __name__ == "__main__":
    sys.exit(main())

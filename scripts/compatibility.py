"""The compatibility table: every release of transformers, patched and unpatched, under many rules, for real.

    python scripts/compatibility.py                 run everything anew and write docs/compatibility.{json,md}
    python scripts/compatibility.py 4.44.2 5.1.0    run these anew and write them into the same
    python scripts/compatibility.py --check         run SAMPLE and compare with what is written; exits 1 at a difference
    python scripts/compatibility.py --check all     the same with every release

Each release is installed with pip into a throwaway environment with torch 2.13.0 and asked what it has and needs.
Small models then generate on the emulated MPS device under each set of RULES, before and after `mps-patcher apply`, in
the interpreter of that environment; in the end `mps-patcher revert` has to leave every file of the wheel as it was.
No Apple GPU is used.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from hashlib import sha256
from pathlib import Path
from typing import Any
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from torch_env import throwaway, wheel

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "docs" / "compatibility.md"
RESULTS = ROOT / "docs" / "compatibility.json"
GUEST = ROOT / "tests" / "support" / "compatibility_guest.py"

RULES = ("2.1,13", "2.3,14", "2.6,13", "2.7,14", "2.8,13", "2.9,14")
"""torch,macOS."""
# The last patch release of every minor on the registry on 25 November 2026, and all of 4.45 and 4.46
RELEASES = (
    "4.38.2", "4.39.3", "4.40.2", "4.41.2", "4.42.4", "4.43.4", "4.44.2", "4.45.0", "4.45.1", "4.45.2",
    "4.46.0", "4.46.1", "4.46.2", "4.46.3", "4.47.1", "4.48.3", "4.49.0", "4.50.3", "4.51.3", "4.52.4",
    "4.53.3", "4.54.1", "4.55.4", "4.56.2", "4.57.6", "5.0.0", "5.1.0", "5.2.0", "5.3.0", "5.4.0",
    "5.5.4", "5.6.2", "5.7.0", "5.8.1", "5.9.0", "5.10.4", "5.11.0", "5.12.1", "5.13.1", "5.14.1",
    "5.15.1", "5.16.1", "5.17.0", "5.18.0", "5.19.0", "5.20.2", "5.21.1", "5.22.2", "5.23.0", "5.24.0",
)  # fmt: skip
# Where what is to be done changes from one release to the next, and the newest
SAMPLE = ("4.44.2", "4.46.2", RELEASES[-1])
HELPER, FUNCTION = "transformers/pytorch_utils.py", "isin_mps_friendly"
CALLEE = ast.dump(ast.parse("torch.isin", mode="eval").body)
WORKERS = os.cpu_count() or 1
BODIES = {"A": "first", "B": "second", None: "none"}
"""What the page calls the bodies of the function, which the results call A and B."""

WORDS = """\
# Compatibility

What `generate()` does in each release of transformers from 4.38 to 5.24, without and with the patches.

No Apple GPU was used. Each release was installed with pip beside torch 2.13.0, and small random Llama, T5 and Whisper
models generated on an **emulated MPS device**, with the rules of the torch and macOS at the head of the column: greedy
search, sampling and beam search, with and without mask and pad token. transformers saw that version of torch.

`make compatibility` writes this page from such runs. CI compares a sample of it with new runs.

- function: what the release has of `isin_mps_friendly`. *first*: the body of 4.45.0 - 4.46.1. *second*: that of
  4.46.2 - 5.0. The patch replaces both. *none*: the patch adds the function.
- direct calls: the calls of `torch.isin` that `direct_isin` replaces, and the branches for MPS that it disables.
- The other columns: what `generate()` did, unpatched → patched. *right*: every run gave the CPU's tokens. *E1* and so
  on: every run, or as many as are given, raised that error, listed below the table. *not accepted*: this transformers
  does not run with that torch, not even on the CPU. torch 2.1 means 2.1.0, and so on.
- After `revert`, every file of every release had the bytes of the wheel again.
"""

Row = dict[str, Any]


class Surprise(Exception):
    """Something in a run that no table should hide."""


def run(release: str) -> Row:
    """What the release has, and what generates before and after the patches, under each set of rules."""
    with tempfile.TemporaryDirectory(prefix="mps-patcher-compatibility-") as folder:
        python = throwaway(Path(folder) / "env", "current", release)
        (site_packages,) = python.parent.parent.glob("lib/python*/site-packages")
        original = files(site_packages)
        compare(original, release)
        row = {"has": has(release), "before": generate(python)}
        names = [patch for patch, found in row["has"].items() if found]
        patcher("apply", *names, "--python", str(python))
        patcher("verify", "--static", *names, "--python", str(python))
        row["after"] = generate(python)
        patcher("revert", "--python", str(python))
        if files(site_packages) != original:
            raise Surprise(f"{release}: revert left other files than there were")
        print(f"{release} done", file=sys.stderr, flush=True)
        return row


def has(release: str) -> dict[str, Any]:
    """By patch, what the wheel holds of it; None where it has nothing to do. Not found by the code under test."""
    with ZipFile(wheel(release)) as archive:
        texts = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    trees = {name: ast.parse(text) for name, text in texts.items() if b".isin(" in text or name == HELPER}
    helper = next((node for node in ast.walk(trees.pop(HELPER)) if getattr(node, "name", "") == FUNCTION), None)
    body = ("B" if "torch.tensor(" in ast.unparse(helper) else "A") if helper else None
    counts = [(calls, count(tree, is_branch)) for tree in trees.values() if (calls := count(tree, is_call))]
    calls, branches = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    direct = {"files": len(counts), "calls": calls, "branches": branches} if counts else None
    return {"isin_mps_friendly": {"body": body}, "direct_isin": direct}


def count(tree: ast.AST, wanted: Callable[[ast.AST], bool]) -> int:
    """How many nodes are of that kind."""
    return sum(map(wanted, ast.walk(tree)))


def is_call(node: ast.AST) -> bool:
    """`torch.isin(...)`."""
    return isinstance(node, ast.Call) and ast.dump(node.func) == CALLEE


def is_branch(node: ast.AST) -> bool:
    """`if ...device.type == "mps"...:`."""
    return isinstance(node, ast.If) and ".device.type == 'mps'" in ast.unparse(node.test)


def generate(python: Path) -> Row:
    """By rules, the errors of the runs with how many gave each, or why transformers does not accept that torch."""
    done = subprocess.run([str(python), str(GUEST), *RULES], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Surprise(done.stderr[-2000:])
    answer: Row = json.loads(done.stdout.splitlines()[-1])
    return answer


def patcher(*words: str) -> None:
    """Runs mps-patcher as a user would; it must exit with 0."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "patcher", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise Surprise(f"{' '.join(words)}: {done.stdout}{done.stderr}")


def files(site_packages: Path) -> dict[str, str]:
    """Every file of transformers and its metadata with its digest, without the bytecode that Python writes."""
    found = (path for folder in site_packages.glob("transformers*") for path in folder.rglob("*"))
    kept = (path for path in found if path.is_file() and path.suffix != ".pyc")
    return {str(path.relative_to(site_packages)): sha256(path.read_bytes()).hexdigest() for path in kept}


def compare(held: dict[str, str], release: str) -> None:
    """Every file is the wheel's, but RECORD, which installers write."""
    with ZipFile(wheel(release)) as archive:
        names = [name for name in archive.namelist() if not name.endswith(("/", "/RECORD"))]
        other = [name for name in names if held.get(name) != sha256(archive.read(name)).hexdigest()]
    if other:
        raise Surprise(f"{release}: not as in the wheel: {other}")


def render(rows: dict[str, Row]) -> str:
    """The table, from nothing but what was run."""
    errors: list[str] = []
    lines = [line(release, rows[release], errors) for release in RELEASES if release in rows]
    heads = [f"torch {torch}, macOS {macos}" for torch, macos in (rules.split(",") for rules in RULES)]
    table = [
        f"| transformers | function | direct calls | {' | '.join(heads)} |",
        f"|{'---|' * (3 + len(heads))}",
        *lines,
    ]
    legend = [f"- E{number}: `` {error} ``" for number, error in enumerate(errors, 1)]
    return "\n".join([WORDS, *table, "", "The errors in full:", "", *legend, ""])


def line(release: str, row: Row, errors: list[str]) -> str:
    """One row of the table. `errors` grows by what is new."""
    body = BODIES[row["has"]["isin_mps_friendly"]["body"]]
    calls = row["has"]["direct_isin"]
    told = "none"
    if calls:
        told = f"{calls['calls']} in {calls['files']} file{'' if calls['files'] == 1 else 's'}"
        told += f", {calls['branches']} branch{'' if calls['branches'] == 1 else 'es'}" if calls["branches"] else ""
    cells = [cell(row["before"][rules], row["after"][rules], errors) for rules in RULES]
    return f"| {release} | {body} | {told} | {' | '.join(cells)} |"


def cell(before: Row, after: Row, errors: list[str]) -> str:
    if "refused" in before:
        return "not accepted"
    return f"{outcome(before, errors)} → {outcome(after, errors)}"


def outcome(found: Row, errors: list[str]) -> str:
    told = []
    for error, count in sorted(found["errors"].items()):
        if error not in errors:
            errors.append(error)
        told.append(f"E{errors.index(error) + 1}" + (f" ({count} of {found['runs']})" if count < found["runs"] else ""))
    return ", ".join(told) or "right"


def runs(releases: list[str]) -> Iterator[tuple[str, Row]]:
    """Each release with its row as it is done, as many at a time as there are processors."""
    with ThreadPoolExecutor(WORKERS) as pool:
        started = {pool.submit(run, release): release for release in releases}
        for done in as_completed(started):
            yield started[done], done.result()


def check(releases: list[str]) -> None:
    """Compares what is written with fresh runs; exits with a word for each difference."""
    written = json.loads(RESULTS.read_text())
    differing = [] if TABLE.read_text() == render(written) else [f"{TABLE.name} is not what {RESULTS.name} gives"]
    differing += [f"{release} is not in the table" for release in RELEASES if release not in written]
    for release, row in runs(releases):
        if row != written[release]:
            differing.append(f"{release}: written {json.dumps(written[release])}, found {json.dumps(row)}")
    if differing:
        sys.exit("\n".join(differing))
    print(f"docs/{TABLE.name} holds what fresh runs of {', '.join(releases)} gave")


def main(words: list[str]) -> None:
    """See the module."""
    if unknown := set(words) - {*RELEASES, "--check", "all"}:
        sys.exit(f"no such release here: {', '.join(sorted(unknown))}")
    if "--check" in words:
        check(list(RELEASES if "all" in words else [word for word in words if word in RELEASES] or SAMPLE))
        return
    written = json.loads(RESULTS.read_text()) if words and RESULTS.exists() else {}
    for release, row in runs(words or list(RELEASES)):
        written[release] = row
        RESULTS.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        TABLE.write_text(render(written))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except Surprise as surprise:
        sys.exit(f"error: {surprise}")

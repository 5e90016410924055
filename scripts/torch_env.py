"""Prints the interpreter of a cached environment with real torch and transformers, made with pip if it is not there.

    python scripts/torch_env.py current    torch 2.13.0 + transformers 4.45.1
    python scripts/torch_env.py seed       torch 2.1.0 + transformers 4.45.1, the pair of the first bug report

The environments lie outside the checkout, in $MPS_PATCHER_CACHE or ~/.cache/mps-patcher, and are shared by all
checkouts: never change one. SEED_PYTHON and TORCH_PYTHON name the interpreters to make them with.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

PROBE = "import ensurepip, venv, sys; print(*sys.version_info[:2])"
NO_PYTHON = """\
error: no python {oldest} to {newest} with venv and pip found for the environment of torch {torch}
hint: install one, or name it: make {variable}=/path/to/python {target}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an environment holds, and which interpreters can hold it."""

    torch: str
    requirements: tuple[str, ...]
    oldest: tuple[int, int]
    newest: tuple[int, int]
    """The newest Python that this torch has wheels for."""
    variable: str
    target: str


TESTING = ("pytest>=8.2", "hypothesis>=6.100")
RECIPES = {
    "current": Recipe(
        torch="2.13.0",
        requirements=("torch==2.13.0", "transformers==4.45.1", "numpy", *TESTING),
        oldest=(3, 10),
        newest=(3, 13),
        variable="TORCH_PYTHON",
        target="test",
    ),
    "seed": Recipe(
        torch="2.1.0",
        requirements=("torch==2.1.0", "transformers==4.45.1", "numpy<2", *TESTING),
        oldest=(3, 9),
        newest=(3, 11),
        variable="SEED_PYTHON",
        target="test-seed",
    ),
}


def cache() -> Path:
    """The folder that outlives checkouts."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("MPS_PATCHER_CACHE") or Path(base) / "mps-patcher")


def candidates(recipe: Recipe) -> Iterator[str]:
    """Interpreters worth asking, best first: the named one; a python3.11, for which torch comes quickest; this one."""
    if named := os.environ.get(recipe.variable):
        yield named
        return
    folders = os.get_exec_path()
    for name in ("python3.11", sys.executable, "python3.10", "python3.12", "python3.9", "python3.13"):
        yield from (str(path) for folder in folders if (path := Path(folder, name)).exists())


def version(python: str) -> tuple[int, ...] | None:
    """The interpreter's version; None if it does not start or cannot make environments."""
    try:
        answer = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return tuple(int(part) for part in answer.stdout.split()) if answer.returncode == 0 else None


def choose(recipe: Recipe) -> str:
    """The first interpreter that can hold the recipe; exits with a clear word where there is none."""
    for python in candidates(recipe):
        found = version(python)
        if found is not None and recipe.oldest <= found <= recipe.newest:
            return python
    words = {"oldest": ".".join(map(str, recipe.oldest)), "newest": ".".join(map(str, recipe.newest))}
    sys.exit(NO_PYTHON.format(torch=recipe.torch, variable=recipe.variable, target=recipe.target, **words))


def build(folder: Path, recipe: Recipe) -> None:
    """Makes the environment anew. All output goes to standard error: standard output is for the path alone."""
    shutil.rmtree(folder, ignore_errors=True)
    python = choose(recipe)
    print(f"making {folder} with {python}: {' '.join(recipe.requirements)}", file=sys.stderr)
    subprocess.run([python, "-m", "venv", folder], check=True, stdout=sys.stderr)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, *recipe.requirements], check=True, stdout=sys.stderr)


def ensure(name: str) -> Path:
    """The environment's interpreter. A build that was cut off has no stamp and is done again; builders take turns."""
    recipe = RECIPES[name]
    key = sha256(repr((recipe.requirements, os.environ.get(recipe.variable))).encode()).hexdigest()[:8]
    folder = cache() / "envs" / f"{name}-torch{recipe.torch}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    python, stamp = folder / "bin" / "python", folder / "complete"
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and python.exists()):
            build(folder, recipe)
            stamp.touch()
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: torch_env.py {'|'.join(RECIPES)}")
    try:
        print(ensure(sys.argv[1]))
    except subprocess.CalledProcessError as failure:
        sys.exit(f"error: {failure.cmd[2:]} failed with exit code {failure.returncode}; run it again to retry")

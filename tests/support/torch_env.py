"""Environments with real torch and transformers. Prints the interpreter of one, made with pip if it is not there.

    python tests/support/torch_env.py current    torch 2.13.0 + transformers 4.45.1
    python tests/support/torch_env.py seed       torch 2.1.0 + transformers 4.45.1, the pair of the first bug report

The environments lie outside the checkout, in $MPS_PATCHER_CACHE or ~/.cache/mps-patcher, and are shared by all
checkouts: never change one. SEED_PYTHON and TORCH_PYTHON name the interpreters to make them with.

`throwaway` makes one that may be changed, with any release of transformers. Where that release demands other packages
than the environment holds, they come from a layer: a folder beside the environments, made once for all releases that
lack the same.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

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


# Run by the cached environment: which of the wheel's requirements it does not meet, and all that it holds.
LACKING = """
import json, sys
from importlib.metadata import distributions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as name_of
held = {name_of(one.metadata["Name"]): one.version for one in distributions()}
asked = [one for one in map(Requirement, json.load(sys.stdin)) if not one.marker or one.marker.evaluate({"extra": ""})]
lacking = {name_of(one.name): str(one) for one in asked
           if not one.specifier.contains(held.get(name_of(one.name), "0.dev0"), prereleases=True)
           or name_of(one.name) not in held}
print(json.dumps([sorted(lacking.values()), [f"{name}=={held[name]}" for name in sorted({*held} - {*lacking})]]))
"""

# What a throwaway environment does not link in: it has its own, or none.
OWN = ("transformers", "pip", "__pycache__", "bin")
TESTING = ("pytest>=8.2", "pytest-xdist>=3.6", "hypothesis>=6.100")
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


def pip(python: Path | str) -> list[str]:
    """The start of a pip command."""
    return [str(python), "-m", "pip", "--disable-pip-version-check", "--quiet"]


def call(command: list[str], *kept: int) -> None:
    """Runs a command, which inherits the open files `kept`: while it lives, a lock on them is held."""
    subprocess.run(command, check=True, stdout=sys.stderr, pass_fds=kept)


def build(folder: Path, recipe: Recipe, lock: int) -> None:
    """Makes the environment anew. All output goes to standard error: standard output is for the path alone."""
    shutil.rmtree(folder, ignore_errors=True)
    python = choose(recipe)
    print(f"making {folder} with {python}: {' '.join(recipe.requirements)}", file=sys.stderr)
    call([python, "-m", "venv", str(folder)], lock)
    call([*pip(folder / "bin" / "python"), "install", *recipe.requirements], lock)


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
            build(folder, recipe, lock.fileno())
            stamp.touch()
    return python


def wheel(version: str, project: str = "transformers") -> Path:
    """The cached wheel of a project, downloaded beside the cache and renamed in: runs may overlap."""
    cached = cache() / "wheels" / f"{project.replace('-', '_')}-{version}-py3-none-any.whl"
    if not cached.exists():
        cached.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
            options = ["--no-deps", "--only-binary=:all:", "--dest", folder]
            call([*pip(sys.executable), "download", *options, f"{project}=={version}"])
            (Path(folder) / cached.name).replace(cached)
    return cached


def requirements(archive: Path) -> list[str]:
    """What the wheel's METADATA demands, extras too."""
    with ZipFile(archive) as opened:
        (metadata,) = (name for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
        lines = opened.read(metadata).decode().splitlines()
    return [line.partition(":")[2].strip() for line in lines if line.startswith("Requires-Dist:")]


def layer(cached: Path, archive: Path) -> Path | None:
    """The folder with the packages that the wheel demands and the cached environment does not hold; None if none.

    What the environment holds and the wheel accepts stays as it is, so one layer does for all that lack the same.
    """
    asked = json.dumps(requirements(archive))
    answer = subprocess.run([str(cached), "-c", LACKING], input=asked, capture_output=True, text=True, check=True)
    lacking, held = json.loads(answer.stdout)
    if not lacking:
        return None
    key = sha256(repr((lacking, str(cached))).encode()).hexdigest()[:8]
    folder = cache() / "layers" / f"{cached.parent.parent.name}-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            fill(folder, cached, (lacking, held), lock.fileno())
    return folder


def fill(folder: Path, cached: Path, wanted: tuple[list[str], list[str]], lock: int) -> None:
    """Installs what is lacking, and what that needs, beside `folder`, and renames it in when it is complete."""
    lacking, held = wanted
    print(f"making {folder}: {', '.join(lacking)}", file=sys.stderr)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        constraints, target, empty = Path(scratch, "constraints"), Path(scratch, "layer"), Path(scratch, "empty")
        constraints.write_text("\n".join(held))
        call([str(cached), "-m", "venv", "--without-pip", str(empty)], lock)  # pip warns of what it finds beside it
        options = ["--only-binary=:all:", "--constraint", str(constraints), "--target", str(target)]
        call([*pip(cached), "--python", str(empty / "bin" / "python"), "install", *options, *lacking], lock)
        target.replace(folder)


def link(site_packages: Path, entries: Path, *, replaced: Path | None = None) -> None:
    """Links all packages of a folder into another, but those that `replaced` has a version of."""
    others = {name_in(entry) for entry in replaced.iterdir()} if replaced else set()
    for entry in entries.iterdir():
        if not entry.name.startswith(OWN) and name_in(entry) not in others:
            (site_packages / entry.name).symlink_to(entry)


def name_in(entry: Path) -> str:
    """'tokenizers-0.20.3.dist-info' as 'tokenizers.dist-info', whatever the version; other names as they are."""
    return entry.name.partition("-")[0] + ".dist-info" if entry.suffix == ".dist-info" else entry.name


def throwaway(folder: Path, name: str, version: str = "4.45.1", *, compiled: bool = False) -> Path:
    """The interpreter of a new environment whose transformers, of any version, may be changed.

    torch and what it needs are links into the cached environment, and so are the packages that this transformers
    demands; transformers is installed by pip, as from a registry, and `compiled`, with bytecode of all its modules,
    only where asked for, since that takes most of the time.
    """
    cached, archive = ensure(name), wheel(version)
    more = layer(cached, archive)
    call([str(cached), "-m", "venv", "--without-pip", str(folder)])
    (theirs,) = cached.parent.parent.glob("lib/python*/site-packages")
    (ours,) = folder.glob("lib/python*/site-packages")
    link(ours, theirs, replaced=more)
    if more:
        link(ours, more)
    python = folder / "bin" / "python"
    local = ["--no-deps", "--no-index", "--find-links", str(archive.parent)]
    local += [] if compiled else ["--no-compile"]
    call([*pip(cached), "--python", str(python), "install", *local, f"transformers=={version}"])
    return python


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in RECIPES:
        sys.exit(f"usage: torch_env.py {'|'.join(RECIPES)}")
    try:
        print(ensure(sys.argv[1]))
    except subprocess.CalledProcessError as failure:
        sys.exit(f"error: {failure.cmd[2:]} failed with exit code {failure.returncode}; run it again to retry")

"""What runs inside the target's interpreter, in the oldest one that a target may have."""

from __future__ import annotations

import ast
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
PATCHED = "transformers/pytorch_utils.py"
SELFTEST = ROOT / "patcher" / "selftest" / "__main__.py"
GUESTS = sorted(
    [
        ROOT / "patcher" / "targets" / "probe.py",
        *SELFTEST.parent.rglob("*.py"),
        *(ROOT / "patcher" / "evaluator").rglob("*.py"),
        *(ROOT / "patches").glob("*/contract.py"),
        *(ROOT / "patches").glob("*/replacement.py"),
        *(ROOT / "patcher" / "runtime").glob("*.py"),
    ]
)


@pytest.fixture
def python38(pythons: dict[tuple[int, int], Path]) -> Path:
    if (3, 8) not in pythons:
        pytest.skip("no Python 3.8 here")
    return pythons[3, 8]


def environment(**changes: str) -> dict[str, str]:
    """This one, without what speaks of another Python, and with bytecode written, as users have it."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COVERAGE"))}
    return {**kept, **changes}


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_syntax_is_that_of_3_8(path: Path) -> None:
    ast.parse(path.read_bytes(), str(path), feature_version=(3, 8))


@pytest.mark.parametrize("path", GUESTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_3_8_compiles_it(path: Path, python38: Path) -> None:
    script = "import sys; compile(open(sys.argv[1], 'rb').read(), sys.argv[1], 'exec', dont_inherit=True)"
    done = subprocess.run([str(python38), "-W", "error", "-c", script, str(path)], env=environment(), check=False)
    assert done.returncode == 0


class Environment:
    """A Python 3.8 that sees one transformers by way of PYTHONPATH."""

    def __init__(self, python: Path, site_packages: Path, folder: Path) -> None:
        self.python, self.site_packages, self.folder = python, site_packages, folder
        self.file = site_packages / PATCHED

    def bytecode(self, **changes: str) -> dict[str, Any]:
        """The one check of a static self-test."""
        request, report = self.folder / "request.json", self.folder / "report.json"
        asked: dict[str, Any] = {"site_packages": str(self.site_packages), "files": [str(self.file)], "static": True}
        asked["contract"] = "contract.py"
        request.write_text(json.dumps(asked))
        command = [str(self.python), "-W", "error", str(SELFTEST), str(request), str(report)]
        subprocess.run(command, env=environment(**{"PYTHONPATH": str(self.site_packages), **changes}), check=True)
        found = json.loads(report.read_text())
        assert (found["planned"], found["device"], found["unavailable"]) == (["bytecode"], None, None)
        (check,) = found["checks"]
        assert check.pop("name") == "bytecode"
        assert check.pop("seconds") >= 0
        return dict(check)

    def edit(self) -> None:
        self.file.write_bytes(self.file.read_bytes() + b"\n\ndef more():\n    pass\n")

    def plant_bytecode(self) -> None:
        """Compiles the file as it is now, so that this Python runs that whatever becomes of the file."""
        mode = "py_compile.PycInvalidationMode.UNCHECKED_HASH"
        script = f"import py_compile, sys; py_compile.compile(sys.argv[1], doraise=True, invalidation_mode={mode})"
        subprocess.run([str(self.python), "-c", script, str(self.file)], env=environment(), check=True)

    def files(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in self.site_packages.rglob("*") if path.is_file()}


@pytest.fixture
def env(python38: Path, unpacked: Callable[..., Path], tmp_path: Path) -> Environment:
    return Environment(python38, unpacked(), tmp_path)


def test_the_static_self_test_runs_there(env: Environment) -> None:
    env.edit()
    before = env.files()
    assert env.bytecode() == {"status": "passed", "detail": "Python 3.8 would run the source on disk"}
    assert env.files() == before


def test_stale_bytecode_is_seen_there(env: Environment) -> None:
    env.plant_bytecode()
    assert env.bytecode()["status"] == "passed"
    env.edit()
    found = env.bytecode()
    assert found["status"] == "failed"
    assert found["detail"].startswith("stale bytecode would run instead of the source: ")
    assert found["detail"].endswith("__pycache__/pytorch_utils.cpython-38.pyc")


def test_another_copy_is_seen_there(env: Environment, unpacked: Callable[..., Path]) -> None:
    other = unpacked()
    found = env.bytecode(PYTHONPATH=os.pathsep.join([str(other), str(env.site_packages)]))
    assert found["status"] == "failed"
    assert str(other / PATCHED) in found["detail"]
    assert env.bytecode(PYTHONPATH=str(other.parent)) == {
        "status": "failed",
        "detail": "this interpreter does not find transformers.pytorch_utils",
    }

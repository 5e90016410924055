"""What the self-test asks of modules and bytecode, on a small transformers with a torch that does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
NAME = "isin_mps_friendly"
IMPORT = f"from ..pytorch_utils import {NAME}\n"
FUNCTION = f"def {NAME}(elements, test_elements):\n    return elements\n"
SCRIPT = """
import importlib, json, sys
from patcher.selftest import checks
check, request, *modules = sys.argv[1:]
for name in modules:
    importlib.import_module(name)
try:
    print(json.dumps([getattr(checks, check)(json.loads(request)), None]))
except Exception as error:
    print(json.dumps([None, str(error) if isinstance(error, checks.Failed) else checks.describe(error)]))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    package = tmp_path / "transformers"
    (package / "generation").mkdir(parents=True)
    (package / "models").mkdir()
    for name in ("__init__.py", "generation/__init__.py", "models/__init__.py"):
        (package / name).write_text("")
    (package / "pytorch_utils.py").write_text(FUNCTION)
    (package / "generation" / "stopping_criteria.py").write_text(IMPORT)
    (package / "generation" / "utils.py").write_text("from . import stopping_criteria\n")
    return package


def ask(check: str, package: Path, *modules: str, files: tuple[str, ...] = ()) -> tuple[str | None, str | None]:
    """What the check says, or why it failed, in an interpreter of its own that has imported these modules."""
    request = {
        "site_packages": str(package.parent),
        "files": [str(package / name) for name in files],
        "file": str(package / "pytorch_utils.py"),
        "function": NAME,
    }
    command = [sys.executable, "-c", SCRIPT, check, json.dumps(request), *modules]
    environment = {"PYTHONPATH": f"{package.parent}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    passed, failed = json.loads(done.stdout)
    return passed, failed


def test_every_loaded_module_that_has_the_function_is_asked(package: Path) -> None:
    (package / "models" / "loaded.py").write_text(IMPORT)
    (package / "models" / "not_loaded.py").write_text(f"{NAME} = None\n")
    (package / "models" / "within.py").write_text(f"def call():\n    {IMPORT}")
    told, _ = ask("callers", package, "transformers.models.loaded", "transformers.models.within")
    assert told == "3 loaded modules have the function, each the installed one"


def test_nobody_need_import_it(package: Path) -> None:
    (package / "generation" / "stopping_criteria.py").unlink()
    (package / "generation" / "utils.py").write_text("")
    told, _ = ask("callers", package)
    assert told == "1 loaded module has the function, each the installed one"


@pytest.mark.parametrize(
    "text",
    [
        f"{IMPORT}{NAME} = len\n",
        f"from .. import pytorch_utils\n{FUNCTION}",
        f"{IMPORT}{NAME} = type({NAME})({NAME}.__code__, {{}})\n",  # the same code is not the same function
        f"{IMPORT}other = {NAME}\ndel {NAME}\n",
        f"from ..pytorch_utils import {NAME} as other\n",
    ],
    ids=["a builtin", "one of its own", "a copy", "deleted", "another name"],
)
def test_a_module_of_generation_with_another_function_is_named(package: Path, text: str) -> None:
    (package / "generation" / "stopping_criteria.py").write_text(text)
    told = "wrong or missing function in transformers.generation.stopping_criteria"
    assert ask("callers", package) == (None, told)


def test_a_model_with_another_function_is_named(package: Path) -> None:
    (package / "models" / "other.py").write_text(f"{NAME} = len\n")
    told = "wrong or missing function in transformers.models.other"
    assert ask("callers", package, "transformers.models.other") == (None, told)


def test_a_module_from_which_it_is_gone_is_named(package: Path) -> None:
    (package / "pytorch_utils.py").write_text("")
    (package / "generation" / "stopping_criteria.py").write_text("")
    assert ask("callers", package) == (None, f"transformers.pytorch_utils has no {NAME}")


def test_a_generation_that_cannot_be_imported_fails(package: Path) -> None:
    (package / "generation" / "utils.py").write_text("import not_here\n")
    told = "ModuleNotFoundError: No module named 'not_here' (transformers/generation/utils.py:1 in <module>)"
    assert ask("callers", package) == (None, told)


def test_the_bytecode_of_every_file_is_judged(package: Path) -> None:
    names = ("pytorch_utils.py", "generation/utils.py", "models/__init__.py")
    assert ask("bytecode", package, files=names)[0]
    compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compileall, package], check=True)
    assert ask("bytecode", package, files=names)[0]
    (package / "models" / "__init__.py").write_text("x = 1\n")
    _, failed = ask("bytecode", package, files=names)
    assert failed
    assert "stale bytecode would run instead of the source" in failed
    assert "models/__pycache__/__init__" in failed
    assert ask("bytecode", package, files=names[:2])[0]

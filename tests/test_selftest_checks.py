"""What the self-test asks of modules that import the function, on a small package with a torch that does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from patches.isin_mps_friendly import PATCH

ROOT = Path(__file__).resolve().parent.parent
FIXED = PATCH.replacement.read_text()
FUTURE = "from __future__ import annotations\n"
SCRIPT = """
import json, sys
from patcher.selftest import checks
try:
    print(json.dumps([getattr(checks, sys.argv[1])(json.loads(sys.argv[2])), None]))
except checks.Failed as failure:
    print(json.dumps([None, str(failure)]))
"""
WITHIN = "from ..pytorch_utils import isin_mps_friendly\n"
CALLER = "from .pytorch_utils import isin_mps_friendly\n"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "torch.py").write_text("class Tensor: pass\n")
    package = tmp_path / "transformers"
    (package / "models").mkdir(parents=True)
    for name in ("__init__.py", "models/__init__.py"):
        (package / name).write_text("")
    (package / "pytorch_utils.py").write_text(FIXED)
    (package / "caller.py").write_text(CALLER)
    return package


def asked(check: str, package: Path, *files: str) -> tuple[str | None, str | None]:
    """What the check says, or why it failed, in an interpreter of its own."""
    request = {
        "site_packages": str(package.parent),
        "files": [str(package / name) for name in files],
        "file": str(package / "pytorch_utils.py"),
        "function": PATCH.function,
        "replacement": str(PATCH.replacement),
    }
    command = [sys.executable, "-c", SCRIPT, check, json.dumps(request)]
    environment = {"PYTHONPATH": f"{package.parent}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    passed, failed = json.loads(done.stdout)
    return passed, failed


def test_every_caller_is_asked(package: Path) -> None:
    (package / "models" / "other.py").write_text("from ..pytorch_utils import isin_mps_friendly as redirected_isin\n")
    (package / "models" / "within.py").write_text(f"def f():\n    {WITHIN}")
    (package / "strings.py").write_text("x = 'from .pytorch_utils import isin_mps_friendly'\n")
    assert asked("callers", package) == ("2 modules hold the fixed function", None)


@pytest.mark.parametrize("head", ["", FUTURE])
def test_the_future_import_of_the_module_does_not_matter(package: Path, head: str) -> None:
    (package / "pytorch_utils.py").write_text(head + FIXED.replace(FUTURE, ""))
    assert asked("callers", package) == ("1 module holds the fixed function", None)


def test_nobody_need_import_it(package: Path) -> None:
    (package / "caller.py").unlink()
    told, _ = asked("callers", package)
    assert told == "transformers.pytorch_utils holds the fixed function, which no other module of the package imports"


WRONG = {
    "another function under its name": (CALLER + "isin_mps_friendly = len\n", "transformers.caller"),
    "another function under an alias": (
        "from .pytorch_utils import isin_mps_friendly as m\nm = lambda a, b: a\n",
        "transformers.caller",
    ),
}


@pytest.mark.parametrize(("text", "name"), WRONG.values(), ids=WRONG)
def test_a_caller_with_another_function_is_named(package: Path, text: str, name: str) -> None:
    (package / "caller.py").write_text(text)
    assert asked("callers", package) == (None, f"1 of 2 modules do not hold the fixed function: {name}")


def test_the_functions_own_module_is_asked_too(package: Path) -> None:
    (package / "pytorch_utils.py").write_text(FIXED.replace("2**20", "2**19"))
    told = "2 of 2 modules do not hold the fixed function: transformers.pytorch_utils, transformers.caller"
    assert asked("callers", package) == (None, told)


def test_a_module_that_needs_what_is_not_here_is_told_of(package: Path) -> None:
    (package / "models" / "vision.py").write_text(f"import not_here.at_all\n{WITHIN}")
    told, _ = asked("callers", package)
    assert told == "1 module holds the fixed function; not importable here: transformers.models.vision (no not_here)"


@pytest.mark.parametrize("text", ["import transformers.not_here\n", "from .pytorch_utils import not_here\n", "1 / 0\n"])
def test_a_module_that_is_broken_is_an_error(package: Path, text: str) -> None:
    (package / "caller.py").write_text(CALLER + text)
    with pytest.raises(AssertionError, match="Error"):
        asked("callers", package)


def test_the_bytecode_of_every_file_is_judged(package: Path) -> None:
    names = ("pytorch_utils.py", "caller.py", "models/__init__.py")
    told, _ = asked("bytecode", package, *names)
    assert told
    compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    subprocess.run([*compileall, package], check=True)
    assert asked("bytecode", package, *names)[1] is None
    (package / "models" / "__init__.py").write_text("x = 1\n")
    _, failed = asked("bytecode", package, *names)
    assert failed
    assert "stale bytecode would run instead of the source" in failed
    assert "models/__pycache__/__init__" in failed
    assert asked("bytecode", package, *names[:2])[1] is None

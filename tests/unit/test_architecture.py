"""The shape of the code: which module may import which, and what is in the wheel."""

from __future__ import annotations

import ast
import graphlib
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "patcher"
# From the bottom to the top: each layer imports from those before it, and from itself without a circle.
LAYERS = (
    {"errors", "model", "owner", "diff", "traceback", "progress", "selftest", "evaluator", "runtime", "hook"},
    {"forks", "workers"},
    {"catalogue", "edit", "storage", "targets"},
    {"scan", "prepared", "callers", "durations"},
    {"snapshot"},
    {"recompute", "plan"},
    {"messages", "transaction"},
    {"hooks"},
    {"operations", "evidence", "template", "explain"},
    {"verify", "run", "doctor"},
    {"evaluation"},
    {"help_text", "options", "command_options", "evaluation_options", "document"},
    {"terminal", "suggest", "verdict"},
    {"closing", "explain_text"},
    {"table"},
    {"output"},
    {"boundary"},
    {"commands", "cli", "__main__"},
)
PROBES = (PACKAGE / "targets" / "probe.py", PACKAGE / "targets" / "torch_probe.py")
# These run inside the target's interpreter, which holds nothing of ours.
FOLDERS = (PACKAGE / "selftest", PACKAGE / "evaluator", PACKAGE / "runtime", PACKAGE / "templates", PACKAGE / "hook")
GUESTS = [
    *PROBES,
    *(path for folder in FOLDERS for path in sorted(folder.rglob("*.py"))),
    *sorted((ROOT / "patches").glob("*/contract.py")),
]
ENGINE = [path for path in sorted(PACKAGE.rglob("*.py")) if path not in GUESTS and path.name != "__init__.py"]
INSIDE = [*ENGINE, *sorted(PACKAGE.rglob("__init__.py"))]


def imports(path: Path, *, everywhere: bool = True) -> Iterator[tuple[int, str]]:
    """Each import of a file as its level (0: absolute) and dotted name; those inside functions only if `everywhere`.

    `from patcher import operations` counts as `patcher.operations`, which is what it loads.
    """
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree) if everywhere else run_at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((0, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f".{name.name}" for name in node.names] if node.module in ("patcher", None) else [""]
            yield from ((node.level, f"{node.module or ''}{name}") for name in names)


def run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that importing the module runs: nothing inside functions or `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from run_at_import(node)


def module_of(path: Path) -> str:
    """`edit.calls` for patcher/edit/calls.py."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imported_by(path: Path) -> set[str]:
    """The modules of ours that a module imports, as `module_of` has them."""
    return {name.removeprefix("patcher.") for _, name in imports(path) if name.startswith("patcher.")} - {"__version__"}


def layer_of(module: str) -> int:
    (number,) = [number for number, layer in enumerate(LAYERS) if module.partition(".")[0] in layer]
    return number


def name_of(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_imports_go_down_the_layers(path: Path) -> None:
    above = {name for name in imported_by(path) if layer_of(name) > layer_of(module_of(path))}
    assert not above


def test_no_imports_go_in_a_circle() -> None:
    graphlib.TopologicalSorter({module_of(path): imported_by(path) for path in INSIDE}).prepare()


@pytest.mark.parametrize("folder", ["edit", "storage"])
def test_what_edits_and_stores_knows_only_itself_and_the_words(folder: str) -> None:
    foreign = {name for path in (PACKAGE / folder).glob("*.py") for name in imported_by(path)}
    assert {name for name in foreign if name.partition(".")[0] != folder} <= {"errors", "model"}


@pytest.mark.parametrize("name", ["plan", "recompute"])
def test_the_plan_reads_and_writes_nothing(name: str) -> None:
    tree = ast.parse((PACKAGE / f"{name}.py").read_bytes())
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    assert not used & {"open", "os", "read_image", "stage", "time"}
    assert not {name for _, name in imports(PACKAGE / f"{name}.py")} & {"io", "os", "shutil", "subprocess", "time"}


def test_only_the_command_line_prints() -> None:
    printing = {module_of(path) for path in ENGINE if re.search(r"\b(print|click\.echo|sys\.exit)\(", path.read_text())}
    assert printing <= {"boundary", "__main__"}


def test_no_name_is_defined_in_two_modules() -> None:
    defined = Counter(
        node.name
        for path in INSIDE
        if path.parent not in FOLDERS
        for node in ast.parse(path.read_bytes()).body
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
    )
    assert [name for name, count in defined.items() if count > 1] == []


@pytest.mark.parametrize("path", GUESTS, ids=name_of)
def test_guests_import_what_the_target_has(path: Path) -> None:
    absolute = {name.split(".")[0] for level, name in imports(path) if level == 0}
    foreign = absolute - set(sys.stdlib_module_names) - {"torch", "transformers"}
    assert not foreign
    assert all(level == 1 for level, _ in imports(path) if level)


@pytest.mark.parametrize("path", GUESTS, ids=name_of)
def test_guests_are_written_for_the_oldest_python(path: Path) -> None:
    ast.parse(path.read_bytes(), feature_version=(3, 8))


@pytest.mark.parametrize("path", [*ENGINE, *GUESTS], ids=name_of)
def test_libcst_is_imported_only_where_a_file_is_rewritten(path: Path) -> None:
    assert "libcst" not in {name.split(".")[0] for _, name in imports(path, everywhere=False)}


def test_the_engine_imports_neither_torch_nor_transformers() -> None:
    found = {(path.stem, name) for path in ENGINE for _, name in imports(path)}
    assert not [pair for pair in found if pair[1].split(".")[0] in ("torch", "transformers")]


@pytest.mark.parametrize("command", ["status", "apply"])
def test_a_command_that_rewrites_nothing_pays_for_nothing(
    command: str, unpacked: Callable[..., Path], tmp_path: Path
) -> None:
    """`status`, and `apply` on a patched target, load neither libcst nor torch nor transformers."""
    place = ["--site-packages", str(unpacked())]
    run = [sys.executable, "-m", "patcher", "apply", *place]
    if command == "apply":
        subprocess.run(run, check=True, capture_output=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from patcher.cli import program\n"
        "try:\n"
        f"    program({[command, *place, '--quiet']!r})\n"
        "except SystemExit as end:\n"
        "    print(end.code, *sorted({'libcst', 'torch', 'transformers'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "0\n", done.stdout + done.stderr

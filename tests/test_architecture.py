"""The shape of the house: which module may import which, and what is in the wheel."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parent.parent
# Each module imports only those above it. A new module gets its place here.
ORDER = (
    "errors",
    "model",
    "locate.metadata",
    "locate.distribution",
    "locate.interpreter",
    "locate.trust",
    "locate.walk",
    "locate.choice",
    "locate.targets",
    "source",
    "body",
    "rewrite",
    "calls.scopes",
    "calls.names",
    "calls.sites",
    "calls.text",
    "calls.branches",
    "calls.placing",
    "calls.concrete",
    "calls.arguments",
    "calls.redirect",
    "edits",
    "freshness",
    "change.files",
    "change.attributes",
    "change.exchange",
    "change.folder",
    "change.clock",
    "change.lock",
    "change.bytecode",
    "change.record",
    "change.ledger",
    "change.diff",
    "change.scan",
    "change.place",
    "change.scene",
    "change.transaction",
    "change.standing",
    "change.told",
    "change.plan",
    "change.survey",
    "change.leftovers",
    "change.deeds",
    "change.operations",
    "guest",
    "verify",
    "document",
    "report",
    "flags",
    "cli",
    "__main__",
)
PACKAGES = ("patcher", "patcher.locate", "patcher.calls", "patcher.change", None)
PROBE = ROOT / "patcher" / "locate" / "probe.py"
# These run inside the target's interpreter, which holds nothing of ours.
GUESTS = [
    PROBE,
    *sorted((ROOT / "patcher" / "selftest").rglob("*.py")),
    *sorted((ROOT / "patches").glob("*/contract.py")),
]
ENGINE = [
    path for path in sorted((ROOT / "patcher").rglob("*.py")) if path not in GUESTS and path.name != "__init__.py"
]
CATALOGUE = [path for path in sorted((ROOT / "patches").rglob("*.py")) if path not in GUESTS]


def imports(path: Path, *, everywhere: bool = True) -> Iterator[tuple[int, str]]:
    """Each import of a file as its level (0: absolute) and dotted name; those inside functions only if `everywhere`.

    `from patcher import files` counts as `patcher.change.files`, which is what it loads.
    """
    tree = ast.parse(path.read_bytes())
    for node in ast.walk(tree) if everywhere else run_at_import(tree):
        if isinstance(node, ast.Import):
            yield from ((0, name.name) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module in PACKAGES:
            yield from ((node.level, f"{node.module or ''}.{name.name}".strip(".")) for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.level, node.module


def run_at_import(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that importing the module runs: nothing inside functions or `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            continue
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from run_at_import(node)


def place_of(path: Path) -> str:
    """The module's name without `patcher.`, as in ORDER."""
    return ".".join(path.relative_to(ROOT / "patcher").with_suffix("").parts)


def name_of(path: object) -> str:
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else str(path)


@pytest.mark.parametrize("path", ENGINE, ids=name_of)
def test_imports_flow_one_way(path: Path) -> None:
    place = place_of(path)
    assert place in ORDER, f"give {place} its place in ORDER"
    earlier = {f"patcher.{name}" for name in ORDER[: ORDER.index(place)]} | {"patcher.__version__"}
    ours = {name for level, name in imports(path) if level or name.split(".")[0] in ("patcher", "patches")}
    allowed = earlier | ({"patches"} if place == "cli" else set())
    assert ours <= allowed, f"{name_of(path)} imports {sorted(ours - allowed)}"


def test_the_order_names_what_is_there() -> None:
    assert set(ORDER) == {place_of(path) for path in ENGINE}


@pytest.mark.parametrize("path", CATALOGUE, ids=name_of)
def test_patches_import_only_the_model(path: Path) -> None:
    ours = {name for _, name in imports(path) if name.split(".")[0] == "patcher"}
    assert ours <= {"patcher.model"}


@pytest.mark.parametrize("path", GUESTS, ids=name_of)
def test_guests_import_what_the_target_has(path: Path) -> None:
    absolute = {name.split(".")[0] for level, name in imports(path) if level == 0}
    foreign = absolute - set(sys.stdlib_module_names) - {"torch", "transformers"}
    assert not foreign
    assert all(level == 1 for level, _ in imports(path) if level)


@pytest.mark.parametrize("path", GUESTS, ids=name_of)
def test_guests_are_written_for_the_oldest_python(path: Path) -> None:
    ast.parse(path.read_bytes(), feature_version=(3, 8))


@pytest.mark.parametrize("path", [*ENGINE, *CATALOGUE, *GUESTS], ids=name_of)
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
        "from patcher.cli import main\n"
        "try:\n"
        f"    main({[command, *place, '--quiet']!r})\n"
        "except SystemExit as end:\n"
        "    print(end.code, *sorted({'libcst', 'torch', 'transformers'} & set(sys.modules)))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "0\n", done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This project's own wheel, built from the files of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)], check=True)
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    ours = {
        str(path.relative_to(ROOT))
        for folder in ("patcher", "patches")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == ours


def test_the_wheel_works_installed(wheel: Path, unpacked: Callable[..., Path], tmp_path: Path) -> None:
    """The packed tool, in an environment of its own and from another folder, does its whole round."""
    venv, site_packages = tmp_path / "venv", unpacked()
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, str(wheel)], check=True)
    original = (site_packages / "transformers" / "pytorch_utils.py").read_bytes()
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def run(*arguments: str) -> int:
        command = [str(venv / "bin" / "mps-patcher"), *arguments, "--site-packages", str(site_packages)]
        return subprocess.run(command, cwd=tmp_path, env=environment, check=False).returncode

    assert run("status", "--check") == 4
    assert run("apply") == 0
    assert run("status", "--check") == 0
    assert run("verify", "--static") == 0
    assert run("revert") == 0
    assert (site_packages / "transformers" / "pytorch_utils.py").read_bytes() == original

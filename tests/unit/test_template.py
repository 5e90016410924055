"""The templates as text: whole, Python 3.8, with the fixed function in them; and the file that --output writes."""

from __future__ import annotations

import ast
import builtins
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from patcher import cli
from patcher.catalogue import load_catalogue
from patcher.model import FunctionPatch
from patcher.template import KINDS, render


def run(*arguments: object) -> Result:
    """`mps-patcher template ARGUMENTS...` in this process."""
    return CliRunner().invoke(cli.program, ["template", *map(str, arguments)], prog_name="mps-patcher")


def function_in(source: str, name: str) -> str:
    """The syntax tree of the one function of that name at the top level."""
    (found,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == name)
    return ast.dump(found)


def undefined_names(source: str) -> set[str]:
    """The names that a module uses and nowhere binds, apart from builtins."""
    nodes = list(ast.walk(ast.parse(source)))
    used = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    bound |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    bound |= {node.name or "" for node in nodes if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.ExceptHandler))}
    imports = [node for node in nodes if isinstance(node, (ast.Import, ast.ImportFrom))]
    bound |= {(name.asname or name.name).partition(".")[0] for node in imports for name in node.names}
    return used - bound - set(dir(builtins)) - {"__name__"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_is_written_for_the_oldest_python(kind: str) -> None:
    ast.parse(render(kind, load_catalogue()), feature_version=(3, 8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_holds_the_replacement_itself(kind: str) -> None:
    (patch,) = (patch for patch in load_catalogue() if isinstance(patch, FunctionPatch))
    assert function_in(render(kind, load_catalogue()), patch.function) == function_in(patch.replacement, patch.function)


def test_a_template_follows_the_catalogue() -> None:
    changed = "import torch\n\n\ndef isin_mps_friendly(a, b):\n    return a\n"
    catalogue = tuple(
        patch._replace(replacement=changed) if isinstance(patch, FunctionPatch) else patch for patch in load_catalogue()
    )
    for kind in KINDS:
        assert "    return a\n" in render(kind, catalogue)


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_needs_nothing_of_ours(kind: str) -> None:
    text = render(kind, load_catalogue())
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in imports if node.level]
    assert not undefined_names(text)
    assert not {"patcher", "patches"} & {str(node.module).partition(".")[0] for node in imports}


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_reads_as_one_file(kind: str) -> None:
    text = render(kind, load_catalogue())
    assert "\n\n\n\n" not in text
    assert text.endswith("\n")
    assert max(map(len, text.splitlines())) <= 120


def test_the_script_is_the_default() -> None:
    assert run().stdout == run("script").stdout == render("script", load_catalogue())
    assert run("runtime").stdout == render("runtime", load_catalogue())


@pytest.mark.parametrize(("options", "said"), [((), "Wrote {}.\n"), (("--quiet",), "")])
def test_output_writes_the_file(options: tuple[str, ...], said: str, tmp_path: Path) -> None:
    file = tmp_path / "mps_runtime_patch.py"
    result = run("runtime", "--output", file, *options)
    assert (result.exit_code, result.stdout, result.stderr) == (0, said.format(file), "")
    assert file.read_text("utf-8") == render("runtime", load_catalogue())


@pytest.mark.parametrize(
    ("name", "error"),
    [("mine.py", "already exists"), ("no/folder/x.py", "There is no folder"), ("mine.py/x.py", "There is no folder")],
)
def test_output_is_refused(name: str, error: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("mine")
    result = run("--output", tmp_path / name)
    assert (result.exit_code, result.stdout) == (1, "")
    cause, hint = result.stderr.splitlines()
    assert cause.startswith("error: ")
    assert error in cause
    assert hint.startswith("hint: ")
    assert [*tmp_path.iterdir()] == [mine]
    assert mine.read_text() == "mine"


@pytest.mark.parametrize("arguments", [("library",), ("script", "runtime"), ("--json",)])
def test_a_wrong_command_line(arguments: tuple[str, ...]) -> None:
    assert run(*arguments).exit_code == 2

"""A refusal is a line of cause and a line of what to do, whatever is named in it, and its code is in the docs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from documents import ERRORS_FILE, ROOT, documented_codes

from patcher.errors import PatcherError


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("a b.py", "a b.py"),
        ("größe \N{SNOWMAN}", "größe \N{SNOWMAN}"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("a\x1b[31m", "a\\x1b[31m"),
        ("caf\udce9", "caf\\udce9"),
        ("\ud800", "\\ud800"),
        ("a\u2028b\x85c", "a\\u2028b\\x85c"),
        ("\u202e", "\\u202e"),
    ],
)
def test_what_cannot_be_shown_is_escaped(path: str, shown: str) -> None:
    error = PatcherError("a-code", f"{path} is damaged.", f"Look at {path}.")
    assert (str(error), error.message, error.hint) == (f"{shown} is damaged.",) * 2 + (f"Look at {shown}.",)
    error.message.encode("utf-8")


def raised_codes() -> Iterator[tuple[str, str]]:
    """Every code that some module raises, with the module's name."""
    modules = {path: ast.parse(path.read_bytes()) for path in sorted((ROOT / "patcher").rglob("*.py"))}
    names = error_classes([node for tree in modules.values() for node in ast.walk(tree)])
    for path, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names and node.args:
                yield from ((code, path.name) for code in codes_of(node.args[0], tree))


def error_classes(nodes: list[ast.AST]) -> set[str]:
    """PatcherError and what derives from it."""
    names = {"PatcherError"}
    classes = {node.name: node.bases for node in nodes if isinstance(node, ast.ClassDef)}
    while found := {name for name, bases in classes.items() if {ast.unparse(base) for base in bases} & names} - names:
        names |= found
    return names


def codes_of(code: ast.expr, module: ast.Module) -> set[str]:
    """The codes that an expression may stand for. What is looked up comes from a table: all words of the module like a
    code. The code of another error (`error.code`), which is raised elsewhere, is none.
    """
    match code:
        case ast.Constant(value=str(word)):
            return {word}
        case ast.IfExp():
            return codes_of(code.body, module) | codes_of(code.orelse, module)
        case ast.Attribute():
            return set()
    words = {node.value for node in ast.walk(module) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {word for word in words if re.fullmatch("[a-z]+(-[a-z]+)+", word)} - {"emulated-mps", "mps-patcher"}


def test_every_code_is_in_the_docs_and_every_code_of_the_docs_is_raised() -> None:
    raised = {code for code, _ in raised_codes()}
    assert {"usage", "no-transformers", "disk-full", "linked-package", "interrupted"} <= raised  # of each kind
    assert raised == documented_codes()


def test_the_docs_say_of_each_code_when_and_what_to_do() -> None:
    rows = [line for line in ERRORS_FILE.read_text("utf-8").splitlines() if line.startswith("| `")]
    assert len(rows) == len(documented_codes())
    for row in rows:
        assert [bool(cell.strip()) for cell in row.strip("|").split("|")] == [True, True, True]

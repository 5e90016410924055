"""Syntax trees: when two are the same, what binds a name, and digests that every Python gives alike."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from patcher.catalogue import load_catalogue
from patcher.edit.syntax import ast_equal, bindings, normalized, parse_module
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch

ROOT = Path(__file__).parents[3]
SOURCE = "import a\n\n\ndef f(x: int = 1, *y, z=None) -> str:\n    'Doc.'\n    return [x, 1.0, b'a', ...] or {**y}\n"


def test_trees_are_equal_wherever_they_stand() -> None:
    assert ast_equal(ast.parse(SOURCE), ast.parse("# further down\n" + SOURCE.replace("    ", "\t")))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import a", "import b"),
        ("import a\n", "import a\nimport a\n"),
        ("x: int = 1", "x: int = 1.0"),
        ("x: int = 1", "x: int = True"),
        ("x: int", "x"),
        ("return", "yield"),
        ("'Doc.'", "'Doc'"),
    ],
)
def test_trees_differ_in_anything_that_python_reads(old: str, new: str) -> None:
    assert not ast_equal(ast.parse(SOURCE), ast.parse(SOURCE.replace(old, new)))


@pytest.mark.parametrize(
    ("result", "equal"),
    [
        ("import a\nimport b\nx = [c, 1]\n", True),
        ("import b\nimport a\nx = [c, 1]\n", False),
        ("import a\nx = [c, 1]\n", False),
        ("import a\nimport b\nx = [a.c, 1]\n", False),
        ("import a\nimport b\nx = [c, c]\n", False),
    ],
)
def test_trees_are_compared_as_they_shall_be_changed(result: str, equal: bool) -> None:
    tree = ast.parse("import a\nx = [a.c, 1]\n")
    anchor, statement = tree.body
    call = next(node for node in ast.walk(statement) if isinstance(node, ast.Attribute))
    changed: dict[ast.AST, list[ast.AST]] = {
        anchor: [anchor, *ast.parse("import b").body],
        call: [ast.Name(id="c", ctx=ast.Load())],
    }
    assert ast_equal(ast.parse(result), tree, changed) is equal


def test_trees_that_are_too_deep_to_be_written_out_are_compared() -> None:
    deep = "x = a" + "()" * 900
    assert ast_equal(ast.parse(deep), ast.parse(deep))
    assert not ast_equal(ast.parse(deep), ast.parse(deep + "()"))


def test_what_only_readers_see_is_no_part_of_what_is_compared() -> None:
    def shaped(text: str) -> object:
        return normalized(ast.parse(text).body)

    assert shaped("x: int = 1") == shaped("x = 1")
    assert shaped("x: int") != shaped("x = 1")
    assert shaped("def f(x: int) -> str:\n    'Doc.'\n    return x") == shaped("def f(x):\n    return x")
    assert shaped("def f(x):\n    return x") != shaped("def f(y):\n    return y")


BOUND = [
    "it = 1",
    "it: int = 1",
    "it += 1",
    "del it",
    "for it in x: pass",
    "with x as it: pass",
    "import it",
    "import it.part",
    "import x as it",
    "from x import it",
    "from x import y as it",
    "def it(): pass",
    "async def it(): pass",
    "class it: pass",
    "(it := 1)",
    "f = lambda x=(it := 1): x",
    "def f(x=(it := 1)): pass",
    "def f(*, x=(it := 1)): pass",
    "def f(x: (it := 1)): pass",
    "def f() -> (it := 1): pass",
    "@(it := g)\ndef f(): pass",
    "@(it := g)\nclass A: pass",
    "class A((it := B)): pass",
    "class A(metaclass=(it := B)): pass",
    "def f():\n    global it",
    "class A:\n    global x, it",
    "try: pass\nexcept E as it: pass",
    "match x:\n    case it: pass",
    "match x:\n    case [*it]: pass",
    "match x:\n    case {**it}: pass",
    "match x:\n    case {'k': A(it)}: pass",
]
NOT_BOUND = [
    "it",
    "it.x = 1",
    "it[0] = 1",
    "import x.it",
    "import it as x",
    "from it import x",
    "def f(it): it = 1",
    "f = lambda it: (it := 1)",
    "class A:\n    it = 1",
    "def f():\n    global x",
    "match x:\n    case {'it': y, **z}: pass",
    "match x:\n    case _: pass",
]


@pytest.mark.parametrize(("text", "count"), [*((text, 1) for text in BOUND), *((text, 0) for text in NOT_BOUND)])
def test_what_binds_a_name_in_the_scope_of_the_module(text: str, count: int) -> None:
    assert len(bindings(ast.parse(text), "it")) == count
    inner = "".join(f"    {line}\n" for line in text.splitlines())
    assert len(bindings(ast.parse(f"if x:\n{inner}"), "it")) == count


@pytest.mark.parametrize("error", [SystemError, MemoryError, RecursionError])
def test_what_kills_the_parser_is_told_of(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(*_: object, **__: object) -> ast.Module:
        raise error

    monkeypatch.setattr(ast, "parse", parser)
    with pytest.raises(PatcherError, match=f"^x.py cannot be parsed as Python: {error.__name__}.$") as caught:
        parse_module(b"x = 1\n", PurePosixPath("x.py"))
    assert caught.value.code == "unparsable-source"


DIGESTS = """if True:
    import ast, sys
    from patcher.edit.syntax import code_digest
    for file in sys.argv[1:]:
        for node in ast.walk(ast.parse(open(file, "rb").read())):
            if isinstance(node, ast.If) or (isinstance(node, ast.FunctionDef) and node.name == "isin_mps_friendly"):
                print(code_digest(node))
"""


def test_every_python_gives_the_digests_of_the_catalogue(
    pythons: dict[tuple[int, int], Path], wheels: Callable[[str], Path], tmp_path: Path
) -> None:
    files = []
    for version in ("4.40.2", "4.43.4", "4.44.2", "4.45.1", "4.46.3"):
        for name in ("pytorch_utils.py", "generation/utils.py", "generation/stopping_criteria.py"):
            files.append(tmp_path / f"{version}-{name.replace('/', '-')}")
            with ZipFile(wheels(version)) as archive:
                files[-1].write_bytes(archive.read(f"transformers/{name}"))
    answers = set()
    for python in {Path(sys.executable), *(path for version, path in pythons.items() if version >= (3, 11))}:
        command = [str(python), "-B", "-c", DIGESTS, *map(str, files)]
        answers.add(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
    (answer,) = answers
    function, calls = load_catalogue()
    assert isinstance(function, FunctionPatch)
    assert isinstance(calls, CallsPatch)
    assert {known.digest for known in (*function.known_bodies, *calls.device_branches)} <= {*answer.split()}

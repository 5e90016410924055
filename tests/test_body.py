"""Syntax trees: when two are the same, and which are too deep."""

from __future__ import annotations

import ast

import pytest

from patcher.body import DEEPEST, alike, bindings, parse, require_shallow, shape
from patcher.errors import PatcherError

SOURCE = b"import a\n\n\ndef f(x: int = 1, *y, z=None) -> str:\n    'Doc.'\n    return [x, 1.0, b'a', ...] or {**y}\n"


def test_trees_are_alike_wherever_they_stand() -> None:
    assert alike(parse(SOURCE), parse(b"# further down\n" + SOURCE.replace(b"    ", b"\t")))
    assert alike(parse(SOURCE).body, parse(SOURCE).body)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"import a", b"import b"),
        (b"import a\n", b"import a\nimport a\n"),
        (b"x: int = 1", b"x: int = 1.0"),
        (b"x: int = 1", b"x: int = True"),
        (b"x: int", b"x"),
        (b"return", b"yield"),
        (b"'Doc.'", b"'Doc'"),
    ],
)
def test_trees_differ_in_anything_that_python_reads(old: bytes, new: bytes) -> None:
    assert old in SOURCE
    assert not alike(parse(SOURCE), parse(SOURCE.replace(old, new)))


def test_trees_that_are_too_deep_to_be_written_out_are_compared() -> None:
    deep = b"x = a" + b"()" * 900
    assert alike(parse(deep), parse(deep))
    assert not alike(parse(deep), parse(deep + b"()"))


@pytest.mark.parametrize("chain", ["a and b", "a" + " and b" * 900, "-" * 900 + "a", "[a]" * 90])
def test_what_every_parser_reads_is_shallow(chain: str) -> None:
    require_shallow(parse(chain.encode()))


def test_a_chain_counts_as_deep_as_it_is_long() -> None:
    require_shallow(ast.parse(f"f(a{' and b' * 600}, c{' or b' * 600})"))
    with pytest.raises(ValueError, match="more than 1000 levels deep"):
        require_shallow(ast.parse(f"a{' and b' * 600} and (c{' or b' * 600})"))


@pytest.mark.parametrize("error", [SystemError, MemoryError, RecursionError])
def test_what_kills_the_parser_is_told_of(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def parser(source: bytes) -> ast.Module:
        del source
        raise error

    monkeypatch.setattr(ast, "parse", parser)
    with pytest.raises(PatcherError, match=f"cannot be parsed as Python: {error.__name__}") as caught:
        parse(SOURCE)
    assert caught.value.code == "unparsable-source"


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
    "async def f(x=(it := 1)): pass",
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
    "async def f(it): it = 1",
    "f = lambda it: (it := 1)",
    "class A:\n    it = 1",
    "def f():\n    global x",
    "match x:\n    case {'it': y, **z}: pass",
    "match x:\n    case _: pass",
]


@pytest.mark.parametrize(("text", "count"), [*((text, 1) for text in BOUND), *((text, 0) for text in NOT_BOUND)])
def test_what_binds_a_name_in_the_scope_of_the_module(text: str, count: int) -> None:
    assert len(bindings(parse(text.encode()), "it")) == count
    inner = "".join(f"    {line}\n" for line in text.splitlines())
    assert len(bindings(parse(f"if x:\n{inner}".encode()), "it")) == count


def test_what_is_only_said_to_readers_is_no_part_of_the_shape() -> None:
    def shaped(text: str) -> object:
        return shape(ast.parse(text).body)

    assert shaped("x: int = 1") == shaped("x = 1")
    assert shaped("x: int") != shaped("x = 1")
    assert shaped("x: int") != shaped("y: int")
    assert shaped("def f(x: int) -> str:\n    'Doc.'\n    return x") == shaped("def f(x):\n    return x")
    assert shaped("def f(x):\n    return x") != shaped("def f(y):\n    return y")


def test_a_tree_is_not_like_the_beginning_of_a_longer_one() -> None:
    assert not alike(ast.parse("f(a)"), ast.parse("f(a, b)"))
    assert not alike([ast.Pass()], [ast.Pass(), ast.Pass()])


def test_the_deepest_that_is_shallow() -> None:
    def nested(depth: int) -> ast.AST:
        node: ast.expr = ast.Name(id="a", ctx=ast.Load())
        for _ in range(depth):
            node = ast.UnaryOp(op=ast.USub(), operand=node)
        return ast.Expr(value=node)

    require_shallow(nested(DEEPEST - 3))  # with the statement around it, and the name with its context inside
    with pytest.raises(ValueError, match="levels deep"):
        require_shallow(nested(DEEPEST - 2))

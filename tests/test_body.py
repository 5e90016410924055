"""Syntax trees: when two are the same, and which are too deep."""

from __future__ import annotations

import ast

import pytest

from patcher.body import alike, parse, require_shallow
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

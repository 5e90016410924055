"""The bytes of a module: which encoding Python reads them in, and which lines it counts."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.source import Source, lines, read

ENCODINGS = {
    b"": "utf-8",
    b"x = 1\n": "utf-8",
    b"# coding: latin-1\n": "latin-1",
    b"#!/usr/bin/python\n# -*- coding: cp1252 -*-\n": "cp1252",
    b"\n#coding=koi8-r\n": "koi8-r",
    b" \t\x0c# vim: set fileencoding=ascii :\n": "ascii",
    b"# \xe9 coding: latin-1\n": "latin-1",
    b"#\r# coding: ascii\r": "ascii",
    b"#\r\n# coding: ascii\r\n": "ascii",
    b"#\r#\r# coding: ascii\r": "utf-8",
    b"x = 1\n# coding: ascii\n": "utf-8",
    b"#\n#\n# coding: ascii\n": "utf-8",
    b"# coding: UTF_8\n": "utf-8",
    b"# coding: utf_8_sig\n": "utf-8",
    b"# coding:\n# coding: ascii\n": "ascii",
    b"\xef\xbb\xbf# coding: utf-8\n": "utf-8",
}


@pytest.mark.parametrize(("source", "encoding"), ENCODINGS.items())
def test_the_declared_encoding_is_found_as_python_finds_it(source: bytes, encoding: str) -> None:
    found = read(source)
    assert found.encoding == encoding
    assert found.mark + found.text.encode(encoding) == source
    letters = bytes(range(0x80, 0x100))
    try:
        tree = ast.parse(source + b"'" + letters + b"'\n")
    except (SyntaxError, ValueError):
        assert encoding in ("utf-8", "ascii", "cp1252")
        return
    (statement,) = (node for node in tree.body if isinstance(node, ast.Expr))
    assert isinstance(statement.value, ast.Constant)
    assert statement.value.value == letters.decode(encoding)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (b"# coding: no-such\n", "no-such is no encoding of text"),
        (b"# coding: rot13\n", "rot13 is no encoding of text"),
        (b"# coding: hex\n", "hex is no encoding of text"),
        (b"# coding: ascii\n# \xe9\n", "ascii"),
        (b"\xff", "utf-8"),
        (b"# coding: utf-7\n# +AGE-\n", "utf-7 does not give the bytes back"),
    ],
)
def test_what_cannot_be_read_or_not_be_written_again_is_refused(source: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read(source)


def test_parts_are_written_alone_only_where_they_are_the_same_together() -> None:
    assert read(b"ab").pieces(["a", "", "b"]) == [b"a", b"", b"b"]
    with pytest.raises(ValueError, match="no part can change alone"):
        Source(mark=b"", encoding="utf-16", text="ab").pieces(["a", "b"])


@given(st.text(st.sampled_from("a\r\n\f\v\x1c\x85\u2028")))
def test_only_what_python_counts_ends_a_line(text: str) -> None:
    found = lines(text)
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    assert "".join(found) == text
    assert [line.rstrip("\r\n") for line in found] == plain.removesuffix("\n").split("\n")[: len(found)]
    assert len(found) == plain.count("\n") + (plain[-1:] not in ("", "\n"))

"""A module as text: lines as Python counts them, in their encoding, and edits of its bytes."""

from __future__ import annotations

import pytest

from patcher.calls.text import Edit, Text


@pytest.mark.parametrize(
    ("source", "number", "indent", "newline"),
    [
        (b"  x\n", 1, b"  ", b"\n"),
        (b"if a:\r\n\tx\r\n", 2, b"\t", b"\r\n"),
        (b"if a:\r \tx\r", 2, b" \t", b"\r"),
        (b"if a:\n\t\f  x\n", 2, b"  ", b"\n"),
        (b"x\n", 1, b"", b"\n"),
        (b"x", 1, b"", b"\n"),
        (b"x\r\n  y", 2, b"  ", b"\r\n"),
        (b"x\r\ny\nz", 3, b"", b"\r\n"),
    ],
)
def test_what_a_line_begins_and_ends_with(source: bytes, number: int, indent: bytes, newline: bytes) -> None:
    text = Text.read(source)
    assert (text.indent(number), text.newline(number)) == (indent, newline)


@pytest.mark.parametrize(
    ("source", "plain"),
    [
        (b"a\rb\r\nc\n", b"a\nb\r\nc\n"),
        (b"a = 1\fb\n", b"a = 1 b\n"),
        (b"\fa\n", b"\na\n"),
        (b" \f\t\f a\n", b"  \t\n a\n"),
        (b"a\r\f b\n", b"a\n\n b\n"),
    ],
)
def test_what_libcst_is_given_has_the_same_length(source: bytes, plain: bytes) -> None:
    assert Text.read(source).plain() == plain
    assert len(plain) == len(source)


def test_edits_are_made_in_their_order_wherever_they_come_from() -> None:
    edits = [Edit(start=4, end=5, new=b"E"), Edit(start=0, end=1, new=b"A"), Edit(start=0, end=0, new=b"<")]
    assert Text.read(b"abcdef").edited(edits) == b"<AbcdEf"
    assert Text.read(b"abcdef").edited([]) == b"abcdef"


@pytest.mark.parametrize("inner", [(1, 4), (1, 2), (2, 3), (3, 4), (2, 2)])
def test_an_edit_inside_of_what_another_removes_is_void(inner: tuple[int, int]) -> None:
    edits = [Edit(start=inner[0], end=inner[1], new=b"!"), Edit(start=1, end=4)]
    expected = b"aef" if inner != (1, 4) else None
    if expected:
        assert Text.read(b"abcdef").edited(edits) == expected
    else:  # which of two that change the same is made does not matter, but only one is
        assert Text.read(b"abcdef").edited(edits) in (b"aef", b"a!ef")


@pytest.mark.parametrize("other", [(0, 2), (3, 5)])
def test_edits_that_overlap_are_refused(other: tuple[int, int]) -> None:
    edits = [Edit(start=1, end=4), Edit(start=other[0], end=other[1])]
    with pytest.raises(ValueError, match="two edits overlap"):
        Text.read(b"abcdef").edited(edits)


def test_edits_that_touch_are_both_made() -> None:
    edits = [Edit(start=1, end=3), Edit(start=3, end=4, new=b"D"), Edit(start=3, end=3, new=b"|")]
    assert Text.read(b"abcdef").edited(edits) == b"a|Def"

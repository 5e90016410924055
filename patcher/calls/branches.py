"""Taking an `if` out of a block: what stands under its `else` takes its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from patcher.calls.sites import Branch, Survey
from patcher.calls.text import Edit, Text

_ELSE = re.compile(rb"[ \t\f]*else[ \t\f]*:[ \t\f]*")


def branch_edits(found: Survey, text: Text, strings: Iterable[tuple[int, int]]) -> Iterator[Edit]:
    """The edits that take all branches out. `strings` are the spans of literals, whose lines keep their indent.

    Raises ValueError where an `else` is written as no module writes it.
    """
    inside = [pair for pair in strings if b"\n" in text.body[slice(*pair)] or b"\r" in text.body[slice(*pair)]]
    gone = {one.node for one in found.branches if not one.node.orelse}
    for branch in found.branches:
        if branch.node.orelse:
            yield from _unwrapped(branch.node, text, inside)
        else:
            yield _removed(branch, text, gone, found.tree)


def without_branches(found: Survey) -> None:
    """Take the branches out of the tree."""
    for branch in reversed(found.branches):  # what is inside another comes after it
        at = branch.block.index(branch.node)
        branch.block[at : at + 1] = branch.node.orelse
        if not branch.block and branch.block is not found.tree.body:
            branch.block.append(ast.Pass())


def _removed(branch: Branch, text: Text, gone: set[ast.If], tree: ast.Module) -> Edit:
    """The whole lines of a branch without an `else`, and the empty ones that set it apart from what follows."""
    node, block = branch.node, branch.block
    after = _past_comments(node, _last_line(node.body) + 1, text)
    if gone.issuperset(block) and block[0] is node and block is not tree.body:
        new = text.indent(node.lineno) + b"pass" + text.newline(node.lineno)
    else:
        new = b""
        while block[-1] is not node and text.line(after) and not text.line(after).strip():
            after += 1
    return Edit(start=text.start(node.lineno), end=text.start(after), new=new)


def _unwrapped(node: ast.If, text: Text, inside: list[tuple[int, int]]) -> Iterator[Edit]:
    """Everything up to the `else` goes, and what stands under it moves to the left."""
    first = node.orelse[0]
    yield Edit(start=text.start(node.lineno), end=text.start(_last_line(node.body) + 1))
    gap = range(_last_line(node.body) + 1, first.lineno + 1)
    header = next((number for number in gap if text.line(number).lstrip(b" \t\f").startswith(b"else")), 0)
    for number in range(gap.start, header):
        if not text.line(number).strip() or len(text.indent(number)) > len(text.indent(node.lineno)):
            yield Edit(start=text.start(number), end=text.start(number + 1))
    if not header or not (match := _ELSE.match(text.line(header))):
        raise ValueError("an else stands where none was expected")
    start, rest = text.start(header), text.line(header)[match.end() :]
    if rest.strip():
        yield Edit(start=start, end=start + match.end(), new=text.indent(node.lineno))
    else:
        yield Edit(start=start, end=text.start(header + 1))
    if header != first.lineno:
        last = _past_comments(node, _last_line(node.orelse) + 1, text)
        yield from _dedented(range(header + 1, last), text.indent(first.lineno), text.indent(node.lineno), text, inside)


def _dedented(lines: range, old: bytes, new: bytes, text: Text, inside: list[tuple[int, int]]) -> Iterator[Edit]:
    for number in lines:
        start = text.start(number)
        if text.line(number).startswith(old) and not any(low < start < high for low, high in inside):
            yield Edit(start=start, end=start + len(old), new=new)


def _past_comments(node: ast.If, number: int, text: Text) -> int:
    """The first line from `number` on that is no comment of the block above it."""
    while text.line(number).lstrip().startswith(b"#") and len(text.indent(number)) > len(text.indent(node.lineno)):
        number += 1
    return number


def _last_line(block: list[ast.stmt]) -> int:
    return block[-1].end_lineno or block[-1].lineno

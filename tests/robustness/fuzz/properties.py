"""What holds of the engine whatever it is given: each check tries one input and says how it ended.

The end is `edited`, `edited by force`, `as it was`, `restored`, `read`, or the code of the refusal. An AssertionError,
or any exception but a PatcherError, is a defect.
"""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import io
import os
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from difflib import SequenceMatcher
from pathlib import Path, PurePosixPath
from typing import TypeVar
from zlib import crc32

from patcher import edits
from patcher.change import ledger, record
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State
from patches.direct_isin import PATCH as DIRECT
from patches.isin_mps_friendly import PATCH as ISIN

CALLER = PurePosixPath("transformers/models/clvp/modeling_clvp.py")
OURS = "transformers-4.45.1.dist-info/mps-patcher/"
LINE = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")
LINE_END = re.compile(rb"\r\n|\r|\n")
BANNER = re.compile(rb"# mps-patcher (?:\d\S* |undoes it with: )")
MARKER = b"  # mps-patcher redirects torch.isin here"
STATE_CODES = ("state-damaged", "state-newer")
Made = TypeVar("Made")

SMALL = replace(ISIN, replacement=Path(__file__).with_name("small.py"))
"""The patch with a short function: most of the time goes into parsing ours again and again."""


def tried(work: Callable[[], Made]) -> Made | PatcherError:
    """What `work` gives, or the refusal: a line of cause and a line of what to do."""
    try:
        return work()
    except PatcherError as error:
        check_words(error)
        return error


def check_words(error: PatcherError) -> None:
    for text in (str(error), error.message, error.hint):
        assert text.strip(), error.code
        assert text.isprintable(), (error.code, text)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", error.code)


def lines_of(data: bytes) -> list[bytes]:
    """The lines as Python counts them, found without the code under test."""
    return LINE.findall(data)


# The rewriter


def rewriter(data: bytes, patch: FunctionPatch = SMALL) -> str:
    """Any bytes as the function's file: the function is replaced or added and no other byte changes, or refused."""
    found = tried(lambda: edits.find(data, patch.file, patch))
    plain = _edited(data, patch, force=False)
    if isinstance(found, PatcherError):
        assert isinstance(plain, PatcherError)
        assert found.code == plain.code == "unparsable-source"
        return found.code
    if not isinstance(plain, PatcherError):
        assert crc32(data) % 8 or plain == _edited(data, patch, force=True)
        return _made(data, plain, found, patch) or "edited"
    forced = _edited(data, patch, force=True)
    return plain.code if isinstance(forced, PatcherError) else _made(data, forced, found, patch) or "edited by force"


def known(above: bytes, function: bytes, below: bytes, patch: FunctionPatch = SMALL) -> str:
    """A file whose function has a body that is known: it is replaced for certain, and the rest stays."""
    end = rewriter(above + function + below, patch)
    assert end == "edited", end
    result = edits.edit(above + function + below, patch.file, patch)
    assert result.startswith(above)
    assert result.endswith(below)
    return end


def _made(data: bytes, result: bytes, found: edits.Finding, patch: FunctionPatch) -> str | None:
    if result == data:
        assert found.state is State.PATCHED
        return "as it was"
    _check_function(data, result, patch, added=found.state is State.ABSENT)
    return None


def _edited(data: bytes, patch: Patch, *, force: bool) -> bytes | PatcherError:
    path = CALLER if isinstance(patch, CallsPatch) else patch.file
    return tried(lambda: edits.edit(data, path, patch, force=force))


def _check_function(data: bytes, result: bytes, patch: FunctionPatch, *, added: bool) -> None:
    assert edits.find(result, patch.file, patch).state is State.PATCHED
    assert edits.edit(result, patch.file, patch, force=True) == result
    _check_compiles(data, result)
    ends = set(LINE_END.findall(data))
    assert len(ends) != 1 or set(LINE_END.findall(result)) == ends
    if added:
        assert result.startswith(data)
        assert re.match(rb"[\r\n]+# mps-patcher \d", result[len(data) :])
        return
    above, old, below = _spans(data)
    assert result.startswith(above)
    assert result.endswith(below)
    assert len(result) > len(above) + len(below)
    new = result[len(above) : len(result) - len(below)]
    assert BANNER.match(new)
    head = re.match(rb"def(?:\s|\\(?:\r\n?|\n))+[^\r\n(]*", old)
    assert head
    assert head.group() in new


def _spans(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What must stay above the function, the function, and what must stay below it.

    A comment of ours that stands above it, after the statement before it, may go.
    """
    body = _parsed(data).body
    (function,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == ISIN.function)
    before = max((node.end_lineno or 0 for node in body if node.lineno < function.lineno), default=0)
    every, start = lines_of(data), function.lineno - 1
    every[:1] = [every[0].removeprefix(b"\xef\xbb\xbf")]
    comments = [line for line in every[before:start] if not BANNER.match(line)]
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    above = mark + b"".join([*every[:before], *comments])
    return above, b"".join(every[start : function.end_lineno]), b"".join(every[function.end_lineno :])


def _parsed(data: bytes) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data)


def _check_compiles(data: bytes, result: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            compile(data, "before", "exec", dont_inherit=True)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return
        compile(result, "after", "exec", dont_inherit=True)


# Direct calls


def calls(data: bytes) -> str:
    """Any bytes as a module that may call torch.isin: only calls, branches and imports change, or it is refused."""
    found = tried(lambda: edits.find(data, CALLER, DIRECT))
    assert not isinstance(found, PatcherError), "what cannot be read is modified, not an error"
    plain = forced = _edited(data, DIRECT, force=False)
    if isinstance(plain, PatcherError) or not crc32(data) % 8:
        forced = _edited(data, DIRECT, force=True)
    assert isinstance(plain, PatcherError) or plain == forced
    if isinstance(forced, PatcherError):
        return forced.code
    if forced == data:
        assert found.complete or found.state is State.MODIFIED
        return plain.code if isinstance(plain, PatcherError) else "as it was"
    _check_calls(data, forced)
    return "edited by force" if isinstance(plain, PatcherError) else "edited"


def redirected(data: bytes, expected: bytes) -> str:
    """A module of which it is known what it must become."""
    end = calls(data)
    assert edits.edit(data, CALLER, DIRECT) == expected
    return end


def _check_calls(data: bytes, result: bytes) -> None:
    after = edits.find(result, CALLER, DIRECT)
    assert after.complete, after.detail
    assert edits.edit(result, CALLER, DIRECT, force=True) == result
    _check_compiles(data, result)
    old, new, skipped = _different(lines_of(data), lines_of(result))
    may_change = {number - skipped for number in _lines_about_it(_parsed(data))}
    for tag, low, high, start, stop in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "insert":
            assert all(MARKER in line for line in new[start:stop]), new[start:stop]
        for number in range(low, high) if tag != "equal" else ():
            kept = old[number].rstrip(b"\r\n")
            extended = any(MARKER in line and line.startswith(kept) for line in new[start:stop])
            ended = kept == old[number] and any(line.rstrip(b"\r\n") == kept for line in new[start:stop])
            assert number + 1 in may_change or extended or ended, old[number]


def _different(old: list[bytes], new: list[bytes]) -> tuple[list[bytes], list[bytes], int]:
    """Both without the lines that are the same at the start and at the end, and how many those at the start are."""
    start = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), 0)
    old, new = old[start:], new[start:]
    while old and new and old[-1] == new[-1]:
        old, new = old[:-1], new[:-1]
    return old, new, start


def _lines_about_it(tree: ast.Module) -> set[int]:
    """The lines of all statements that name isin in an expression of theirs, and of all branches about a device."""
    names = {"isin"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name for alias in node.names if alias.name == "isin"}
    found: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt) and (_is_branch(node) or any(_names(one) & names for one in _own(node))):
            last = node.end_lineno if _is_branch(node) or not hasattr(node, "body") else node.body[0].lineno
            found |= set(range(node.lineno, (last or node.lineno) + 1))
    return found


def _own(statement: ast.stmt) -> list[ast.AST]:
    return [node for node in ast.iter_child_nodes(statement) if not isinstance(node, (ast.stmt, ast.ExceptHandler))]


def _names(expression: ast.AST) -> set[str]:
    every = ast.walk(expression)
    return {str(getattr(node, "attr", getattr(node, "id", ""))) for node in every}


def _is_branch(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and any(getattr(one, "value", None) == "mps" for one in ast.walk(node.test))


# RECORD


def rows(data: bytes) -> str:
    """Any bytes as RECORD: our rows come and go again, the file's row follows, no byte of the others changes."""
    path = str(ISIN.file)
    text = data.decode("utf-8", "surrogateescape")
    old = record.find(data, path)
    new = _row(path, b"new")
    added = {f"{OURS}state.json": b"{}\n", f"{OURS}{'a' * 64}.orig": b"old"}
    after = record.follow(data, {path: new}, OURS, added)
    assert record.follow(after, {path: new}, OURS, added) == after
    assert record.find(after, path) == (None if old is None else new)
    for name, content in added.items():
        assert record.find(after, name) == _row(name, content)
    if OURS in text.replace("\\", "/"):
        return "with rows of ours before"
    assert record.restore(after, {} if old is None else {path: old}, OURS) == data
    _check_rows(text, after.decode("utf-8", "surrogateescape"), old, new, [_row(*one) for one in added.items()])
    return "restored" if old is not None else "restored, not listed"


def _check_rows(before: str, after: str, old: str | None, new: str, ours: list[str]) -> None:
    """Without our rows, and with the old one where the new one is, it is again what it was: by plain search."""
    at = after.index(ours[0])
    rest = after[at:]
    for row in ours:
        assert rest.startswith(row)
        rest = re.sub(r"\A(\r\n|\r|\n)", "", rest[len(row) :])
    assert before == after[:at] + (rest if old is None else old + rest.removeprefix(new))


def _row(path: str, data: bytes) -> str:
    named = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")
    written = io.StringIO()
    csv.writer(written, lineterminator="").writerow([path, f"sha256={named}", str(len(data))])
    return written.getvalue()


# The state file


def state(data: bytes) -> str:
    """Any bytes as the state file: they are what we may have written, and name nothing outside; or are refused."""
    found = tried(lambda: ledger.decode(data, "state.json"))
    if isinstance(found, PatcherError):
        assert found.code in STATE_CODES
        return found.code
    assert ledger.decode(ledger.encode(found), "state.json") == found
    for entry in found.files:
        _check_inside(entry.path)
        assert re.fullmatch(r"[0-9a-f]{64}\.orig", entry.backup)
        os.fsencode(entry.link or "")
        assert 0 <= entry.mode <= 0o7777
    paths = {entry.path for entry in found.files}
    assert len(paths) == len(found.files) > 0
    for path, row in found.record.rows if found.record else ():
        assert path in paths
        assert record.find(row.encode("utf-8", "surrogateescape"), path) == row
    return "read"


def _check_inside(path: str) -> None:
    assert path
    assert "\0" not in path
    os.fsencode(path)
    inside = os.path.normpath(os.path.join("/site-packages", path))  # noqa: PTH118 - as the system joins them
    assert inside == f"/site-packages/{path}"
    assert inside.startswith("/site-packages/")


CHECKS: dict[str, Callable[[bytes], str]] = {"rewriter": rewriter, "calls": calls, "record": rows, "state": state}
"""By target, the check of any bytes at all."""

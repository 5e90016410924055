"""What holds of the engine whatever it is given: each check tries one input and says how it ended.

The end is `edited`, `edited by force`, `as it was`, `restored`, `read`, or the code of the refusal. An AssertionError,
or any exception but a PatcherError, is a defect.
"""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TypeVar
from zlib import crc32

from patcher.catalogue import load_catalogue
from patcher.edit import Finding, edit_source, identify
from patcher.errors import PatcherError
from patcher.model import CallsPatch, FunctionPatch, Patch, State
from patcher.storage.journal import decode_journal, encode_journal
from patcher.storage.record import find_rows, record_row, update_record

(ISIN,) = (patch for patch in load_catalogue() if isinstance(patch, FunctionPatch))
(DIRECT,) = (patch for patch in load_catalogue() if isinstance(patch, CallsPatch))
CALLER = PurePosixPath("transformers/models/clvp/modeling_clvp.py")
INFO = "transformers-4.45.1.dist-info"
OURS = f"{INFO}/mps-patcher/"
LINE_END = re.compile(rb"\r?\n")
BANNER = re.compile(rb"# mps-patcher (?:\d\S* |undoes it with: )")
MARKER = b"  # mps-patcher redirects torch.isin here"
UNREADABLE = ("unparsable-source", "unsupported-encoding")
EDIT_CODES = (*UNREADABLE, "unknown-body", "unknown-call", "function-absent", "unsafe-rewrite")
STATE_CODES = ("state-damaged", "state-newer")
Made = TypeVar("Made")


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


# Source


def function(data: bytes) -> str:
    """Any bytes as the function's file: the function is replaced or added and no other byte changes, or refused."""
    return _edit(data, ISIN.file, ISIN, _check_function)


def known(above: bytes, text: bytes, below: bytes) -> str:
    """A file whose function has a body that is known: it is replaced for certain, and the rest stays."""
    end = function(above + text + below)
    assert end == "edited", end
    result = edit_source(above + text + below, ISIN.file, ISIN)
    assert result.startswith(above)
    assert result.endswith(below)
    return end


def calls(data: bytes) -> str:
    """Any bytes as a module that may call torch.isin: only calls, branches and imports change, or it is refused."""
    return _edit(data, CALLER, DIRECT, _check_calls)


def redirected(data: bytes, expected: bytes) -> str:
    """A module of which it is known what it must become."""
    end = calls(data)
    assert edit_source(data, CALLER, DIRECT) == expected
    return end


def _edit(data: bytes, path: PurePosixPath, patch: Patch, check: Callable[[bytes, bytes, Finding], None]) -> str:
    """Recognises and edits, without force and with it. Identify never fails: what it cannot read is modified."""
    found = identify(data, path, patch)
    result = plain = tried(lambda: edit_source(data, path, patch))
    if isinstance(plain, PatcherError) or not crc32(data) % 8:
        result = tried(lambda: edit_source(data, path, patch, force=True))
        assert isinstance(plain, PatcherError) or plain == result
    for one in (plain, result):
        assert not isinstance(one, PatcherError) or one.code in EDIT_CODES
    if isinstance(plain, PatcherError):
        assert found.state is not State.PATCHED
        assert found.state is State.MODIFIED or plain.code in ("function-absent", "unsafe-rewrite")
    if isinstance(result, PatcherError):
        return result.code
    if result == data:
        assert found.state in (State.PATCHED, State.ABSENT, State.MODIFIED)
        return plain.code if isinstance(plain, PatcherError) else "as it was"
    check(data, result, found)
    assert edit_source(result, path, patch, force=True) == result
    _check_compiles(data, result)
    return "edited by force" if isinstance(plain, PatcherError) else "edited"


def _check_function(data: bytes, result: bytes, found: Finding) -> None:
    assert identify(result, ISIN.file, ISIN).state is State.PATCHED
    ends = set(LINE_END.findall(data))
    assert len(ends) != 1 or set(LINE_END.findall(result)) == ends
    if found.state is State.ABSENT:
        assert result.startswith(data)
        assert re.match(rb"[\r\n]+# mps-patcher \d", result[len(data) :])
        return
    above, old, below = _spans(data)
    assert result.startswith(above)
    assert result.endswith(below)
    assert len(result) > len(above) + len(below)
    new = result[len(above) : len(result) - len(below)]
    assert BANNER.match(new)
    head = re.match(rb"def(?:\s|\\\r?\n)+[^\r\n(]*", old)
    assert head
    assert head.group() in new


def _spans(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What must stay above the function, the function, and what must stay below it.

    A comment of ours that stands above it, after the statement before it, may go.
    """
    body = _parsed(data).body
    (node,) = (node for node in body if isinstance(node, ast.FunctionDef) and node.name == ISIN.function)
    before = max((one.end_lineno or 0 for one in body if one.lineno < node.lineno), default=0)
    every, start = data.splitlines(keepends=True), node.lineno - 1
    comments = [line for line in every[before:start] if not BANNER.match(line.removeprefix(b"\xef\xbb\xbf"))]
    above = b"".join([*every[:before], *comments])
    if data.startswith(b"\xef\xbb\xbf") and not above.startswith(b"\xef\xbb\xbf"):
        above = b"\xef\xbb\xbf" + above
    text = b"".join(every[start : node.end_lineno]).removeprefix(b"\xef\xbb\xbf")
    return above, text, b"".join(every[node.end_lineno :])


def _check_calls(data: bytes, result: bytes, _: Finding) -> None:
    """Line by line: one import is new, and only lines with a call, or of a test of the device, are others."""
    after = identify(result, CALLER, DIRECT)
    assert (after.calls, after.branches) == (0, 0)
    assert after.state in (State.PATCHED, State.MODIFIED)
    old, new = ([one for one in text.splitlines(True) if MARKER not in one] for text in (data, result))
    assert result.count(MARKER) <= data.count(MARKER) + 1
    assert len(old) == len(new)
    for one, other in zip(old, new, strict=True):
        assert one == other or b"torch.isin" in one or b".device" in one, one


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


# RECORD


def rows(data: bytes) -> str:
    """Any bytes as RECORD: our rows come and go again, the file's row follows, no byte of the others changes."""
    path = str(ISIN.file)
    old = find_rows(data, frozenset({path})).get(path)
    new = {path: record_row(path, b"new")}
    added = {name: record_row(name, name.encode()) for name in (f"{OURS}state.json", f"{OURS}a.orig")}
    after = update_record(data, new, OURS, added.values())
    assert update_record(after, new, OURS, added.values()) == after
    assert find_rows(after, frozenset({path, *added})) == added | (new if old is not None else {})
    if OURS.encode() in data.replace(b"\\", b"/"):
        return "with rows of ours before"
    assert update_record(after, {} if old is None else {path: old}, OURS, ()) == data
    texts = (data.decode("utf-8", "surrogateescape"), after.decode("utf-8", "surrogateescape"))
    _check_rows(*texts, old, new[path], [*added.values()])
    return "restored" if old is not None else "restored, not listed"


def _check_rows(before: str, after: str, old: str | None, new: str, ours: list[str]) -> None:
    """Without our rows, and with the old one where the new one is, it is again what it was: by plain search."""
    at = after.index(ours[0])
    rest = after[at:]
    for row in ours:
        assert rest.startswith(row)
        rest = re.sub(r"\A(\r\n|\r|\n)", "", rest[len(row) :])
    assert before == after[:at] + (rest if old is None else old + rest.removeprefix(new))


# The state file


def state(data: bytes) -> str:
    """Any bytes as the state file: they are what we may have written, and name nothing outside; or are refused."""
    at = Path("/site-packages", OURS, "state.json")
    found = tried(lambda: decode_journal(data, at, "transformers"))
    if isinstance(found, PatcherError):
        assert found.code in STATE_CODES
        return found.code
    assert decode_journal(encode_journal(found), at, "transformers") == found
    for path, entry in found.files.items():
        _check_inside(str(path))
        os.fsencode(entry.link or "")
        for text in (entry.original, entry.patched or "0" * 64):
            assert re.fullmatch(r"[0-9a-f]{64}", text)
    return "read"


def _check_inside(path: str) -> None:
    assert "\0" not in path
    os.fsencode(path)
    inside = os.path.normpath(os.path.join("/site-packages", path))  # noqa: PTH118 - as the system joins them
    assert inside == f"/site-packages/{path}"
    assert inside.startswith("/site-packages/transformers/") or path == f"{INFO}/RECORD"


CHECKS: dict[str, Callable[[bytes], str]] = {"function": function, "calls": calls, "record": rows, "state": state}
"""By target, the check of any bytes at all."""

"""What a file says of each kind of patch, in one word and one sentence."""

from __future__ import annotations

import ast
import re
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from patcher import edits
from patcher.calls.sites import branch_digest
from patcher.edits import Finding
from patcher.errors import PatcherError
from patcher.model import KnownBody, Patch, State
from patches.direct_isin import PATCH as DIRECT
from patches.isin_mps_friendly import PATCH as ISIN

PATH = PurePosixPath("transformers/x.py")
HEAD = b"import torch\n"
CALL = HEAD + b"x = torch.isin(a, b)\n"
STRANGE = HEAD + b"f = torch.isin\ng = [torch.isin]\n"
(BRANCH,) = ast.parse("if mps:\n    x = isin").body
assert isinstance(BRANCH, ast.If)
BRANCHED = replace(DIRECT, branches=(KnownBody(name="a branch", digest=branch_digest(BRANCH)),))


def test_what_is_mentioned_is_the_called_function() -> None:
    pattern = edits.mention(DIRECT)
    assert pattern is not None
    assert [found.start() for found in re.finditer(pattern, b"isin(a) torch.isin _isin isinstance isin_x")] == [0, 14]
    assert edits.mention(ISIN) is None


@pytest.mark.parametrize(
    ("source", "state", "calls", "branches", "complete", "detail"),
    [
        (CALL, State.UNPATCHED, 1, 0, False, "transformers/x.py calls torch.isin directly"),
        (b"if mps:\n    x = isin\n", State.UNPATCHED, 0, 1, False, "transformers/x.py calls torch.isin directly"),
        (
            CALL + b"if mps:\n    x = isin\n",
            State.UNPATCHED,
            1,
            1,
            False,
            "transformers/x.py calls torch.isin directly",
        ),
        (HEAD, State.ABSENT, 0, 0, True, "transformers/x.py does not call torch.isin directly"),
        (STRANGE, State.MODIFIED, 0, 0, True, "transformers/x.py: line 2 passes torch.isin as a value"),
        (b"isin(", State.MODIFIED, 0, 0, False, "transformers/x.py: The file cannot be parsed as Python"),
    ],
)
def test_a_file_with_calls(source: bytes, state: State, calls: int, branches: int, complete: bool, detail: str) -> None:
    found = edits.find(source, PATH, BRANCHED)
    assert found.detail.startswith(detail)
    assert not found.detail.endswith(".")
    assert found == Finding(state=state, calls=calls, branches=branches, complete=complete, detail=found.detail)


def test_a_file_whose_calls_were_redirected_is_patched() -> None:
    result = edits.edit(CALL, PATH, DIRECT)
    detail = "transformers/x.py does not call torch.isin directly"
    assert edits.find(result, PATH, DIRECT) == Finding(state=State.PATCHED, complete=True, detail=detail)
    assert edits.edit(result, PATH, DIRECT) == result


def test_a_strange_use_is_refused_with_its_line_unless_forced() -> None:
    source = STRANGE + b"x = torch.isin(a, b)\n"
    with pytest.raises(PatcherError, match=r"line 2 passes torch\.isin as a value, which") as caught:
        edits.edit(source, PATH, DIRECT)
    assert caught.value.code == "unknown-call"
    assert "redirects the other calls of torch.isin" in caught.value.hint
    forced = edits.edit(source, PATH, DIRECT, force=True)
    assert forced.endswith(b"g = [torch.isin]\nx = isin_mps_friendly(a, b)\n")


def test_a_function_is_added_where_there_is_none_and_found_then() -> None:
    assert edits.find(HEAD, ISIN.file, ISIN).state is State.ABSENT
    result = edits.edit(HEAD, ISIN.file, ISIN)
    found = edits.find(result, ISIN.file, ISIN)
    assert (found.state, found.complete, found.calls, found.branches) == (State.PATCHED, True, 0, 0)


def test_an_unknown_body_is_replaced_by_force_only() -> None:
    source = HEAD + b"def isin_mps_friendly(elements, test_elements):\n    return None\n"
    found = edits.find(source, ISIN.file, ISIN)
    assert (found.state, found.what, found.complete) == (State.MODIFIED, "no known body", False)
    with pytest.raises(PatcherError) as caught:
        edits.edit(source, ISIN.file, ISIN)
    assert caught.value.code == "unknown-body"
    assert edits.find(edits.edit(source, ISIN.file, ISIN, force=True), ISIN.file, ISIN).state is State.PATCHED


def test_a_patch_of_no_known_kind_is_an_error_of_ours() -> None:
    bare = Patch(name="bare", summary="", links=(), file=ISIN.file, function=ISIN.function, need=ISIN.need)
    for work in (lambda: edits.find(HEAD, PATH, bare), lambda: edits.edit(HEAD, PATH, bare)):
        with pytest.raises(TypeError, match="bare is a patch of no known kind"):
            work()

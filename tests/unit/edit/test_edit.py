"""What both kinds of patch have in common: what may be read at all, and what is never an error."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest

from patcher.catalogue import load_catalogue
from patcher.edit import Finding, edit_source, identify, mentioned_name, whole_word
from patcher.errors import PatcherError
from patcher.model import Patch, State

FUNCTION, CALLS = load_catalogue()
UNREADABLE = {
    "Latin-1": (b"# coding: latin-1\n", "unsupported-encoding", "is declared to be iso-8859-1"),
    "an unknown encoding": (b"# coding: no-such\n", "unsupported-encoding", "unknown encoding: no-such"),
    "an encoding in the second line": (b"#!x\n# coding=ascii\n", "unsupported-encoding", "is declared to be ascii"),
    "a declaration against the mark": (b"\xef\xbb\xbf# coding: latin-1\n", "unsupported-encoding", "is not UTF-8"),
    "bytes that are no UTF-8": (b"\n\n# \xe9\n", "unsupported-encoding", "is not UTF-8"),
    "UTF-16": ("x = 1\n".encode("utf-16"), "unsupported-encoding", "is not UTF-8"),
    "line ends of an old Mac": (b"x = 1\ry = 2\r", "unsupported-encoding", "a carriage return alone"),
    "form feeds": (b"x = 1\n\f\n", "unsupported-encoding", "form feeds"),
    "no Python": (b"this is no Python\n", "unparsable-source", r"cannot be parsed as Python: invalid syntax \("),
    "a string without an end": (b'"""torch', "unparsable-source", "cannot be parsed as Python"),
    "a NUL": (b"x = 1\0\n", "unparsable-source", "cannot be parsed as Python"),
    "too many brackets": (b"x = " + b"(" * 500 + b")" * 500, "unparsable-source", "cannot be parsed as Python"),
    "too deep": (b"x = " + b"-" * 200_000 + b"1\n", "unparsable-source", "cannot be parsed as Python"),
}


@pytest.mark.parametrize("patch", [FUNCTION, CALLS], ids=["function", "calls"])
@pytest.mark.parametrize(("start", "code", "told"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_cannot_be_read_is_modified_and_refused_in_one_line(
    start: bytes, code: str, told: str, patch: Patch
) -> None:
    source = start + b"\nimport torch\nx = torch.isin(a, b)\n"
    path = patch.file if patch is FUNCTION else PurePosixPath("transformers/x.py")
    finding = identify(source, path, patch)
    assert finding.state is State.MODIFIED
    assert finding.detail.startswith(f"{path} ")
    assert re.search(told, finding.detail)
    assert not finding.detail.endswith(".")
    for force in (False, True):
        with pytest.raises(PatcherError, match=told) as caught:
            edit_source(source, path, patch, force=force)
        assert caught.value.code == code
        assert "\n" not in caught.value.message + caught.value.hint


@pytest.mark.parametrize(
    "start", [b"# coding: utf-8\n", b"#\n# -*- coding: UTF8 -*-\n", b"\xef\xbb\xbf", b"# \xc3\xa9\r\n"]
)
def test_utf_8_is_read_however_it_is_declared(start: bytes) -> None:
    source = start + b"import torch\nx = torch.isin(a, b)\n"
    assert identify(source, PurePosixPath("transformers/x.py"), CALLS).state is State.UNPATCHED


def test_a_file_that_a_patch_is_not_about_stays() -> None:
    source = b"this is no Python, but has isin_mps_friendly and def isin_mps_friendly\n"
    for patch, path in ((FUNCTION, PurePosixPath("transformers/x.py")), (CALLS, CALLS.file)):
        assert identify(source, path, patch).state is State.ABSENT
        assert edit_source(source, path, patch, force=True) == source


def test_what_is_mentioned_is_a_word_of_its_own() -> None:
    text = b"isin(a) torch.isin _isin isinstance isin_x isin_mps_friendly"
    assert [found.start() for found in re.finditer(whole_word(mentioned_name(CALLS)), text)] == [0, 14]
    assert [found.start() for found in re.finditer(whole_word(mentioned_name(FUNCTION)), text)] == [43]


def test_a_finding_tells_where() -> None:
    path = PurePosixPath("transformers/x.py")
    details = {
        b"import torch\nx = torch.isin(a, b)\n": "transformers/x.py calls torch.isin directly",
        b"import torch\n": "transformers/x.py is not what direct_isin is about",
        b"import torch  # isin\n": "transformers/x.py does not call torch.isin",
        b"import torch\nx = torch.isin\n": "transformers/x.py, line 2 passes torch.isin as a value",
    }
    assert [identify(source, path, CALLS).detail for source in details] == list(details.values())
    absent = Finding(state=State.ABSENT, detail="transformers/pytorch_utils.py defines no isin_mps_friendly")
    assert identify(b"import torch\n", FUNCTION.file, FUNCTION) == absent

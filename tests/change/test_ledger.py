"""The state file: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher import __version__
from patcher.change import ledger
from patcher.change.ledger import Entry, Ledger, Record
from patcher.errors import PatcherError

ENTRY = Entry(
    path="transformers/pytorch_utils.py",
    patches=("isin_mps_friendly",),
    before="a" * 64,
    after="b" * 64,
    mode=0o640,
    mtime_ns=-1,
    link=None,
)
RECORD = Record(before="c" * 64, rows=((ENTRY.path, f"{ENTRY.path},,"),), mode=0o644, mtime_ns=1, link="x\udce9")
FULL = Ledger(files=(ENTRY,), record=RECORD)


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(ledger.encode(FULL))
    return loaded


def refusal(data: bytes) -> str:
    with pytest.raises(PatcherError) as caught:
        ledger.decode(data, "state.json")
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.message.startswith("state.json ")
    assert caught.value.hint
    return caught.value.code


OTHER = replace(ENTRY, path="transformers/modeling_utils.py", patches=("a", "b"), before="d" * 64)


@pytest.mark.parametrize(
    "written", [FULL, Ledger(files=(ENTRY,), record=None), Ledger(files=(OTHER, ENTRY), record=RECORD)]
)
def test_what_is_written_is_read_again(written: Ledger) -> None:
    assert ledger.decode(ledger.encode(written), "") == written


ENDS: list[dict[str, Any]] = [
    {"mode": 0},
    {"mode": 0o7777},
    {"mtime_ns": -(2**63)},
    {"mtime_ns": 2**63 - 1},
    {"link": None},
    {"link": "../x"},
]


@pytest.mark.parametrize("given", [*ENDS, {"brought_by": "direct_isin"}, {"former": "e" * 64}])
def test_every_value_that_a_file_may_have_is_read_again(given: dict[str, Any]) -> None:
    written = Ledger(files=(replace(ENTRY, **given),), record=RECORD)
    assert ledger.decode(ledger.encode(written), "") == written


@pytest.mark.parametrize("given", [*ENDS, {"rows": ()}])
def test_every_value_that_record_may_have_is_read_again(given: dict[str, Any]) -> None:
    written = Ledger(files=(ENTRY,), record=replace(RECORD, **given))
    assert ledger.decode(ledger.encode(written), "") == written


def test_its_form_is_fixed_for_other_versions_read_it() -> None:
    """A change of this text needs another schema."""
    assert (
        ledger.encode(FULL).decode()
        == f"""\
{{
 "schema": 1,
 "tool": "mps-patcher {__version__}",
 "files": [
  {{
   "path": "transformers/pytorch_utils.py",
   "patches": [
    "isin_mps_friendly"
   ],
   "before": "{"a" * 64}",
   "after": "{"b" * 64}",
   "mode": 416,
   "mtime_ns": -1,
   "link": null,
   "brought_by": null,
   "former": null,
   "backup": "{"a" * 64}.orig"
  }}
 ],
 "record": {{
  "before": "{"c" * 64}",
  "rows": {{
   "transformers/pytorch_utils.py": "transformers/pytorch_utils.py,,"
  }},
  "mode": 420,
  "mtime_ns": 1,
  "link": "x\\udce9"
 }}
}}
"""
    )


@pytest.mark.parametrize("path", ["/abs/x.py", "../x.py", "a/../x.py", "a//x.py", "./x.py", "x\0.py", "a/./x.py", ""])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    found = document()
    found["files"][0]["path"] = path
    found["record"] = None
    assert refusal(json.dumps(found).encode()) == "state-damaged"


def test_a_ledger_of_no_file_is_refused() -> None:
    found = {**document(), "files": [], "record": None}
    assert refusal(json.dumps(found).encode()) == "state-damaged"


def test_a_row_that_is_no_unicode_is_read_again() -> None:
    path = "transformers/\udce9.py"
    entry, rows = replace(ENTRY, path=path), ((path, f"{path},,"),)
    written = Ledger(files=(entry,), record=replace(RECORD, rows=rows))
    assert ledger.decode(ledger.encode(written), "") == written


def test_what_an_earlier_version_did_not_write_is_not_asked_for() -> None:
    found = document()
    del found["files"][0]["brought_by"], found["files"][0]["former"]
    assert ledger.decode(json.dumps(found).encode(), "") == FULL


def test_it_is_small_versioned_and_names_its_backup() -> None:
    found = document()
    assert found["schema"] == 1
    assert found["tool"].startswith("mps-patcher ")
    assert found["files"][0]["backup"] == ENTRY.backup == f"{'a' * 64}.orig"
    assert len(ledger.encode(FULL)) < 2000


def test_a_newer_schema_is_refused_by_its_name() -> None:
    assert refusal(json.dumps({**document(), "schema": 2}).encode()) == "state-newer"
    assert refusal(b'{"schema": 3}') == "state-newer"


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b"{}", b'"x"', b"[" * 100_000, b'{"schema": "2"}'])
def test_what_is_no_state_file_is_damaged(data: bytes) -> None:
    assert refusal(data) == "state-damaged"


@pytest.mark.parametrize("length", range(0, 500, 37))
def test_a_cut_file_is_damaged(length: int) -> None:
    assert refusal(ledger.encode(FULL)[:length]) == "state-damaged"


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x.py", "a/../../x.py", "a/..", "", ".", "a//b", "./a", "a/", "a\0b", 1, None]
)
def test_a_path_out_of_the_target_is_damaged(path: object) -> None:
    found = document()
    found["files"][0]["path"] = path
    assert refusal(json.dumps(found).encode()) == "state-damaged"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patches", "isin"),
        ("patches", [1]),
        ("before", "A" * 64),
        ("before", "b" * 64),  # another than the back-up's name says
        ("after", "b" * 63),
        ("mode", -1),
        ("mode", 0o10000),
        ("mode", True),
        ("mtime_ns", 1.5),
        ("mtime_ns", 2**63),
        ("mtime_ns", -(2**63) - 1),
        ("brought_by", ""),
        ("brought_by", 1),
        ("former", ""),
        ("former", "E" * 64),
        ("link", ""),
        ("link", "a\0b"),
        ("link", 1),
        ("link", "a\ud800"),
        ("path", "transformers/\ud800.py"),
        ("patches", ["\udc00"]),
        ("brought_by", "\udbff"),
        ("backup", "../../x"),
    ],
)
def test_a_wrong_value_is_damaged(key: str, value: object) -> None:
    found = document()
    found["files"][0][key] = value
    assert refusal(json.dumps(found).encode()) == "state-damaged"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("before", ""),
        ("rows", []),
        ("rows", {"../x": "y"}),
        ("rows", {"x": "y\n"}),
        ("rows", {"numpy/__init__.py": "numpy/__init__.py,,"}),  # a file that we did not change
        ("rows", {ENTRY.path: "numpy/__init__.py,,"}),  # the row of another one
        ("rows", {ENTRY.path: f"{ENTRY.path},,\nnumpy/__init__.py,,"}),  # two rows
        ("rows", {ENTRY.path: f"{ENTRY.path},,\ud800"}),
        ("mode", None),
        ("link", []),
        ("rows", {"x": "y\r"}),
        ("rows", {"x": 1}),
        ("mode", -1),
        ("mode", 0o10000),
        ("mtime_ns", 2**63),
        ("mtime_ns", -(2**63) - 1),
        ("link", "a\0b"),
    ],
)
def test_a_wrong_value_about_record_is_damaged(key: str, value: object) -> None:
    found = document()
    found["record"][key] = value
    assert refusal(json.dumps(found).encode()) == "state-damaged"


@pytest.mark.parametrize("schema", [True, 1.0, "1", None, [1], float("inf"), float("nan")])
def test_a_schema_that_is_no_whole_number_is_damaged(schema: object) -> None:
    assert refusal(json.dumps({**document(), "schema": schema}).encode()) == "state-damaged"


def test_a_key_that_stands_twice_is_damaged() -> None:
    written = ledger.encode(FULL).decode()
    assert refusal(written.replace('"mode": 416', '"mode": 416, "mode": 420').encode()) == "state-damaged"
    assert refusal(b'{"schema": 1,' + ledger.encode(FULL)[1:]) == "state-damaged"


def test_the_refusal_names_the_error() -> None:
    with pytest.raises(PatcherError, match=r"^at is not as we wrote it \(KeyError\)\.$"):
        ledger.decode(b"{}", "at")


def test_the_same_file_twice_or_no_file_is_damaged() -> None:
    found = document()
    assert refusal(json.dumps({**found, "files": found["files"] * 2}).encode()) == "state-damaged"
    assert refusal(json.dumps({**found, "files": []}).encode()) == "state-damaged"


def test_only_our_names_are_ours() -> None:
    assert ledger.is_ours("state.json")
    assert ledger.is_ours(ENTRY.backup)
    assert not ledger.is_ours("notes.txt")
    assert not ledger.is_ours("a.orig")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(["schema", "files", "record"]), json_values)
def test_any_json_is_read_or_refused(key: str, value: object) -> None:
    with contextlib.suppress(PatcherError):
        ledger.decode(json.dumps({**document(), key: value}).encode(), "state.json")


@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refusal(data) in ("state-damaged", "state-newer")

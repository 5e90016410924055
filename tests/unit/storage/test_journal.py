"""The state file: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher import __version__
from patcher.errors import PatcherError
from patcher.storage.journal import Journal, JournalEntry, backup_name, decode_journal, encode_journal

AT = Path("site-packages/transformers-4.45.1.dist-info/mps-patcher/state.json")
SOURCE, RECORD = PurePosixPath("transformers/pytorch_utils.py"), PurePosixPath("transformers-4.45.1.dist-info/RECORD")
FULL = Journal(
    requested=("direct_isin", "isin_mps_friendly"),
    files={
        SOURCE: JournalEntry(original="a" * 64, patched="b" * 64, link="../cached.py"),
        RECORD: JournalEntry(original="c" * 64, patched=None),
    },
)


def decode(data: bytes) -> Journal:
    return decode_journal(data, AT, "transformers")


def refusal(document: object) -> str:
    """The code with which these bytes, or this document, are refused."""
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    with pytest.raises(PatcherError) as caught:
        decode(data)
    assert str(AT) in caught.value.message
    assert caught.value.hint
    return caught.value.code


def document(**changes: Any) -> dict[str, Any]:
    return {**json.loads(encode_journal(FULL)), **changes}


ODD = {SOURCE.with_name("caf\udce9\n.py"): JournalEntry(original="a" * 64, patched="b" * 64, link="\udce9\t")}


@pytest.mark.parametrize("files", [FULL.files, {}, {RECORD: FULL.files[RECORD]}, ODD])
@pytest.mark.parametrize("requested", [FULL.requested, ()])
def test_what_is_written_is_read_again(requested: tuple[str, ...], files: dict[PurePosixPath, JournalEntry]) -> None:
    written = Journal(requested=requested, files=files)
    assert decode(encode_journal(written)) == written


def test_its_form_is_fixed_for_other_versions_read_it() -> None:
    """A change of this text needs another schema. The same journal gives the same bytes, whatever its order."""
    text = f"""\
{{
 "schema": 2,
 "tool": "mps-patcher {__version__}",
 "requested": [
  "direct_isin",
  "isin_mps_friendly"
 ],
 "files": {{
  "transformers/pytorch_utils.py": {{
   "original": "{"a" * 64}",
   "patched": "{"b" * 64}",
   "link": "../cached.py"
  }},
  "transformers-4.45.1.dist-info/RECORD": {{
   "original": "{"c" * 64}",
   "patched": null,
   "link": null
  }}
 }}
}}
"""
    assert encode_journal(FULL).decode() == text
    backwards = Journal(requested=FULL.requested, files=dict(reversed(list(FULL.files.items()))))
    assert encode_journal(backwards).decode() == text


def test_a_backup_is_named_after_its_file() -> None:
    assert backup_name(SOURCE) == "transformers.pytorch_utils.py.orig"


@pytest.mark.parametrize("schema", [3, 99, 3.5])
def test_a_later_schema_is_refused_by_its_name(schema: object) -> None:
    assert refusal({"schema": schema}) == refusal(document(schema=schema)) == "state-newer"


@pytest.mark.parametrize("schema", [1, 0, -1, "2", None, [2], {}])
def test_any_other_schema_is_damaged(schema: object) -> None:
    assert refusal(document(schema=schema)) == "state-damaged"


@pytest.mark.parametrize("data", [b"", b"\xff", b"null", b"[]", b"{}", b'"x"', b"[" * 100_000, b'{"schema": 2}'])
def test_what_is_no_state_file_is_damaged(data: bytes) -> None:
    assert refusal(data) == "state-damaged"


@pytest.mark.parametrize("length", range(0, len(encode_journal(FULL)) - 1, 37))
def test_a_cut_file_is_damaged(length: int) -> None:
    assert refusal(encode_journal(FULL)[:length]) == "state-damaged"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/passwd.py", "../x.py", "transformers/../numpy/x.py", "transformers/../../x.py", "numpy/__init__.py",
        "typing.py", "transformers", "transformers/lib.so", "transformers//x.py", "./transformers/x.py", "",
        "transformers/x\0.py", "transformers/\ud800.py", "numpy-1.0.dist-info/RECORD",
        "transformers-4.45.1.dist-info/METADATA",
    ],
)  # fmt: skip
def test_a_path_out_of_the_package_is_damaged(path: str) -> None:
    assert refusal(document(files={path: document()["files"][str(SOURCE)]})) == "state-damaged"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("original", None), ("original", ""), ("original", "A" * 64), ("original", "a" * 63), ("original", "a" * 65),
        ("original", 1), ("patched", "B" * 64), ("patched", f"{'b' * 64}\n"), ("patched", []), ("link", ""),
        ("link", 1), ("link", "a\0b"), ("link", "a\ud800"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_damaged(key: str, value: object) -> None:
    found = document()
    found["files"][str(SOURCE)][key] = value
    assert refusal(found) == "state-damaged"
    del found["files"][str(SOURCE)][key]
    assert refusal(found) == "state-damaged"


@pytest.mark.parametrize("changes", [{"requested": "isin"}, {"requested": [1]}, {"requested": None}, {"files": []}])
def test_a_wrong_field_is_damaged(changes: dict[str, Any]) -> None:
    assert refusal(document(**changes)) == "state-damaged"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.sampled_from(["schema", "requested", "files"]), json_values)
def test_any_json_is_read_or_refused(key: str, value: object) -> None:
    with contextlib.suppress(PatcherError):
        decode(json.dumps(document(**{key: value})).encode())


@given(st.binary())
def test_any_bytes_are_refused(data: bytes) -> None:
    assert refusal(data) in ("state-damaged", "state-newer")

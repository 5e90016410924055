"""RECORD: rows follow, and come back with every byte of the others."""

from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.storage.record import find_rows, record_row, update_record

PATH = "transformers/pytorch_utils.py"
FOLDER = "transformers-4.45.1.dist-info/mps-patcher/"
OLD = f"{PATH},sha256=Hg_mMP2EIBn5pyiTKnUz1yF_z61KSyLqxwy91Q8HRKk,13182"
NEW = record_row(PATH, b"new")
ADDED = (record_row(FOLDER + "state.json", b"{}"), record_row(FOLDER + "back.orig", b"old"))


def find(data: bytes, path: str = PATH) -> str | None:
    return find_rows(data, frozenset((path,))).get(path)


def follow(data: bytes) -> bytes:
    return update_record(data, {PATH: NEW}, FOLDER, ADDED)


def restore(data: bytes, row: str | None = OLD) -> bytes:
    return update_record(data, {PATH: row} if row else {}, FOLDER, ())


def test_a_row_is_as_installers_write_it() -> None:
    # sha256 of the empty string, as pip writes it for REQUESTED
    assert record_row("a/REQUESTED", b"") == "a/REQUESTED,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0"


@pytest.mark.parametrize("path", ["X.py", 'a,"b".py', "two\nlines.py", "a\rreturn.py", "both\r\n.py"])
def test_a_path_is_quoted_where_it_must_be_and_found_again(path: str) -> None:
    row = record_row(path, b"")
    assert [fields[0] for fields in csv.reader(io.StringIO(row + "\n", newline=""))] == [path]
    assert row.startswith('"') == (path != "X.py")
    assert find(b"a.py,,\n" + row.encode() + b"\nb.py,,\n", path) == row


@pytest.mark.parametrize(
    "data",
    [
        f"a.py,,\n{OLD}\nz.py,,\n",
        f"a.py,,\r\n{OLD}\r\nz.py,,\r\n",
        f"a.py,,\n{OLD}",
        OLD,
        f'"quoted, name.py",,\n"two\nlines.py",,\n{OLD}\n',
        f'"{PATH}",sha256=x,1\nz.py,,\n',
        f"{OLD}\n{OLD}\n",
        f"caf\udce9.py,,\n{OLD}\n",
        f'{OLD}\nopen "quote.py,,\n',
        f'"{"long" * 50_000}",,\n{OLD}\n',
        f'{OLD}\n"never closed,,\n\n',
    ],
)
def test_the_row_follows_and_comes_back_byte_for_byte(data: str) -> None:
    before = data.encode("utf-8", "surrogateescape")
    row = find(before)
    after = follow(before)
    assert find(after) == NEW
    assert tuple(find(after, row.partition(",")[0]) for row in ADDED) == ADDED
    assert follow(after) == after
    assert restore(after, row) == before


@pytest.mark.parametrize("data", [b"", b"a.py,,\n", b"a.py,,\r\n", b"\n", b'"open,,\n\n'])
def test_a_file_that_is_not_listed_stays_so(data: bytes) -> None:
    after = follow(data)
    assert find(after) is None
    assert find(after, FOLDER + "state.json") is not None
    assert follow(after) == after
    assert restore(after, None) == data


def test_a_quote_within_a_field_opens_none() -> None:
    assert find(b'"a,b.py",x"y\nrest,"\n', "a,b.py") == '"a,b.py",x"y'
    assert find(b'x"y,,\na.py,,\n', "a.py") == "a.py,,"


def test_a_quote_that_is_never_closed_takes_no_long_time() -> None:
    """Counting its quotes anew with each line took minutes for this one."""
    data = b'"open,,\n' + b"a.py,,\n" * 300_000
    start = time.process_time()
    assert restore(follow(data), None) == data
    assert time.process_time() - start < 20


def test_our_rows_stand_before_the_first_file_of_ours() -> None:
    """So a last line without a line end stays the last one."""
    ours = "".join(f"{row}\n" for row in ADDED)
    assert follow(f"a.py,,\n{OLD}\nz.py,,\n".encode()).decode() == f"a.py,,\n{ours}{NEW}\nz.py,,\n"
    assert follow(f"a.py,,\n{OLD}".encode()).decode() == f"a.py,,\n{ours}{NEW}"
    assert follow(b"a.py,,\nz.py,,\n").decode() == f"{ours}a.py,,\nz.py,,\n"


def test_of_several_rows_of_a_file_the_first_follows() -> None:
    assert find(f"{OLD}\n{PATH},,\n".encode()) == OLD
    assert follow(f"{OLD}\n{PATH},,\n".encode()).decode().endswith(f"{NEW}\n{PATH},,\n")


@pytest.mark.parametrize("written", [PATH.replace("/", "\\"), f'"{PATH}"', '"' + PATH.replace("/", "\\") + '"'])
def test_a_path_is_found_however_it_is_written(written: str) -> None:
    assert find(f"a.py,,\r\n{written},sha256=x,1\r\n".encode()) == f"{written},sha256=x,1"


def test_new_rows_take_the_line_ends_of_their_neighbours() -> None:
    after = follow(f"a.py,,\r\n{OLD}\r\n".encode())
    assert after.count(b"\r\n") == after.count(b"\n") == 4


def test_rows_of_others_stay() -> None:
    after = follow(f"{OLD}\n".encode()).replace(b"transformers-4", b"theirs.py,,\ntransformers-4", 1)
    assert restore(after) == f"theirs.py,,\n{OLD}\n".encode()
    alike = f"{FOLDER.rstrip('/')}.txt,,\n{OLD}\n".encode()  # only begins like our folder
    assert restore(follow(alike)) == alike


@given(st.binary(max_size=200), st.sampled_from([b"", b"\n", b"\r\n"]), st.binary(max_size=200))
def test_whatever_else_is_in_it(before: bytes, end: bytes, after: bytes) -> None:
    data = before + b"\n" + OLD.encode() + end + after
    if FOLDER.encode() in data:
        return
    assert restore(follow(data), find(data)) == data


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), min_size=1), min_size=1, unique=True))
def test_what_csv_writes_is_found(paths: list[str]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows((path, "", "") for path in paths)
    assert find_rows(written.getvalue().encode(), frozenset(paths)).keys() == set(paths)

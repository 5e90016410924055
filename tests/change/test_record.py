"""RECORD: rows follow, and come back with every byte of the others."""

from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patcher.change import record

PATH = "transformers/pytorch_utils.py"
OURS = "transformers-4.45.1.dist-info/mps-patcher/"
OLD = f"{PATH},sha256=Hg_mMP2EIBn5pyiTKnUz1yF_z61KSyLqxwy91Q8HRKk,13182"
NEW = record.row(PATH, b"new")
ADDED = {OURS + "state.json": b"{}", OURS + "back.orig": b"old"}


def follow(data: bytes) -> bytes:
    return record.follow(data, {PATH: NEW}, OURS, ADDED)


def restore(data: bytes, row: str | None = OLD) -> bytes:
    return record.restore(data, {PATH: row} if row else {}, OURS)


def test_a_row_is_as_installers_write_it() -> None:
    # sha256 of the empty string, as pip writes it for REQUESTED
    assert record.row("a/REQUESTED", b"") == "a/REQUESTED,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0"


def test_a_path_with_a_comma_is_quoted() -> None:
    written = record.row('a,"b".py', b"")
    assert next(csv.reader([written]))[0] == 'a,"b".py'
    assert record.find(written.encode(), 'a,"b".py') == written


@pytest.mark.parametrize("path", ["two\nlines.py", "a\rreturn.py", "both\r\n.py"])
def test_a_path_with_a_line_end_is_one_row(path: str) -> None:
    written = record.row(path, b"")
    assert [row[0] for row in csv.reader(io.StringIO(written + "\n", newline=""))] == [path]
    assert record.find(b"a.py,,\n" + written.encode() + b"\nb.py,,\n", path) == written


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
    row = record.find(before, PATH)
    after = follow(before)
    assert record.find(after, PATH) == NEW
    assert all(record.find(after, path) == record.row(path, added) for path, added in ADDED.items())
    assert follow(after) == after
    assert restore(after, row) == before


@pytest.mark.parametrize("data", [b"", b"a.py,,\n", b"a.py,,\r\n", b"\n", b'"open,,\n\n'])
def test_a_file_that_is_not_listed_stays_so(data: bytes) -> None:
    after = follow(data)
    assert record.find(after, PATH) is None
    assert record.find(after, OURS + "state.json") is not None
    assert follow(after) == after
    assert restore(after, None) == data


def test_a_row_of_quotes_that_do_not_pair_is_known_by_its_first_field() -> None:
    assert record.find(b'"a,b.py",x"y\rrest,"\n', "a,b.py") == '"a,b.py",x"y\rrest,"'


def test_a_quote_that_is_never_closed_takes_no_long_time() -> None:
    """Counting its quotes anew with each line took minutes for this one."""
    data = b'"open,,\n' + b"a.py,,\n" * 300_000
    start = time.process_time()
    assert restore(follow(data), None) == data
    assert time.process_time() - start < 20


def test_our_rows_stand_before_the_first_file_of_ours() -> None:
    """So a last line without a line end stays the last one."""
    ours = "".join(f"{record.row(path, data)}\n" for path, data in ADDED.items())
    assert follow(f"a.py,,\n{OLD}\nz.py,,\n".encode()).decode() == f"a.py,,\n{ours}{NEW}\nz.py,,\n"
    assert follow(f"a.py,,\n{OLD}".encode()).decode() == f"a.py,,\n{ours}{NEW}"
    assert follow(b"a.py,,\nz.py,,\n").decode() == f"{ours}a.py,,\nz.py,,\n"


def test_of_several_rows_of_a_file_the_first_follows() -> None:
    assert record.find(f"{OLD}\n{PATH},,\n".encode(), PATH) == OLD
    assert follow(f"{OLD}\n{PATH},,\n".encode()).decode().endswith(f"{NEW}\n{PATH},,\n")


@pytest.mark.parametrize("written", [PATH.replace("/", "\\"), f'"{PATH}"', '"' + PATH.replace("/", "\\") + '"'])
def test_a_path_is_found_however_it_is_written(written: str) -> None:
    assert record.find(f"a.py,,\r\n{written},sha256=x,1\r\n".encode(), PATH) == f"{written},sha256=x,1"


def test_new_rows_take_the_line_ends_of_their_neighbours() -> None:
    after = follow(f"a.py,,\r\n{OLD}\r\n".encode())
    assert after.count(b"\r\n") == after.count(b"\n") == 4


def test_rows_of_others_that_came_since_stay() -> None:
    after = follow(f"{OLD}\n".encode()).replace(b"transformers-4", b"theirs.py,,\ntransformers-4", 1)
    assert restore(after) == f"theirs.py,,\n{OLD}\n".encode()


def test_a_record_that_an_installer_wrote_anew_is_left_alone() -> None:
    theirs = f"{PATH},sha256=other,7\n".encode()
    assert restore(theirs) == theirs


def test_a_name_that_only_begins_like_ours_is_not_ours() -> None:
    data = f"{OURS.rstrip('/')}.txt,,\n{OLD}\n".encode()
    assert restore(follow(data)) == data


@given(st.binary(max_size=200), st.sampled_from([b"", b"\n", b"\r\n"]), st.binary(max_size=200))
def test_whatever_else_is_in_it(before: bytes, end: bytes, after: bytes) -> None:
    data = before + b"\n" + OLD.encode() + end + after
    if OURS.encode() in data:
        return
    assert restore(follow(data), record.find(data, PATH)) == data


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\\"), min_size=1), min_size=1, unique=True))
def test_what_csv_writes_is_found(paths: list[str]) -> None:
    written = io.StringIO(newline="")
    csv.writer(written).writerows((path, "", "") for path in paths)
    assert all(record.find(written.getvalue().encode(), path) is not None for path in paths)


@pytest.mark.parametrize("path", ["X.py", "a\nb.py", "a\rb.py", "a,b.py"])
def test_a_row_quotes_only_what_needs_it(path: str) -> None:
    quoted = path if path == "X.py" else f'"{path}"'
    assert record.row(path, b"").startswith(f"{quoted},sha256=")
    assert record.row(path, b"").endswith(",0")


@pytest.mark.parametrize("row", ["a.py,, ", "a.py,X", "a.py,,\t", '"a\rb.py",,', '"a\r\nb.py",,'])
def test_a_row_is_found_with_every_character(row: str) -> None:
    path = row.partition(",")[0].strip('"')
    for end in ("\n", "\r\n", ""):
        assert record.find(f"{row}{end}".encode(), path) == row

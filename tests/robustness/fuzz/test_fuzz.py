"""Odd, damaged and hostile input, a few hundred of each kind; `make test-fuzz` tries a hundred thousand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import properties
import pytest
import round_trips
import strategies
from hypothesis import HealthCheck, given, settings

from patcher.edit import edit_source
from patcher.errors import PatcherError
from patcher.storage.record import update_record

CORPUS = Path(__file__).with_name("corpus")
FOUND = [(target, path) for target in properties.CHECKS for path in sorted((CORPUS / target).glob("*.bin"))]
many, some, few, two = (
    settings(max_examples=count, suppress_health_check=list(HealthCheck)) for count in (150, 60, 25, 2)
)


@some
@given(strategies.modules())
def test_any_module_is_edited_right_or_refused(module: strategies.Module) -> None:
    properties.function(module.data)


@some
@given(strategies.certain_modules())
def test_a_known_body_is_replaced_whatever_is_around_it(module: strategies.Module) -> None:
    assert module.parts
    properties.known(*module.parts)


@many
@given(strategies.callers())
def test_any_module_with_calls_is_redirected_right_or_refused(data: bytes) -> None:
    properties.calls(data)


@some
@given(strategies.redirections())
def test_calls_become_what_they_must(pair: tuple[bytes, bytes]) -> None:
    properties.redirected(*pair)


@many
@given(strategies.records())
def test_rows_of_others_keep_their_bytes(data: bytes) -> None:
    properties.rows(data)


@many
@given(strategies.states())
def test_no_state_file_leads_outside(data: bytes) -> None:
    properties.state(data)


@few
@given(given=strategies.targets())
def test_a_round_on_a_hostile_target(tmp_path_factory: pytest.TempPathFactory, given: round_trips.Given) -> None:
    round_trips.round_trip(tmp_path_factory.getbasetemp() / "round", given)


@two
@given(given=strategies.targets())
def test_the_command_line_on_a_hostile_target(
    tmp_path_factory: pytest.TempPathFactory, given: round_trips.Given
) -> None:
    round_trips.told(tmp_path_factory.getbasetemp() / "told", given)


@pytest.mark.parametrize(("target", "path"), FOUND, ids=[f"{target}-{path.stem}" for target, path in FOUND])
def test_what_once_went_wrong(target: str, path: Path) -> None:
    properties.CHECKS[target](path.read_bytes())


# The checks themselves


@pytest.mark.parametrize(
    "spoil",
    [
        lambda result: result.replace(b"x = 1\n", b"x = 2\n"),
        lambda result: result + b"\n",
        lambda result: b"\xef\xbb\xbf" + result,
        lambda result: result.replace(b"# mps-patcher", b"# patcher"),
        lambda result: result.replace(b"def isin", b"def  isin"),
        lambda result: result.replace(b"\n", b"\r\n"),
    ],
)
def test_a_byte_changed_outside_is_seen(spoil: Callable[[bytes], bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    module = b"import torch\nx = 1\n" + strategies.KNOWN[0].encode() + b"x = 1\n"
    assert properties.function(module) == "edited"
    monkeypatch.setattr(properties, "edit_source", lambda *args, **options: spoil(edit_source(*args, **options)))
    with pytest.raises(AssertionError):
        properties.function(module)


def test_a_changed_line_without_a_call_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    module = b"import torch\nx = 1\ny = torch.isin(a, b)\n"
    assert properties.calls(module) == "edited"
    monkeypatch.setattr(properties, "edit_source", lambda *args, **_: edit_source(*args).replace(b"x = 1", b"x = 2"))
    with pytest.raises(AssertionError):
        properties.calls(module)


def test_a_row_that_is_lost_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    data = f"a.py,,\n{strategies.ROW}\nb.py,,\n".encode()
    assert properties.rows(data) == "restored"
    monkeypatch.setattr(
        properties, "update_record", lambda before, *rest: update_record(before.replace(b"b.py,,\n", b""), *rest)
    )
    with pytest.raises(AssertionError):
        properties.rows(data)


def test_a_file_outside_that_changes_is_seen() -> None:
    before = {"site-packages/numpy/__init__.py": ("-rw-r--r--", b"")}
    round_trips.check_inside(before, before)
    with pytest.raises(AssertionError):
        round_trips.check_inside(before, {})


def test_a_refusal_of_two_lines_is_seen() -> None:
    error = PatcherError("a-code", "cause", "hint")
    properties.check_words(error)
    error.hint = "one\ntwo"
    with pytest.raises(AssertionError):
        properties.check_words(error)

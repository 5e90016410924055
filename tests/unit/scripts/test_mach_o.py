"""What is read of a library's code."""

from __future__ import annotations

import pytest
from small_library import small_library

from scripts.mach_o import Library, NotMachO, Reference


def test_functions_are_found_by_the_end_of_their_name() -> None:
    library = Library(small_library({"_init_1": [], "_init_2": [], "_init_2.cold.1": [], "_other": []}))
    assert [name for name, _ in library.functions(r"init_\d")] == ["_init_1", "_init_2"]


def test_what_a_function_refers_to_comes_in_the_order_of_its_code() -> None:
    code = [("string", "abs.out"), ("function", "kernel"), ("call", "register"), ("string", "acos")]
    library = Library(small_library({"before": [("string", "no")], "init": code, "after": [("call", "init")]}))
    ((_, address),) = library.functions("init")
    assert list(library.references(address)) == [
        Reference(string="abs.out"),
        Reference(function="kernel"),
        Reference(called="register"),
        Reference(string="acos"),
    ]


def test_a_function_calls_what_lies_before_it() -> None:
    library = Library(small_library({"first": [], "second": [("call", "first"), ("function", "first")]}))
    ((_, address),) = library.functions("second")
    assert list(library.references(address)) == [Reference(called="first"), Reference(function="first")]


def test_a_jump_to_a_function_is_a_call_and_a_stub_is_what_it_stands_for() -> None:
    library = Library(small_library({"init": [("import", "warn"), ("import", "throw"), ("jump", "next")], "next": []}))
    ((_, address),) = library.functions("init")
    assert [one.called for one in library.references(address)] == ["warn", "throw", "next"]


def test_what_points_into_a_string_is_no_reference() -> None:
    library = Library(small_library({"init": [("middle", "abs.out"), ("string", "acos")]}))
    ((_, address),) = library.functions("init")
    assert list(library.references(address)) == [Reference(string="acos")]


@pytest.mark.parametrize("image", [b"", b"\xcf\xfa\xed\xfe", b"PK" + bytes(99), small_library({})])
def test_what_is_no_library_with_symbols(image: bytes) -> None:
    with pytest.raises(NotMachO):
        Library(image)


def test_a_library_for_another_processor() -> None:
    image = bytearray(small_library({"init": []}))
    image[4:8] = (0x01000007).to_bytes(4, "little")
    with pytest.raises(NotMachO, match="arm64"):
        Library(bytes(image))

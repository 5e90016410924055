"""Builds a Mach-O library for arm64 that is just large enough to be read: functions, the strings they use, symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import pack

TEXT, STRINGS = 0x100000, 0x7F0234
"""Addresses. The code lies at the start of a page, the strings far behind it and not at the start of one."""
RETURN = 0xD65F03C0
INSTRUCTIONS = {"call": 1, "function": 1, "string": 2}

Code = Iterable[tuple[str, str]]
"""What a function does, in order: ("call", function), ("function" whose address it takes, ...), ("string", text)."""


def small_library(functions: Mapping[str, Code]) -> bytes:
    """The library. Functions that are only named by others need not be given: they return at once."""
    code = {name: list(steps) for name, steps in functions.items()}
    for name in [name for steps in functions.values() for kind, name in steps if kind != "string"]:
        code.setdefault(name, [])
    strings = _lay([text for steps in code.values() for kind, text in steps if kind == "string"], STRINGS)
    addresses, at = {}, TEXT
    for name, steps in code.items():
        addresses[name] = at
        at += 4 * (1 + sum(INSTRUCTIONS[kind] for kind, _ in steps))
    text = b"".join(_assemble(steps, addresses[name], addresses, strings) for name, steps in code.items())
    return _file(text, b"".join(one.encode() + b"\0" for one in strings), addresses)


def _lay(texts: Iterable[str], start: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        if text not in found:
            found[text] = start
            start += len(text.encode()) + 1
    return found


def _assemble(steps: Code, at: int, functions: Mapping[str, int], strings: Mapping[str, int]) -> bytes:
    made: list[int] = []
    for kind, name in steps:
        here = at + 4 * len(made)
        if kind == "call":
            made.append(0x94000000 | (functions[name] - here) // 4 & 0x3FFFFFF)
        elif kind == "function":
            made.append(0x10000001 | _split(functions[name] - here))  # adr x1
        else:
            pages = (strings[name] >> 12) - (here >> 12)
            made += [0x90000001 | _split(pages), 0x91000021 | (strings[name] & 0xFFF) << 10]  # adrp x1; add x1, x1
    return pack(f"<{len(made) + 1}I", *made, RETURN)


def _split(value: int) -> int:
    """The 21 bits of adr and adrp, where they stand in the instruction."""
    return (value & 3) << 29 | (value >> 2 & 0x7FFFF) << 5


def _file(text: bytes, strings: bytes, functions: Mapping[str, int]) -> bytes:
    commands = 32 + 72 + 2 * 80 + 24
    names, table = b"\0", b""
    for name, address in functions.items():
        table += pack("<IBBHQ", len(names), 0x0E, 1, 0, address)
        names += name.encode() + b"\0"
    symbols = commands + len(text) + len(strings)
    return b"".join((
        pack("<8I", 0xFEEDFACF, 0x0100000C, 0, 6, 2, commands - 32, 0, 0),
        pack("<2I16s4Q4I", 0x19, 72 + 2 * 80, b"__TEXT", 0, 0, 0, 0, 5, 5, 2, 0),
        pack("<16s16s2Q8I", b"__text", b"__TEXT", TEXT, len(text), commands, *[0] * 7),
        pack("<16s16s2Q8I", b"__cstring", b"__TEXT", STRINGS, len(strings), commands + len(text), *[0] * 7),
        pack("<6I", 0x2, 24, symbols, len(functions), symbols + len(table), len(names)),
        text, strings, table, names,
    ))  # fmt: skip

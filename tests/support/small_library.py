"""Builds a Mach-O library for arm64 that is just large enough to be read: functions, the strings they use, symbols."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import pack

TEXT, STUBS, STRINGS = 0x100000, 0x600000, 0x7F0234
"""Addresses. The code lies at the start of a page, the strings far behind it and not at the start of one."""
STUB = 12
RETURN = 0xD65F03C0

Code = Iterable[tuple[str, str]]
"""What a function does, in order: ("call", function), ("jump", function), ("import", function of another library that
is called), ("function" whose address it takes, ...), ("string", text), ("middle" of a string, text)."""


def small_library(functions: Mapping[str, Code]) -> bytes:
    """The library. Functions that are only named by others need not be given: they return at once."""
    code = {name: list(steps) for name, steps in functions.items()}
    for name in _used(functions, "call", "jump", "function"):
        code.setdefault(name, [])
    imports = _used(code, "import")
    strings = _lay(_used(code, "string", "middle"), STRINGS)
    addresses = {name: STUBS + STUB * number for number, name in enumerate(imports)} | strings
    at = TEXT
    for name, steps in code.items():
        addresses[name] = at
        at += 4 * (1 + sum(2 if kind in ("string", "middle") else 1 for kind, _ in steps))
    text = b"".join(_assemble(steps, addresses[name], addresses) for name, steps in code.items())
    return _file(
        text, b"".join(one.encode() + b"\0" for one in strings), imports, {one: addresses[one] for one in code}
    )


def _used(code: Mapping[str, Code], *kinds: str) -> list[str]:
    return list(dict.fromkeys(name for steps in code.values() for kind, name in steps if kind in kinds))


def _lay(texts: Iterable[str], start: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for text in texts:
        found[text] = start
        start += len(text.encode()) + 1
    return found


def _assemble(steps: Code, at: int, addresses: Mapping[str, int]) -> bytes:
    made: list[int] = []
    for kind, name in steps:
        here, there = at + 4 * len(made), addresses[name] + (kind == "middle")
        if kind in ("call", "import", "jump"):
            made.append((0x14000000 if kind == "jump" else 0x94000000) | (there - here) // 4 & 0x3FFFFFF)
        elif kind == "function":
            made.append(0x10000001 | _split(there - here))  # adr x1
        else:
            pages = (there >> 12) - (here >> 12)
            made += [0x90000001 | _split(pages), 0x91000021 | (there & 0xFFF) << 10]  # adrp x1; add x1, x1
    return pack(f"<{len(made) + 1}I", *made, RETURN)


def _split(value: int) -> int:
    """The 21 bits of adr and adrp, where they stand in the instruction."""
    return (value & 3) << 29 | (value >> 2 & 0x7FFFF) << 5


def _file(text: bytes, strings: bytes, imports: list[str], functions: Mapping[str, int]) -> bytes:
    """With a debugger's symbol inside each function, which is none of another function."""
    commands = 32 + 72 + 3 * 80 + 24 + 80
    names, symbols = b"\0", b""
    for name, kind, address in (
        *((name, 0x01, 0) for name in imports),
        *((name, 0x0E, address) for name, address in functions.items()),
        *((f"inside {name}", 0x2E, address + 4) for name, address in functions.items()),
    ):
        symbols += pack("<IBBHQ", len(names), kind, 1, 0, address)
        names += name.encode() + b"\0"
    indirect = pack(f"<{1 + len(imports)}I", 0xFFFFFFFF, *range(len(imports)))  # the first is another section's
    table = commands + len(text) + len(strings)
    return b"".join((
        pack("<8I", 0xFEEDFACF, 0x0100000C, 0, 6, 3, commands - 32, 0, 0),
        pack("<2I16s4Q4I", 0x19, 72 + 3 * 80, b"__TEXT", 0, 0, 0, 0, 5, 5, 3, 0),
        pack("<16s16s2Q8I", b"__text", b"__TEXT", TEXT, len(text), commands, *[0] * 7),
        pack("<16s16s2Q8I", b"__stubs", b"__TEXT", STUBS, STUB * len(imports), *[0] * 5, 1, STUB, 0),
        pack("<16s16s2Q8I", b"__cstring", b"__TEXT", STRINGS, len(strings), commands + len(text), *[0] * 7),
        pack("<6I", 0x2, 24, table, len(symbols) // 16, table + len(symbols), len(names)),
        pack("<20I", 0xB, 80, *[0] * 12, table + len(symbols) + len(names), 1 + len(imports), *[0] * 4),
        text, strings, symbols, names, indirect,
    ))  # fmt: skip

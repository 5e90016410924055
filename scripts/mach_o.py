"""What a 64-bit Mach-O library for arm64 says without being run: its functions, and which addresses their code makes.

The layout is that of Apple's <mach-o/loader.h> and <mach-o/nlist.h>; the instructions are those of the Arm Architecture
Reference Manual.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from struct import iter_unpack, unpack_from
from typing import NamedTuple

MAGIC = 0xFEEDFACF
ARM64 = 0x0100000C
LC_SYMTAB, LC_SEGMENT_64 = 0x2, 0x19
PAGE = 0xFFF
REGISTER = 0x1F


class NotMachO(Exception):
    """The bytes are no Mach-O library for arm64, or a library without symbols."""


class Section(NamedTuple):
    """A range of addresses, and where the file has its bytes."""

    name: str
    address: int
    size: int
    offset: int


class Reference(NamedTuple):
    """What code leads to: a function that it calls, or a function or a C string whose address it takes."""

    called: str = ""
    function: str = ""
    string: str = ""


class Library:
    """A library's functions and strings. Raises NotMachO."""

    def __init__(self, image: bytes) -> None:
        if len(image) < 32 or unpack_from("<2I", image) != (MAGIC, ARM64):
            raise NotMachO("no 64-bit Mach-O file for arm64")
        self.image = image
        self.sections: list[Section] = []
        self.names = b""
        symbols: dict[int, int] = {}
        for command, offset in _load_commands(image):
            if command == LC_SEGMENT_64:
                self.sections += _sections(image, offset)
            elif command == LC_SYMTAB:
                at, count, names, size = unpack_from("<4I", image, offset + 8)
                self.names = image[names : names + size]
                symbols = _defined(image[at : at + 16 * count])
        if not symbols:
            raise NotMachO("no symbols")
        self.addresses = sorted(symbols)
        self._symbols = symbols

    def functions(self, ending: str) -> Iterator[tuple[str, int]]:
        """The names that end with a match of the pattern, and their addresses, in the order of these."""
        ends = re.finditer(ending.encode() + rb"(?=\0)", self.names)
        found = {self.names.rindex(b"\0", 0, match.start()) + 1 for match in ends}
        return ((self._name(start), at) for at in self.addresses if (start := self._symbols[at]) in found)

    def references(self, address: int) -> Iterator[Reference]:
        """What the code of the function at the address refers to, in its order; not what it says of other data."""
        for target, called in _targets(self._code(address), address):
            if name := self._function(target):
                yield Reference(called=name) if called else Reference(function=name)
            elif (section := self._section(target)) and section.name == "__cstring":
                yield Reference(string=self._string(target))

    def _code(self, address: int) -> bytes:
        """From the address to the next function, or the section's end."""
        section = self._section(address)
        if section is None:
            return b""
        after = bisect_right(self.addresses, address)
        ends = [section.address + section.size, *self.addresses[after : after + 1]]
        start = self._offset(address)
        return self.image[start : start + min(ends) - address]

    def _function(self, address: int) -> str:
        at = bisect_left(self.addresses, address)
        section = self._section(address)
        known = at < len(self.addresses) and self.addresses[at] == address
        return self._name(self._symbols[address]) if known and section and section.name == "__text" else ""

    def _section(self, address: int) -> Section | None:
        return next((one for one in self.sections if one.address <= address < one.address + one.size), None)

    def _offset(self, address: int) -> int:
        section = self._section(address)
        return section.offset + address - section.address if section else len(self.image)

    def _string(self, address: int) -> str:
        start = self._offset(address)
        return self.image[start : self.image.index(b"\0", start)].decode(errors="replace")

    def _name(self, start: int) -> str:
        return self.names[start : self.names.index(b"\0", start)].decode()


def _load_commands(image: bytes) -> Iterator[tuple[int, int]]:
    """Each load command's number and offset."""
    (count,) = unpack_from("<I", image, 16)
    offset = 32
    for _ in range(count):
        command, size = unpack_from("<2I", image, offset)
        yield command, offset
        offset += size


def _sections(image: bytes, offset: int) -> Iterator[Section]:
    (count,) = unpack_from("<I", image, offset + 64)
    for number in range(count):
        name, address, size, start = unpack_from("<16s16xQQI", image, offset + 72 + 80 * number)
        yield Section(name.rstrip(b"\0").decode(), address, size, start)


def _defined(table: bytes) -> dict[int, int]:
    """The address of each symbol that is defined in a section, with where its name stands; no debugger's symbols."""
    return {at: name for name, kind, _, _, at in iter_unpack("<IBBHQ", table) if kind & 0xEE == 0x0E}


def _targets(code: bytes, start: int) -> Iterator[tuple[int, bool]]:
    """The addresses that instructions make, by adr, or adrp with the add after it, or call, by bl."""
    pages: dict[int, int] = {}
    for at, (instruction,) in enumerate(iter_unpack("<I", code)):
        here = start + 4 * at
        if instruction & 0x9F000000 == 0x10000000:  # adr
            yield here + _immediate(instruction), False
        elif instruction & 0x9F000000 == 0x90000000:  # adrp
            pages[instruction & REGISTER] = (here & ~PAGE) + (_immediate(instruction) << 12)
        elif instruction & 0xFF800000 == 0x91000000:  # add, of 12 bits, as they are or shifted by 12
            page = pages.get(instruction >> 5 & REGISTER)
            if page is not None:
                yield page + ((instruction >> 10 & PAGE) << (12 if instruction & 1 << 22 else 0)), False
        elif instruction & 0xFC000000 == 0x94000000:  # bl
            yield here + 4 * _signed(instruction & 0x3FFFFFF, 26), True


def _immediate(instruction: int) -> int:
    """The 21 bits of adr and adrp."""
    return _signed((instruction >> 29 & 3) | (instruction >> 5 & 0x7FFFF) << 2, 21)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value

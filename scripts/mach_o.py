"""What a 64-bit Mach-O library for arm64 says without being run: its functions, and which addresses their code makes.

The layout is that of Apple's <mach-o/loader.h> and <mach-o/nlist.h>; the instructions are those of the Arm Architecture
Reference Manual.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cached_property
from struct import iter_unpack, unpack_from
from typing import NamedTuple

MAGIC = 0xFEEDFACF
ARM64 = 0x0100000C
LC_SYMTAB, LC_DYSYMTAB, LC_SEGMENT_64 = 0x2, 0xB, 0x19
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
    first_import: int
    """Of a section of stubs: where the indirect symbol table begins to say what they call."""
    stub_size: int


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
        self.names = table = indirect = b""
        for command, offset in _load_commands(image):
            if command == LC_SEGMENT_64:
                self.sections += _sections(image, offset)
            elif command == LC_SYMTAB:
                at, count, names, size = unpack_from("<4I", image, offset + 8)
                self.names, table = image[names : names + size], image[at : at + 16 * count]
            elif command == LC_DYSYMTAB:
                at, count = unpack_from("<2I", image, offset + 56)
                indirect = image[at : at + 4 * count]
        self._symbols = _defined(table)
        if not self._symbols:
            raise NotMachO("no symbols")
        self.addresses = sorted(self._symbols)
        self._imported = dict(_imported(self.sections, indirect, table))

    def functions(self, ending: str) -> Iterator[tuple[str, int]]:
        """The names that end with a match of the pattern, and their addresses, in the order of these."""
        ends = re.finditer(ending.encode() + rb"(?=\0)", self.names)
        found = {self.names.rindex(b"\0", 0, match.start()) + 1 for match in ends}
        return ((self._name(start), at) for at in self.addresses if (start := self._symbols[at]) in found)

    @cached_property
    def by_name(self) -> dict[str, int]:
        """The address of each function, by its name."""
        return {self._name(name): at for at, name in self._symbols.items()}

    def references(self, address: int) -> Iterator[Reference]:
        """What the code of the function at the address refers to, in its order; not what it says of other data."""
        for target, called in _targets(self._code(address), address):
            if name := self._function(target):
                yield Reference(called=name) if called else Reference(function=name)
            elif string := self._string(target):
                yield Reference(string=string)

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
        if address in self._imported:
            return self._name(self._imported[address])
        section = self._section(address) if address in self._symbols else None
        return self._name(self._symbols[address]) if section and section.name == "__text" else ""

    def _section(self, address: int) -> Section | None:
        return next((one for one in self.sections if one.address <= address < one.address + one.size), None)

    def _offset(self, address: int) -> int:
        section = self._section(address)
        return section.offset + address - section.address if section else len(self.image)

    def _string(self, address: int) -> str:
        """The C string at the address; empty where none begins there."""
        section, start = self._section(address), self._offset(address)
        if section is None or section.name != "__cstring" or (address > section.address and self.image[start - 1]):
            return ""
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
        name, *numbers = unpack_from("<16s16xQQI16xII", image, offset + 72 + 80 * number)
        yield Section(name.rstrip(b"\0").decode(), *numbers)


def _defined(table: bytes) -> dict[int, int]:
    """The address of each symbol that is defined in a section, with where its name stands; no debugger's symbols."""
    return {at: name for name, kind, _, _, at in iter_unpack("<IBBHQ", table) if kind & 0xEE == 0x0E}


def _imported(sections: list[Section], indirect: bytes, table: bytes) -> Iterator[tuple[int, int]]:
    """The address of each stub, with where the name of what it calls in another library stands."""
    for section in sections:
        for number in range(section.size // section.stub_size if section.name == "__stubs" else 0):
            (symbol,) = unpack_from("<I", indirect, 4 * (section.first_import + number))
            yield section.address + section.stub_size * number, unpack_from("<I", table, 16 * symbol)[0]


def _targets(code: bytes, start: int) -> Iterator[tuple[int, bool]]:
    """The addresses that instructions make, by adr, or adrp with the add after it, or go to, by bl or b."""
    pages: dict[int, int] = {}
    for at, (instruction,) in enumerate(iter_unpack("<I", code)):
        here = start + 4 * at
        if instruction & 0x9F000000 == 0x10000000:  # adr
            yield here + _immediate(instruction), False
        elif instruction & 0x9F000000 == 0x90000000:  # adrp
            pages[instruction & REGISTER] = (here & ~PAGE) + (_immediate(instruction) << 12)
        elif instruction & 0xFFC00000 == 0x91000000:  # add, of 12 bits as they are
            page = pages.get(instruction >> 5 & REGISTER)
            if page is not None:
                yield page + (instruction >> 10 & PAGE), False
        elif instruction & 0x7C000000 == 0x14000000:  # bl, or b: a call at the end of a function
            yield here + 4 * _signed(instruction & 0x3FFFFFF, 26), True


def _immediate(instruction: int) -> int:
    """The 21 bits of adr and adrp."""
    return _signed((instruction >> 29 & 3) | (instruction >> 5 & 0x7FFFF) << 2, 21)


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) else value

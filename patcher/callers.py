"""Other packages beside transformers: those that call what a patch redirects, import its function or have a copy of it.

By the syntax trees of their installed files; nothing of them is run.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from patcher.edit import mentioned_name, whole_word
from patcher.edit.syntax import parse_module, walk
from patcher.errors import PatcherError
from patcher.model import CallsPatch, Patch
from patcher.targets.distribution import names_in

_SKIPPED = ("torch", "transformers", "mps-patcher")
_DEPENDENT = re.compile(rb"\b(torch|transformers)\b", re.IGNORECASE)


class Kind(StrEnum):
    """What a package does with a function that a patch is about."""

    CALL = "calls {callee}"
    CALLEE_IMPORT = "imports {callee} by name"
    COPY = "has a copy of {function}"
    IMPORT = "imports {function} from {package}"


class Use(NamedTuple):
    """One place in a file of a package."""

    path: PurePosixPath
    """Relative to site-packages."""
    line: int
    kind: Kind
    what: str
    """The kind as a clause, such as `calls torch.isin`."""


class OtherPackage(NamedTuple):
    """An installed distribution and the uses in it."""

    name: str
    version: str
    uses: tuple[Use, ...]


def find_other_packages(search_path: Sequence[Path], catalogue: Sequence[Patch]) -> tuple[OtherPackage, ...]:
    """The distributions on a search path with such uses, of those whose metadata names torch or transformers.

    What is installed as editable, or by something that lists no files, is not seen. Files that cannot be read are
    passed over.
    """
    found: dict[str, OtherPackage] = {}
    for folder in search_path:
        for entry in sorted(entry for entry in names_in(folder) if entry.endswith(".dist-info")):
            stem, _, version = entry.removesuffix(".dist-info").partition("-")
            name = re.sub(r"[-_.]+", "-", stem).lower()
            if name in (*_SKIPPED, *found) or not _DEPENDENT.search(_read(folder / entry / "METADATA")):
                continue
            if uses := tuple(_uses_in(folder, folder / entry, catalogue)):
                found[name] = OtherPackage(name, version, uses)
    return tuple(found.values())


def _uses_in(folder: Path, dist_info: Path, catalogue: Sequence[Patch]) -> Iterator[Use]:
    mention = re.compile(b"|".join(dict.fromkeys(whole_word(mentioned_name(patch)) for patch in catalogue)))
    for name in re.findall(rb'^"?([^",\n]+\.py)"?,', _read(dist_info / "RECORD"), re.MULTILINE):
        path = PurePosixPath(name.decode("utf-8", "replace"))
        source = _read(folder / path)
        if mention.search(source):
            try:
                yield from sorted(set(_uses(parse_module(source, path), path, catalogue)))
            except PatcherError:  # written for another Python, or in another encoding
                continue


def _uses(module: ast.Module, path: PurePosixPath, catalogue: Sequence[Patch]) -> Iterator[Use]:
    nodes = walk(module)
    for patch in catalogue:
        words = {"function": patch.function, "package": patch.file.parts[0]}
        lines: dict[Kind, Iterable[int]] = {Kind.IMPORT: _imports(nodes, words["package"], patch.function)}
        if isinstance(patch, CallsPatch):
            words["callee"] = patch.callee
            package, _, name = patch.callee.rpartition(".")
            calls = tuple(_calls(nodes, package, name))
            lines |= {Kind.CALL: calls, Kind.COPY: _copies(nodes, patch.function, calls)}
            lines[Kind.CALLEE_IMPORT] = _imports(nodes, package, name)
        for kind, found in lines.items():
            yield from (Use(path, line, kind, kind.format(**words)) for line in found)


def _imports(nodes: Sequence[ast.AST], package: str, name: str) -> Iterator[int]:
    """The lines that import the name from the package, or from anywhere in it."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and not node.level and any(one.name == name for one in node.names):
            yield from [node.lineno] if f"{node.module}.".startswith(f"{package}.") else []


def _calls(nodes: Sequence[ast.AST], package: str, name: str) -> Iterator[int]:
    imported = (one for node in nodes if isinstance(node, ast.Import) for one in node.names)
    names = {one.asname or one.name for one in imported if one.name == package}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr == name and getattr(node.value, "id", None) in names:
            yield node.lineno


def _copies(nodes: Sequence[ast.AST], function: str, calls: Sequence[int]) -> Iterator[int]:
    """The lines of functions of that name, and of those that make such a call but on one device do without."""
    for node in nodes:
        if not isinstance(node, ast.FunctionDef):
            continue
        is_caller = any(node.lineno <= line <= (node.end_lineno or 0) for line in calls)
        branches = (one.test for one in walk(node) if isinstance(one, ast.If)) if is_caller else ()
        if node.name == function or any(map(_asks_for_mps, branches)):
            yield node.lineno


def _asks_for_mps(test: ast.expr) -> bool:
    return any(isinstance(one, ast.Constant) and one.value == "mps" for one in walk(test))


def _read(path: Path) -> bytes:
    """An ordinary file's content; empty where there is none, or none that can be read."""
    try:
        return path.read_bytes() if path.is_file() else b""
    except OSError:
        return b""

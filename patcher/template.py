"""Scripts to start from, `templates/*.py`, with the fixed function of the catalogue in them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from patcher.errors import PatcherError
from patcher.model import FunctionPatch, Patch

KINDS = ("script", "runtime")
_FOLDER = Path(__file__).parent / "templates"
_IMPORT = re.compile(r"^from \.(\w+) import .*\n", re.MULTILINE)


def render(kind: str, catalogue: tuple[Patch, ...]) -> str:
    """The text of a template, one of KINDS, as a file that needs nothing else of ours.

    An import from a neighbour (`from .isin import isin`) is where the text of that neighbour goes. That of
    `.replacement` is the replacement of the catalogue's one function.
    """
    (function,) = (patch for patch in catalogue if isinstance(patch, FunctionPatch))
    texts = {"replacement": function.replacement, "isin": _source("isin")}
    text = _source(kind)
    while found := _IMPORT.search(text):
        text = f"{text[: found.start()]}\n\n{_body(texts[found[1]])}\n\n{text[found.end() :]}"
    return re.sub(r"\n{4,}", "\n\n\n", text)


def write_new(text: str, file: Path) -> None:
    """Writes a file that is not there yet. Raises PatcherError `file-exists` or `no-folder` where that cannot be."""
    try:
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
    except FileExistsError:
        hint = "Name another file, or remove that one; files are not overwritten."
        raise PatcherError("file-exists", f"{file} already exists.", hint) from None
    except (FileNotFoundError, NotADirectoryError):
        raise PatcherError(
            "no-folder", f"There is no folder {file.parent}.", "Create it, or name another file."
        ) from None


def _source(name: str) -> str:
    return (_FOLDER / f"{name}.py").read_text("utf-8")


def _body(source: str) -> str:
    """A module from behind its absolute imports, which the templates have too."""
    nodes = ast.parse(source).body
    absolute = [node for node in nodes if isinstance(node, ast.Import) or getattr(node, "level", None) == 0]
    return "".join(source.splitlines(keepends=True)[absolute[-1].end_lineno :])

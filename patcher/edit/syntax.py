"""Python source as bytes and as syntax trees: what may be edited, when two pieces are the same, what binds a name."""

from __future__ import annotations

import ast
import codecs
import hashlib
import io
import tokenize
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import NamedTuple

from patcher.errors import REINSTALL, PatcherError
from patcher.model import State

BANNER = "# mps-patcher "
"""Every comment of ours begins so."""
BINDERS = (
    *(ast.arg, ast.alias, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef),
    *(ast.ExceptHandler, ast.MatchAs, ast.MatchStar, ast.MatchMapping, ast.Global),
)
"""The nodes that may bind a name, besides `ast.Name`."""
_LEAVES = (ast.Name, ast.Constant)
"""Nodes without others inside but contexts, and most of a module."""
_UNSEEN = frozenset({"ctx", "kind", "type_comment", "annotation", "returns", "type_params"})


class Finding(NamedTuple):
    """What one file says of a patch."""

    state: State
    """UNPATCHED, PATCHED, OUTDATED, MODIFIED or ABSENT."""
    detail: str
    """The finding in a sentence, without its full stop."""
    body: str | None = None
    """The name of the known body that is there, if one is."""
    calls: int = 0
    """How many calls there are to redirect."""
    branches: int = 0
    """How many known branches there are to disable."""
    is_replaceable: bool = True
    """Of a MODIFIED one: whether `force` can patch it all the same."""


@lru_cache(maxsize=32)
def parse_module(source: bytes, path: PurePosixPath) -> ast.Module:
    """The syntax tree of a module, whose positions are in the bytes after a byte order mark. Never change it.

    Raises PatcherError: `unsupported-encoding` for anything but UTF-8 with line ends of LF or CRLF, which is how every
    release is written; `unparsable-source`, if it is not a Python module that this interpreter can parse.
    """
    _require_utf8(source, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
            return ast.parse(source, filename=path.name)
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError) as error:
        cause = f"{path} cannot be parsed as Python: {str(error) or type(error).__name__}."
        hint = f"Run mps-patcher with the Python version that the file needs. {REINSTALL}"
        raise PatcherError("unparsable-source", cause, hint) from error


def _require_utf8(source: bytes, path: PurePosixPath) -> None:
    try:
        if b"\f" in source or source.count(b"\r") != source.count(b"\r\n"):
            raise ValueError("it has form feeds, or line ends of a carriage return alone")
        encoding, _ = tokenize.detect_encoding(io.BytesIO(source).readline)
        if codecs.lookup(encoding).name not in ("utf-8", "utf-8-sig"):
            raise ValueError(f"it is declared to be {encoding}")
        source.decode("utf-8")
    except (SyntaxError, ValueError) as error:
        cause = f"{path} is not UTF-8 with line ends of LF or CRLF: {error}."
        hint = f"No release of transformers has such a file. {REINSTALL}"
        raise PatcherError("unsupported-encoding", cause, hint) from error


def source_lines(source: bytes) -> list[bytes]:
    """The lines as Python counts them, with their ends; a byte order mark is in none."""
    return source.removeprefix(codecs.BOM_UTF8).splitlines(keepends=True)


def unsafe_rewrite(path: PurePosixPath, cause: str) -> PatcherError:
    """The refusal of an edit that was made, and is not what it should be."""
    hint = "Nothing was written. Please report this to the mps-patcher project, with the file."
    return PatcherError("unsafe-rewrite", f"{path} cannot be edited safely: {cause.rstrip('.')}.", hint)


def code_digest(code: ast.FunctionDef | ast.If) -> str:
    """The sha256, in hex, of a function's parameters and statements, or of an `if`'s test and body without its `else`.

    It is the same in every Python from 3.10 on. Raises RecursionError or ValueError as `normalized` does.
    """
    shape = normalized(code) if isinstance(code, ast.FunctionDef) else [normalized(code.test), normalized(code.body)]
    return hashlib.sha256(repr(shape).encode()).hexdigest()


def normalized(node: object) -> object:
    """A syntax tree as plain values, without positions, annotations, docstrings or what only some Pythons record.

    Raises RecursionError or ValueError where the tree is too deep, or a number too long, for Python to write it out.
    """
    match node:
        case ast.FunctionDef():
            return ["FunctionDef", node.name, normalized(node.args), normalized(_without_docstring(node.body))]
        case ast.AnnAssign() if node.value is not None:
            return normalized(ast.Assign(targets=[node.target], value=node.value))
        case ast.AST():
            fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _UNSEEN)
            shown = ([name, normalized(value)] for name, value in fields if value not in (None, []))
            return [type(node).__name__, *shown]
        case list():
            return [normalized(item) for item in node]
        case _:
            return repr(node)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body


def ast_equal(one: object, other: object, changed: Mapping[ast.AST, list[ast.AST]] | None = None) -> bool:
    """Whether two syntax trees, or lists of them, are the same but for their positions, however deep.

    Nodes of `other` may be `changed`: what stands in the place of each, in a list perhaps several, others after it.
    """
    changed, waiting = changed or {}, [(one, other)]
    while waiting:
        one, other = waiting.pop()
        if isinstance(other, ast.AST):
            other = changed.get(other, [other])[0]
        if type(one) is not type(other):
            return False
        if isinstance(one, ast.AST):
            pairs = [(getattr(one, name, None), getattr(other, name, None)) for name in one._fields]
            waiting += [(mine, theirs) for mine, theirs in pairs if mine is not theirs]
        elif isinstance(one, list) and isinstance(other, list):
            other = [new for node in other for new in changed.get(node, [node])]
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


@lru_cache(maxsize=32)
def walk(tree: ast.AST) -> Sequence[ast.AST]:
    """Every node but contexts, outer ones first: what `ast.walk` gives, in half the time."""
    found = [tree]
    for node in found:
        if not isinstance(node, _LEAVES):
            for name in node._fields:
                value = getattr(node, name, None)
                if isinstance(value, list):
                    found += [one for one in value if isinstance(one, ast.AST)]
                elif isinstance(value, ast.AST):
                    found.append(value)
    return found


def bindings(module: ast.Module, name: str) -> list[ast.AST]:
    """Everything that binds `name` in the module's own scope, however deep in `if`, `try` or `with`.

    What declares it `global`, in a function or class, counts too: it may bind it whenever it runs.
    """
    nodes: list[ast.AST] = [*module.body]
    for node in nodes:
        nodes.extend(_in_scope(node))
    nodes += (node for node in walk(module) if isinstance(node, ast.Global))
    return [node for node in dict.fromkeys(nodes) if binds(node, name)]


def binds(node: ast.AST, name: str) -> bool:
    """Whether the node itself binds `name`, in whatever scope it stands."""
    match node:
        case ast.Name():
            return node.id == name and not isinstance(node.ctx, ast.Load)
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.alias():
            return (node.asname or node.name.partition(".")[0]) == name
        case ast.arg():
            return node.arg == name
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return node.name == name
        case ast.MatchMapping():
            return node.rest == name
        case ast.Global():
            return name in node.names
        case _:
            return False


def _in_scope(node: ast.AST) -> Iterable[ast.AST]:
    """What of a node's inside belongs to the scope that the node stands in."""
    match node:
        case ast.Name() | ast.Constant():
            return ()
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            annotation = [node.returns] if node.returns else []
            return [*node.decorator_list, *_of_parameters(node.args), *annotation]
        case ast.Lambda():
            return _of_parameters(node.args)
        case ast.ClassDef():
            return [*node.decorator_list, *node.bases, *node.keywords]
        case _:
            return ast.iter_child_nodes(node)


def _of_parameters(args: ast.arguments) -> list[ast.AST]:
    """Defaults and annotations."""
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    annotations = [one.annotation for one in every if one and one.annotation]
    return [*args.defaults, *(value for value in args.kw_defaults if value), *annotations]

"""Reading a function in a syntax tree: what binds its name, and what its body is whatever the formatting."""

from __future__ import annotations

import ast
import hashlib
import warnings

from patcher.errors import PatcherError


def parse(source: bytes) -> ast.Module:
    """The syntax tree of a module.

    Raises PatcherError: `unparsable-source`, if `source` is not a Python module that this interpreter can parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise PatcherError(
            "unparsable-source",
            f"The file cannot be parsed as Python: {error}.",
            "Reinstall transformers, or run mps-patcher with the Python version that the file is written for.",
        ) from error


def bindings(module: ast.Module, name: str) -> list[ast.AST]:
    """Everything that binds `name` in the module's own scope, however deep in `if`, `try` or `with`."""
    found: list[ast.AST] = []
    open_nodes: list[ast.AST] = list(module.body)
    while open_nodes:
        node = open_nodes.pop(0)
        if _binds(node, name):
            found.append(node)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            continue
        open_nodes.extend(ast.iter_child_nodes(node))
    return found


def _binds(node: ast.AST, name: str) -> bool:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return node.name == name
        case ast.Name(ctx=ast.Store() | ast.Del()):
            return node.id == name
        case ast.alias():
            return (node.asname or node.name.partition(".")[0]) == name
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar():
            return node.name == name
        case ast.MatchMapping():
            return node.rest == name
        case _:
            return False


def body_digest(function: ast.FunctionDef) -> str:
    """The sha256, in hex, of a function's parameters and statements; the same in every Python from 3.10 on."""
    return hashlib.sha256(repr(shape(function)).encode()).hexdigest()


def shape(node: object) -> object:
    """A syntax tree as plain values, without positions, annotations, docstrings or what only some Pythons record.

    Raises RecursionError or ValueError where the tree is too deep, or a number too long, for Python to write it out.
    """
    match node:
        case ast.FunctionDef():
            return ["FunctionDef", node.name, shape(node.args), shape(_without_docstring(node.body))]
        case ast.AnnAssign() if node.value is not None:
            return shape(ast.Assign(targets=[node.target], value=node.value))
        case ast.AST():
            fields = ((name, value) for name, value in ast.iter_fields(node) if name not in _UNSEEN)
            return [type(node).__name__, *([name, shape(value)] for name, value in fields if value not in (None, []))]
        case list():
            return [shape(item) for item in node]
        case _:
            return repr(node)


_UNSEEN = frozenset({"ctx", "kind", "type_comment", "annotation", "returns", "type_params"})


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body

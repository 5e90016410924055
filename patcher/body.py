"""Reading a function in a syntax tree: what binds its name, and what its body is whatever the formatting."""

from __future__ import annotations

import ast
import hashlib
import warnings
from collections import deque
from collections.abc import Iterable, Iterator

from patcher.errors import PatcherError

DEEPEST = 1000
"""Levels of nesting, operands of one `and` included: libcst's parser dies of several thousand, and takes the process
with it."""


def parse(source: bytes) -> ast.Module:
    """The syntax tree of a module.

    Raises PatcherError: `unparsable-source`, if `source` is not a Python module that this interpreter can parse.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, SystemError) as error:
        raise PatcherError(
            "unparsable-source",
            f"The file cannot be parsed as Python: {str(error) or type(error).__name__}.",
            "Reinstall transformers, or run mps-patcher with the Python version that the file is written for.",
        ) from error


def bindings(module: ast.Module, name: str) -> list[ast.AST]:
    """Everything that binds `name` in the module's own scope, however deep in `if`, `try` or `with`.

    What declares it `global`, in a function or class, counts too: it may bind it whenever it runs.
    """
    found: list[ast.AST] = []
    waiting: deque[ast.AST] = deque(module.body)
    while waiting:
        node = waiting.popleft()
        if _binds(node, name):
            found.append(node)
        waiting.extend(_in_scope(node))
    return found


def _in_scope(node: ast.AST) -> Iterable[ast.AST]:
    """What of a node's inside belongs to the scope that the node stands in."""
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            annotation = [node.returns] if node.returns else []
            return [*node.decorator_list, *_of_parameters(node.args), *annotation, *_globals(node)]
        case ast.Lambda():
            return _of_parameters(node.args)
        case ast.ClassDef():
            return [*node.decorator_list, *node.bases, *node.keywords, *_globals(node)]
        case _:
            return ast.iter_child_nodes(node)


def _of_parameters(args: ast.arguments) -> list[ast.AST]:
    """Defaults and annotations."""
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    annotations = [one.annotation for one in every if one and one.annotation]
    return [*args.defaults, *(value for value in args.kw_defaults if value), *annotations]


def _globals(node: ast.AST) -> Iterator[ast.AST]:
    return (inner for inner in ast.walk(node) if isinstance(inner, ast.Global))


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
        case ast.Global():
            return name in node.names
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


def alike(one: object, other: object) -> bool:
    """Whether two syntax trees, or lists of them, are the same but for their positions, however deep."""
    waiting = [(one, other)]
    while waiting:
        one, other = waiting.pop()
        if type(one) is not type(other):
            return False
        if isinstance(one, ast.AST):
            waiting += [(getattr(one, name, None), getattr(other, name, None)) for name in one._fields]
        elif isinstance(one, list) and isinstance(other, list):
            if len(one) != len(other):
                return False
            waiting += zip(one, other, strict=True)
        elif one != other:
            return False
    return True


def require_shallow(node: ast.AST) -> None:
    """Raises ValueError where a tree is so deep that no other parser than Python's own may be given it."""
    waiting = [(node, 0)]
    while waiting:
        node, depth = waiting.pop()
        depth += max(len(node.values), 1) if isinstance(node, ast.BoolOp) else 1
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        waiting += [(inner, depth) for inner in ast.iter_child_nodes(node)]


_UNSEEN = frozenset({"ctx", "kind", "type_comment", "annotation", "returns", "type_params"})


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    match body:
        case [ast.Expr(value=ast.Constant(value=str())), *rest]:
            return rest
        case _:
            return body

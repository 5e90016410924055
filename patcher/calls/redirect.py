"""Sending the direct calls of a function through another one: bytes to bytes.

libcst says where the calls are and what they mean; the edits are made in the text itself, so nothing else of a file
passes through any parser and back. The result is then parsed by Python and compared with what `patcher.calls.sites`,
which reads names by itself, would make of the tree.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from pathlib import PurePosixPath

from patcher.body import parse, require_shallow
from patcher.calls.arguments import call_edits
from patcher.calls.branches import branch_edits, without_branches
from patcher.calls.concrete import Concrete
from patcher.calls.placing import Place, Plan, plan
from patcher.calls.sites import NEGATION, Survey, marker, survey
from patcher.calls.text import Edit, Text
from patcher.errors import PatcherError
from patcher.model import CallsPatch


def redirect(source: bytes, path: PurePosixPath, patch: CallsPatch) -> bytes:
    """Send the calls in `source`, the module at `path` below site-packages, through `patch.function`.

    Known branches go too. Uses that cannot be redirected safely stay as they are, and so does every byte outside the
    calls, the branches and the new imports; the result has been parsed again. Calls in the function's own file stay.

    Raises:
        PatcherError: `unparsable-source`; `unsafe-rewrite`, if libcst does not read the module as Python does.
    """
    found = survey(source, patch)
    if path == patch.file or not (found.calls or found.branches):
        return source
    try:
        chosen = plan(found, path, patch)
        result = _redirected(source, found, chosen, patch)
        tree = parse(result)
        if ast.get_docstring(tree, clean=False) != ast.get_docstring(found.tree, clean=False):
            raise ValueError("there is no place for an import that leaves the docstring at the top")
        is_right = _expected(found, chosen, patch) == ast.dump(tree)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a SyntaxWarning in the user's file is not ours to tell
            compile(tree, str(path), "exec", dont_inherit=True)
    except PatcherError as error:
        raise _unsafe(path, patch, error.message.rstrip(".")) from error
    except (ValueError, RecursionError, MemoryError, SyntaxError, SystemError) as error:
        raise _unsafe(path, patch, " ".join(str(error).split()) or type(error).__name__) from error
    if not is_right:
        raise _unsafe(path, patch, "libcst and Python read different calls")
    return result


def _redirected(source: bytes, found: Survey, chosen: Plan, patch: CallsPatch) -> bytes:
    require_shallow(found.tree)
    text = Text.read(source)
    module = Concrete.read(text.plain())
    edits = [*_import_edits(chosen, text, patch), *call_edits(module, text.body, chosen.name, patch)]
    return text.edited([*edits, *branch_edits(found, text, module.strings())])


def _import_edits(chosen: Plan, text: Text, patch: CallsPatch) -> Iterator[Edit]:
    line = f"{ast.unparse(chosen.statement)}  {marker(patch)}".encode()
    for place in chosen.places:
        yield _import_edit(place, line, text)


def _import_edit(place: Place, line: bytes, text: Text) -> Edit:
    anchor = place.anchor
    number = anchor.lineno if place.before else anchor.end_lineno or anchor.lineno
    if _shares_its_line(place, text):  # `if is_torch_available(): import torch`
        at = text.start(number) + (anchor.end_col_offset or 0)
        return Edit(start=at, end=at, new=b"; " + line)
    indented, end = text.indent(anchor.lineno) + line, text.newline(number)
    at = text.start(number if place.before else number + 1)
    if not place.before and not text.line(number).endswith((b"\n", b"\r")):
        return Edit(start=at, end=at, new=end + indented)
    return Edit(start=at, end=at, new=indented + end)


def _shares_its_line(place: Place, text: Text) -> bool:
    """Whether the head of the block stands on the same line."""
    first = place.block[0]
    return bool(text.line(first.lineno)[: first.col_offset].strip())


def _expected(found: Survey, chosen: Plan, patch: CallsPatch) -> str:
    """What the tree shall be, from what the standard library says of it. `found` is used up."""
    for place in chosen.places:
        place.block.insert(place.block.index(place.anchor) + (not place.before), chosen.statement)
    without_branches(found)
    targets = {call.node for call in found.calls}

    class Redirection(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.expr:
            self.generic_visit(node)
            return _redirected_call(node, chosen.name, patch) if node in targets else node

    return ast.dump(Redirection().visit(found.tree))


def _redirected_call(node: ast.Call, name: str, patch: CallsPatch) -> ast.expr:
    kept = [one for one in node.keywords if one.arg in patch.parameters]
    call = ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=node.args, keywords=kept)
    match next((one.value for one in node.keywords if one.arg == NEGATION), None):
        case None | ast.Constant(value=False):
            return call
        case ast.Constant():
            return _method(call, "logical_not")
        case value:
            return _method(call, "ne", value)


def _method(call: ast.Call, name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(func=ast.Attribute(value=call, attr=name, ctx=ast.Load()), args=list(args), keywords=[])


def _unsafe(path: PurePosixPath, patch: CallsPatch, finding: str) -> PatcherError:
    return PatcherError(
        "unsafe-rewrite",
        f"The calls of {patch.callee} in {path} cannot be redirected safely: {finding}.",
        "Nothing was written. Please report it to the mps-patcher project, with the file.",
    )

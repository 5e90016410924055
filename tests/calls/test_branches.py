"""Known branches go: their `else` takes their place, and every other line stays as it is."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from patcher.calls.redirect import redirect
from patcher.calls.sites import Sites, branch_digest, find
from patcher.errors import PatcherError
from patcher.model import KnownBody
from patches.direct_isin import PATCH as DIRECT

PATH = PurePosixPath("transformers/generation/stopping_criteria.py")
(BRANCH,) = ast.parse("if mps:\n    x = isin").body
assert isinstance(BRANCH, ast.If)
PATCH = replace(DIRECT, branches=(KnownBody(name="a branch", digest=branch_digest(BRANCH)),))


def rewritten(source: str) -> str:
    return redirect(source.encode(), PATH, PATCH).decode()


GONE = {
    "what stands under the else moves to the left": (
        "a = 1\nif mps:\n    x = isin\nelse:\n    x = 2\n    if c:\n        y = 3\nz = 4\n",
        "a = 1\nx = 2\nif c:\n    y = 3\nz = 4\n",
    ),
    "also deep inside": (
        "def f():\n  if mps:\n      x = isin\n  else:\n      x = 2\n\n      y = 3\n  return x\n",
        "def f():\n  x = 2\n\n  y = 3\n  return x\n",
    ),
    "also in tabs": (
        "def f():\n\tif mps:\n\t\tx = isin\n\telse:\n\t\tx = 2\n\treturn x\n",
        "def f():\n\tx = 2\n\treturn x\n",
    ),
    "an else on one line": ("if mps:\n    x = isin\nelse: x = 2; y = 3\nz = 4\n", "x = 2; y = 3\nz = 4\n"),
    "an else with spaces": ("if mps:\n    x = isin\nelse  :  \n    x = 2\n", "x = 2\n"),
    "an else with a comment": ("if mps:\n    x = isin\nelse:  # why\n    x = 2\n", "# why\nx = 2\n"),
    "all on two lines": ("if mps: x = isin\nelse: x = 2\n", "x = 2\n"),
    "an else that is an if, but no elif": (
        "if mps:\n    x = isin\nelse:\n    if c:\n        x = 2\n",
        "if c:\n    x = 2\n",
    ),
    "comments of the branch go with it": (
        "if mps:\n    # one\n    x = isin  # two\n    # three\n\n# four\nelse:\n    x = 2\n",
        "# four\nx = 2\n",
    ),
    "comments under the else move with it, and no others": (
        "if mps:\n    x = isin\nelse:\n    # one\n    x = 2  # two\n    # three\n# four\n    # five\n",
        "# one\nx = 2  # two\n# three\n# four\n    # five\n",
    ),
    "a comment that is set apart stays": (
        "if mps:\n    x = isin\nelse:\n    x = 2\n\n    # one\ny = 3\n",
        "x = 2\n\n    # one\ny = 3\n",
    ),
    "lines of strings stay where they are": (
        'if mps:\n    x = isin\nelse:\n    x = """\n    a\n        b"""\n    y = f"""{x}\n    c"""\n    z = "d"\n',
        'x = """\n    a\n        b"""\ny = f"""{x}\n    c"""\nz = "d"\n',
    ),
    "lines that are further left stay": (
        "if mps:\n    x = isin\nelse:\n    x = f(\n  1,\n          2)\n",
        "x = f(\n  1,\n      2)\n",
    ),
    "without an else all of it goes": (
        "a = 1\nif mps:\n    x = isin\n    # gone\n\n\n# stays\nb = 2\n",
        "a = 1\n# stays\nb = 2\n",
    ),
    "and the one empty line below it": ("if mps:\n    x = isin\n\nb = 2\n", "b = 2\n"),
    "an else on one line, deep inside": (
        "def f():\n    if mps:\n        x = isin\n    else: x = 2\n    return x\n",
        "def f():\n    x = 2\n    return x\n",
    ),
    "what is last leaves the lines below it": (
        "def f():\n    a = 1\n    if mps:\n        x = isin\n\n\ndef g(): pass\n",
        "def f():\n    a = 1\n\n\ndef g(): pass\n",
    ),
    "what is alone leaves a pass": (
        "def f():\n    if mps:\n        x = isin\n        # gone\n\nb = 2\n",
        "def f():\n    pass\n\nb = 2\n",
    ),
    "two that are alone leave one pass": (
        "def f():\n    if mps: x = isin\n    if mps: x = isin\nb = 2\n",
        "def f():\n    pass\nb = 2\n",
    ),
    "the last of a file": ("a = 1\nif mps:\n    x = isin", "a = 1\n"),
    "a whole file": ("if mps:\n    x = isin\n", ""),
    "the last of a file, with an else": ("if mps:\n    x = isin\nelse:\n    x = 2", "x = 2"),
    "one under the else of another": (
        "if mps:\n    x = isin\nelse:\n    y = 1\n    if mps:\n        x = isin\n    z = 2\n",
        "y = 1\nz = 2\n",
    ),
    "a branch that looks like another stays": (
        "if mps:\n    x = isin\nif mps:\n    x = isin, 1\nif cpu:\n    x = isin\n",
        "if mps:\n    x = isin, 1\nif cpu:\n    x = isin\n",
    ),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize(("before", "after"), GONE.values(), ids=GONE)
def test_a_branch_goes(before: str, after: str, end: str) -> None:
    before, after = before.replace("\n", end), after.replace("\n", end)
    assert find(before.encode(), PATCH).branches
    assert rewritten(before) == after
    assert find(after.encode(), PATCH) == Sites(calls=0, branches=0, strange=(), ours=False)


def test_calls_inside_a_branch_go_with_it_and_calls_under_its_else_are_redirected() -> None:
    source = "import torch\nif mps:\n    x = torch.isin(a, b)\nelse:\n    x = torch.isin(c, d)\n"
    branch = ast.parse(source).body[1]
    assert isinstance(branch, ast.If)
    patch = replace(DIRECT, branches=(KnownBody(name="a branch", digest=branch_digest(branch)),))
    assert find(source.encode(), patch) == Sites(calls=1, branches=1, strange=(), ours=False)
    line = "from ..pytorch_utils import isin_mps_friendly  # mps-patcher redirects torch.isin here\n"
    after = f"import torch\n{line}x = isin_mps_friendly(c, d)\n"
    assert redirect(source.encode(), PATH, patch).decode() == after


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("if a:\n    x = 1\nelif mps:\n    x = isin\n", 3),
        ("if mps:\n    x = isin\nelif c:\n    x = 2\n", 1),
        ("if a:\n    x = 1\nelif mps:\n    x = isin\nelse:\n    x = 2\n", 3),
    ],
)
def test_a_branch_in_an_elif_chain_is_told_of_and_stays(source: str, line: int) -> None:
    strange = (f"line {line} has a device branch in an elif chain",)
    assert find(source.encode(), PATCH) == Sites(calls=0, branches=0, strange=strange, ours=False)
    assert rewritten(source) == source


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("if mps:\n    x = isin\nelse \\\n:\n    x = 2\n", "an else stands where none was expected"),
        ("if mps:\n    x = isin\n\\\nelse:\n    x = 2\n", "parser error"),
        (
            "def f():\n    if mps:\n        x = isin\n    else:\n        if mps:\n            x = isin\n    return x\n",
            "cannot be parsed",
        ),
    ],
)
def test_what_no_module_writes_so_is_refused(source: str, why: str) -> None:
    assert find(source.encode(), PATCH).branches
    with pytest.raises(PatcherError, match=why) as caught:
        rewritten(source)
    assert caught.value.code == "unsafe-rewrite"

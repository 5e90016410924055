"""Direct calls are redirected where they are written literally, and told of otherwise: tables of before and after."""

from __future__ import annotations

import ast
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher.catalogue import load_catalogue
from patcher.edit import calls, edit_source, identify
from patcher.edit.syntax import code_digest
from patcher.errors import PatcherError
from patcher.model import CallsPatch, KnownCode, State

BRANCH = 'if x.device.type == "mps":\n    y = chain(x)\n'
RELEASED = load_catalogue()[1]
assert isinstance(RELEASED, CallsPatch)
(KNOWN,) = ast.parse(BRANCH).body
assert isinstance(KNOWN, ast.If)
PATCH = RELEASED._replace(device_branches=(KnownCode(name="a branch", digest=code_digest(KNOWN)),))
PATH = PurePosixPath("transformers/models/clvp/modeling_clvp.py")
IMPORT = "from ...pytorch_utils import isin_mps_friendly  # mps-patcher redirects torch.isin here\n"
HEAD = "import torch\n"
OURS = HEAD + IMPORT


def check_edited(before: str, after: str, *, count: int = 1, path: PurePosixPath = PATH) -> None:
    """`before` becomes `after`, to which there is nothing more to do."""
    source, expected = before.encode(), after.encode()
    finding = identify(source, path, PATCH)
    assert (finding.state, finding.calls + finding.branches) == (State.UNPATCHED, count)
    assert edit_source(source, path, PATCH) == expected
    finding = identify(expected, path, PATCH)
    assert (finding.state, finding.calls, finding.branches) == (State.PATCHED, 0, 0)
    assert edit_source(expected, path, PATCH, force=True) == expected


def check_noop(source: str, told: str | None = None, *, path: PurePosixPath = PATH) -> None:
    """`source` stays, and `told` is what is said of it; without that it has nothing to do with the patch."""
    finding = identify(source.encode(), path, PATCH)
    assert finding.state is (State.MODIFIED if told else State.ABSENT)
    if told:
        assert finding.detail == f"{path}, {told}"
        with pytest.raises(PatcherError) as caught:
            edit_source(source.encode(), path, PATCH)
        assert (caught.value.code, caught.value.message) == ("unknown-call", f"{path}, {told}.")
    assert edit_source(source.encode(), path, PATCH, force=True) == source.encode()


CALLS = {
    "torch.isin(a, b)": "isin_mps_friendly(a, b)",
    "torch.isin(elements=a, test_elements=b)": "isin_mps_friendly(elements=a, test_elements=b)",
    "torch.isin(a, test_elements=b)": "isin_mps_friendly(a, test_elements=b)",
    "torch.isin(test_elements=b(), elements = a())": "isin_mps_friendly(test_elements=b(), elements = a())",
    "torch.isin (  a ,b.c  ,)": "isin_mps_friendly (  a ,b.c  ,)",
    "(torch.isin)(a, b)": "(isin_mps_friendly)(a, b)",
    "~torch.isin(a, b)[0].any()": "~isin_mps_friendly(a, b)[0].any()",
    "torch.isin(\n    a,  # torch.isin\n    b,\n)": "isin_mps_friendly(\n    a,  # torch.isin\n    b,\n)",
    "'é', torch.isin('é', b)": "'é', isin_mps_friendly('é', b)",
}


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("call", CALLS)
def test_a_call_becomes(call: str, end: str) -> None:
    before, after = (
        f"{HEAD}import os\nx = {call}  # torch.isin\n",
        f"{OURS}import os\nx = {CALLS[call]}  # torch.isin\n",
    )
    check_edited(before.replace("\n", end), after.replace("\n", end))


def test_calls_inside_of_calls_become_too() -> None:
    check_edited(
        f"{HEAD}x = torch.isin(torch.isin(a, b), [torch.isin(c, d) for a in e])\n",
        f"{OURS}x = isin_mps_friendly(isin_mps_friendly(a, b), [isin_mps_friendly(c, d) for a in e])\n",
        count=3,
    )


CALL, DONE = "x = torch.isin(a, b)\n", "x = isin_mps_friendly(a, b)\n"
PLACES = {
    "below a docstring and a future import": (f'"""torch."""\nfrom __future__ import a\n\n{HEAD}', ""),
    "in front of other imports of torch": (HEAD, "import torch.utils.checkpoint\nfrom torch import nn\n"),
    "behind a comment": ("import torch  # first\n", ""),
    "beside an import in a function": (HEAD, "def f():\n    import torch\n"),
    "behind the first of two": (HEAD, "if c:\n    import torch\n"),
}


@pytest.mark.parametrize(("above", "below"), PLACES.values(), ids=PLACES)
def test_the_import_goes_behind_that_of_torch(above: str, below: str) -> None:
    check_edited(f"{above}{below}{CALL}", f"{above}{IMPORT}{below}{DONE}")


BLOCKS = {
    "an if": "if is_torch_available():\n    import os\n{}\n    from torch import nn\n\n",
    "a try": "try:\n{}\nexcept ImportError:\n    pass\n",
    "a nested block": "if a:\n    pass\nelif b:\n    with c:\n    {}\n",
    "tabs": "if a:\n\timport os\n{}\n",
}


@pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
def test_the_only_import_of_torch_may_stand_in_a_block(block: str) -> None:
    indent = "\t" if "\t" in block else "        " if "    {" in block else "    "
    before, after = f"{indent}{HEAD}".rstrip(), f"{indent}{HEAD}{indent}{IMPORT}".rstrip()
    if "    {" in block:
        before, after = before[4:], after[4:]
    check_edited(block.format(before) + CALL, block.format(after) + DONE)


def test_the_only_import_of_torch_may_stand_in_the_function_that_calls() -> None:
    call, done = CALL.replace("x =", "    return"), DONE.replace("x =", "    return")
    check_edited(f"def f():\n    {HEAD}{call}", f"def f():\n    {HEAD}    {IMPORT}{done}")


def test_the_import_ends_as_the_line_above_it_does() -> None:
    ours = IMPORT.rstrip()
    check_edited(f"y = 1\nimport torch\r\n{CALL}", f"y = 1\nimport torch\r\n{ours}\r\n{DONE}")
    check_edited(f"y = 1\r\nimport torch\n{CALL.rstrip()}", f"y = 1\r\nimport torch\n{ours}\n{DONE.rstrip()}")
    check_edited(f"\ufeff{HEAD}{CALL}", f"\ufeff{OURS}{DONE}")
    check_edited(f"\ufeff# coding: utf-8\n{HEAD}{CALL}", f"\ufeff# coding: utf-8\n{OURS}{DONE}")


@pytest.mark.parametrize(
    ("path", "dots"),
    [("transformers/x.py", "."), ("transformers/__init__.py", "."), ("transformers/a/b/c/x.py", "....")],
)
def test_the_import_is_relative(path: str, dots: str) -> None:
    after = f"{OURS}{DONE}".replace("from ...", f"from {dots}")
    check_edited(f"{HEAD}{CALL}", after, path=PurePosixPath(path))


NOT_IT = {
    "a string": "x = 'torch.isin(a, b)'\n",
    "its last name in a string": "x = 'isin'\n",
    "a comment": "x = 1  # torch.isin(a, b)\n",
    "the text of an f-string": "x = f'torch.isin(a, b) {torch.pi}'\n",
    "numpy's": "import numpy as np\nx = np.isin(a, b)\ny = numpy.isin(a, b)\n",
    "numpy's, by another name": "import numpy as n\nx = n.isin(a, b)\n",
    "numpy's, beside torch as a value": "import numpy as n\nx = n.isin(getattr(torch, 'int'), b)\n",
    "a method": "x = self.isin(a, b)\ny = torch.linalg.isin(a, b)\nz = f().isin(a)\n",
    "a part's": "import torch.nn as t\nx = t.isin(a, b)\n",
    "another module's": "from .other import isin\nx = isin(a, b)\n",
    "an argument's and a function's": "def isin(a, b):\n    return f(isin=a)\n",
}


@pytest.mark.parametrize("text", NOT_IT.values(), ids=NOT_IT)
def test_what_is_not_it_stays(text: str) -> None:
    check_noop(HEAD + text)
    check_edited(f"{HEAD}{text}{CALL}", f"{OURS}{text}{DONE}")


def test_the_functions_own_file_stays() -> None:
    check_noop(f"{HEAD}{CALL}", path=PATCH.file)


OTHER_USES = {
    "f = torch.isin\n": "line 2 passes torch.isin as a value",
    "\nf = partial(torch.isin, a)\n": "line 3 passes torch.isin as a value",
    "torch.isin = f\n": "line 2 changes torch.isin",
    "x = torch.isin(*a)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, *b)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, b, **c)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, **c)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, b, invert=True)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, b, True)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, b, c, elements=d)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a, test_element=1)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch.isin(a)\n": "line 2 calls torch.isin with other than two operands",
    "x = torch . isin(a, b)\n": "line 2 does not write torch.isin as one expression",
    "x = (torch  # why\n  .isin)(a, b)\n": "line 2 does not write torch.isin as one expression",
    "x = f'{torch.isin(a, b)=}'\n": "line 2 calls torch.isin in an f-string",
    "@torch.jit.script\ndef f(a, b):\n    return torch.isin(a, b)\n": (
        "line 4 calls torch.isin in a function for torch.jit.script"
    ),
    "@script_if_tracing\ndef f(a, b):\n    return torch.isin(a, b)\n": (
        "line 4 calls torch.isin in a function for torch.jit.script"
    ),
    "@torch.jit.script_method(optimize=True)\ndef f(a, b):\n    return torch.isin(a, b)\n": (
        "line 4 calls torch.isin in a function for torch.jit.script"
    ),
    "from torch import nn, isin\n": "line 2 imports torch.isin by name",
    "from torch import *\nx = isin(a, b)\n": "line 2 imports *, which may bring torch.isin",
    "import torch as t\nx = t.isin(a, b)\n": "line 3 reaches torch.isin by another name",
    "from .compat import torch as t\nx = t.isin(a, b)\n": "line 3 reaches torch.isin by another name",
    "from . import utils\nx = utils.torch.isin(a, b)\n": "line 3 reaches torch.isin by another name",
    "t = torch\nx = t.isin(a, b)\n": "line 3 may reach torch.isin through a variable",
    "def f(a, t=torch):\n    return t.isin(a, b)\n": "line 3 may reach torch.isin through a variable",
    "x = (t := torch).isin(a, b)\n": "line 2 may reach torch.isin through a variable",
    "x = getattr(torch, 'isin')(a, b)\n": "line 2 may reach torch.isin by its name in a string",
}


@pytest.mark.parametrize(("text", "told"), OTHER_USES.items())
def test_another_use_is_told_of_and_stays_and_force_passes_over_it(text: str, told: str) -> None:
    check_noop(HEAD + text, told)
    if "*" not in text.partition("x =")[0]:  # which may bring another torch
        source = f"{HEAD}{text}{CALL}".encode()
        assert edit_source(source, PATH, PATCH, force=True) == f"{OURS}{text}{DONE}".encode()


NO_IMPORT = "the module has no plain `import torch`, or uses torch for something else"
UNCERTAIN = {
    "nothing imports torch": ("", NO_IMPORT),
    "another name": ("import torch as t\n", NO_IMPORT),
    "a part": ("import torch.nn\n", NO_IMPORT),
    "from another module": ("from .compat import torch\n", NO_IMPORT),
    "several on a line": ("import torch, os\n", NO_IMPORT),
    "two statements on a line": ("import torch; import os\n", NO_IMPORT),
    "a block on its line": ("if have: import torch\n", NO_IMPORT),
    "two in blocks": ("if a:\n    import torch\nelse:\n    import torch\n", NO_IMPORT),
    "one for type checkers, and one in a function": (
        "if T:\n    import torch\ndef f():\n    import torch\n",
        NO_IMPORT,
    ),
    "none where it is not there": ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", NO_IMPORT),
    "bound in a function": (f"{HEAD}def f():\n    global torch\n    torch = None\n", NO_IMPORT),
    "a parameter": (f"{HEAD}def f(torch):\n    return torch.sum()\n", NO_IMPORT),
    "a loop's": (f"{HEAD}for torch in a: pass\n", NO_IMPORT),
    "deleted": (f"{HEAD}del torch\n", NO_IMPORT),
    "a pattern's": (f"{HEAD}match a:\n    case [*torch]: pass\n", NO_IMPORT),
    "a star": (f"{HEAD}from .names import *\n", NO_IMPORT),
    "our name as a variable": (f"{HEAD}isin_mps_friendly = 1\n", "the module has its own isin_mps_friendly"),
    "our name as a parameter": (
        f"{HEAD}def f(isin_mps_friendly): pass\n",
        "the module has its own isin_mps_friendly",
    ),
    "our name imported": (
        f"{HEAD}from ...pytorch_utils import isin_mps_friendly\n",
        "the module has its own isin_mps_friendly",
    ),
}


@pytest.mark.parametrize(("head", "why"), UNCERTAIN.values(), ids=UNCERTAIN)
def test_a_module_where_names_may_mean_anything_is_refused(head: str, why: str) -> None:
    line = head.count("\n") + 1
    check_noop(head + CALL, f"line {line} calls torch.isin, but {why}")
    check_noop(head + BRANCH + "# isin\n", f"line {line} has a device branch, but {why}")


def test_what_the_functions_module_imports_cannot_import_it() -> None:
    why = "pytorch_utils.py imports the module, which cannot import isin_mps_friendly in turn"
    check_noop(
        HEAD + CALL, f"line 2 calls torch.isin, but {why}", path=PurePosixPath("transformers/utils/deeper/generic.py")
    )


def test_of_several_uses_the_first_is_told_of() -> None:
    check_noop(f"{HEAD}f = (\n    torch.isin)\ng = getattr(torch, 'isin')\n", "line 3 passes torch.isin as a value")


OFF = BRANCH.replace('x.device.type == "mps"', "False")
BRANCHES = {
    "an if": (f"{BRANCH}# isin\n", f"{OFF}# isin\n", 1),
    "with an else": (f"{BRANCH}else:\n    {CALL}", f"{OFF}else:\n    {DONE}", 2),
    "a test in parentheses": (
        f'if(x.device  # isin\n  .type\n  == "mps"):\n    y = chain(x)\n{CALL}',
        f"if(False):\n    y = chain(x)\n{DONE}",
        2,
    ),
    "an elif": (f"if a:\n    pass\nel{BRANCH}el{BRANCH}{CALL}", f"if a:\n    pass\nel{OFF}el{OFF}{DONE}", 3),
    "another body": (
        f'if x.device.type == "mps":\n    pass\nif x.type == "mps":\n    y = chain(x)\n{CALL}',
        f'if x.device.type == "mps":\n    pass\nif x.type == "mps":\n    y = chain(x)\n{DONE}',
        1,
    ),
}


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("before", "after", "count"), BRANCHES.values(), ids=BRANCHES)
def test_a_known_branch_is_disabled(before: str, after: str, count: int, end: str) -> None:
    check_edited((HEAD + before).replace("\n", end), (OURS + after).replace("\n", end), count=count)


@pytest.mark.parametrize("old", ["chain(x)", '"mps"'])
def test_calls_inside_of_a_known_branch_stay(old: str) -> None:
    source = HEAD + BRANCH.replace(old, "torch.isin(a, b)")
    (_, branch) = ast.parse(source).body
    assert isinstance(branch, ast.If)
    patch = PATCH._replace(device_branches=(KnownCode(name="a branch", digest=code_digest(branch)),))
    result = edit_source(source.encode(), PATH, patch)
    assert result.decode() == OURS + OFF.replace(old, "torch.isin(a, b)")
    assert identify(result, PATH, patch).state is State.PATCHED


def test_a_call_that_came_later_is_redirected_by_the_import_that_is_there() -> None:
    check_edited(f"{OURS}{DONE}{CALL}", f"{OURS}{DONE}{DONE}")


@pytest.mark.parametrize("text", [f"x = {IMPORT!r}\n", f"#{IMPORT}", f"x = '''\n{IMPORT}'''\n"])
def test_a_mark_that_is_no_import_is_none(text: str) -> None:
    check_noop(HEAD + text)


@pytest.mark.parametrize("wrong", [b"y = 2\n", b"isin = (\n"])
def test_a_result_that_is_not_as_expected_is_refused(wrong: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    made = calls._edited
    monkeypatch.setattr(calls, "_edited", lambda *given: made(*given) + wrong)
    with pytest.raises(PatcherError, match="cannot be edited safely") as caught:
        edit_source(f"{HEAD}{CALL}# {wrong!r}\n".encode(), PATH, PATCH)
    assert caught.value.code == "unsafe-rewrite"


def test_a_file_without_a_use_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(calls, "parse_module")
    for text in ("x = np.isin(a, b) & numpy.isin(c, d)\n", "isinstance(a, b)\n", "this is no Python"):
        check_noop(HEAD + text)


PIECES = [
    (CALL, DONE),
    (BRANCH + "# isin\n", OFF + "# isin\n"),
    (
        "class C:\n    def f(self):\n        return torch.isin('é', b), torch.isin(c, d)\n",
        "class C:\n    def f(self):\n        return isin_mps_friendly('é', b), isin_mps_friendly(c, d)\n",
    ),
    (
        "if a:\n    pass\nelif torch.isin(a,  # b\n        b):\n    pass\n",
        "if a:\n    pass\nelif isin_mps_friendly(a,  # b\n        b):\n    pass\n",
    ),
    *[(text, text) for text in ("s = 'torch.isin(a, b)'  # torch.isin\n", "z = np.isin(torch.pi, 'é')\n", "\n\n")],
]


@settings(max_examples=60, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(PIECES), max_size=12),
    end=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
)
def test_a_module_of_many_pieces_changes_piece_by_piece(pieces: list[tuple[str, str]], end: str, mark: str) -> None:
    before, after = ("".join(piece[side] for piece in pieces) for side in (0, 1))
    source = f"{mark}{HEAD}{before}".replace("\n", end).encode()
    expected = f"{mark}{HEAD if before == after else OURS}{after}".replace("\n", end).encode()
    assert edit_source(source, PATH, PATCH) == expected
    assert edit_source(expected, PATH, PATCH) == expected

"""Redirecting direct calls: what changes, what does not, and real releases."""

from __future__ import annotations

import difflib
import io
import re
import tokenize
from codecs import BOM_UTF8
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patcher.calls.concrete import Names
from patcher.calls.redirect import redirect
from patcher.calls.sites import Sites, find, mention
from patcher.errors import PatcherError
from patcher.model import CallsPatch
from patches.direct_isin import PATCH

PATH = PurePosixPath("transformers/models/clvp/modeling_clvp.py")
MARK = "  # mps-patcher redirects torch.isin here"
IMPORT = f"from ...pytorch_utils import isin_mps_friendly{MARK}\n"


def rewritten(source: str, path: PurePosixPath = PATH, patch: CallsPatch = PATCH) -> str:
    return redirect(source.encode(), path, patch).decode()


def check_redirected(source: str, expected: str, path: PurePosixPath = PATH) -> None:
    """`source` becomes `expected`, and nothing is left to do in that."""
    assert find(source.encode(), PATCH).calls
    assert rewritten(source, path) == expected
    assert find(expected.encode(), PATCH) == Sites(calls=0, strange=(), ours=True)
    assert rewritten(expected, path) == expected


def check_noop(source: str, *strange: str) -> None:
    """`source` stays, and `strange` is what is said of it."""
    assert find(source.encode(), PATCH) == Sites(calls=0, strange=strange, ours=False)
    assert rewritten(source) == source


CALLS = [
    ("torch.isin(a, b)", "isin_mps_friendly(a, b)"),
    ("torch.isin(elements=a, test_elements=b)", "isin_mps_friendly(elements=a, test_elements=b)"),
    ("torch.isin(test_elements=b(), elements = a())", "isin_mps_friendly(test_elements=b(), elements = a())"),
    ("torch.isin(a, test_elements=b)", "isin_mps_friendly(a, test_elements=b)"),
    ("torch.isin(1, 2.0)", "isin_mps_friendly(1, 2.0)"),
    ("torch.isin(  a ,b  ,)", "isin_mps_friendly(  a ,b  ,)"),
    ("torch.isin (a, b)", "isin_mps_friendly (a, b)"),
    ("torch . isin(a, b)", "isin_mps_friendly(a, b)"),
    ("(torch.isin)(a, b)", "(isin_mps_friendly)(a, b)"),
    ("(torch  # why\n .isin)(a, b)", "(isin_mps_friendly  # why\n )(a, b)"),
    ("(torch  # one\n .  # two\n isin)(a, b)", "(isin_mps_friendly  # one\n   # two\n )(a, b)"),
    ("(torch.isin(a, b))", "(isin_mps_friendly(a, b))"),
    ("~torch.isin(a, b)[0].any()", "~isin_mps_friendly(a, b)[0].any()"),
    (
        "torch.isin(torch.isin(a, b), torch.isin(c, d))",
        "isin_mps_friendly(isin_mps_friendly(a, b), isin_mps_friendly(c, d))",
    ),
    ("torch.isin(a, b, assume_unique=True)", "isin_mps_friendly(a, b)"),
    ("torch.isin(a, b, assume_unique=sure)", "isin_mps_friendly(a, b)"),
    ("torch.isin(assume_unique=False, elements=a, test_elements=b)", "isin_mps_friendly(elements=a, test_elements=b)"),
    ("torch.isin(elements=a, assume_unique=1, test_elements=b)", "isin_mps_friendly(elements=a, test_elements=b)"),
    ("torch.isin(a, b, invert=False)", "isin_mps_friendly(a, b)"),
    ("torch.isin(a, b, invert=False,)", "isin_mps_friendly(a, b,)"),
    ("torch.isin(a, b, invert=True)", "isin_mps_friendly(a, b).logical_not()"),
    ("torch.isin(a, b, invert=True).any()", "isin_mps_friendly(a, b).logical_not().any()"),
    ("(torch.isin(a, b, invert=True))", "(isin_mps_friendly(a, b).logical_not())"),
    (
        "torch.isin(elements=a, invert=False, test_elements=b())",
        "isin_mps_friendly(elements=a, test_elements=b())",
    ),
    ("torch.isin(a, b, invert=no)", "isin_mps_friendly(a, b).ne(no)"),
    ("torch.isin(a, b, invert=self.größe.no)", "isin_mps_friendly(a, b).ne(self.größe.no)"),
    ("torch.isin(a, b, assume_unique=True, invert=True)", "isin_mps_friendly(a, b).logical_not()"),
    (
        "torch.isin(a, invert=True, test_elements=b, assume_unique=True)",
        "isin_mps_friendly(a, test_elements=b).logical_not()",
    ),
    ("torch.isin(invert=no, elements=a.b, test_elements=1)", "isin_mps_friendly(elements=a.b, test_elements=1).ne(no)"),
    ("torch.isin(f(), invert=no, test_elements=b)", "isin_mps_friendly(f(), test_elements=b).ne(no)"),
    (
        "torch.isin(invert=True, elements=f(), test_elements=-1)",
        "isin_mps_friendly(elements=f(), test_elements=-1).logical_not()",
    ),
    (
        "torch.isin(torch.isin(a, b, invert=True), c, invert=True)",
        "isin_mps_friendly(isin_mps_friendly(a, b).logical_not(), c).logical_not()",
    ),
    (
        "torch.isin(\n    a,  # one\n    b,\n    assume_unique=True,\n)",
        "isin_mps_friendly(\n    a,  # one\n    b,\n)",
    ),
    (
        "torch.isin(\n    a,\n    b,\n    assume_unique=True,  # faster\n    invert=False\n)",
        "isin_mps_friendly(\n    a,\n    b,\n    # faster\n)",
    ),
    (
        "torch.isin(\n    a, b, assume_unique=True, invert=False\n)",
        "isin_mps_friendly(\n    a, b\n)",
    ),
    (
        "torch.isin(\n    assume_unique=True, invert=False,\n    elements=a, test_elements=b)",
        "isin_mps_friendly(\n    elements=a, test_elements=b)",
    ),
    ("torch.isin(\n    a, b,\n    assume_unique=True, invert=False\n)", "isin_mps_friendly(\n    a, b,\n)"),
    ("torch.isin(a,\n    b, invert=False)", "isin_mps_friendly(a,\n    b)"),
    (
        "torch.isin(elements=a,\n    invert=False, test_elements=b)",
        "isin_mps_friendly(elements=a,\n    test_elements=b)",
    ),
    ("torch.isin(a, b, invert=self\n.no)", "isin_mps_friendly(a, b).ne(self\n.no)"),
    ("torch.isin(\n\ta,\n\tb,\n\tassume_unique=True,\t\n)", "isin_mps_friendly(\n\ta,\n\tb,\n)"),
    ("torch.isin(\n    a,\n    b,\n    invert=no, \n)", "isin_mps_friendly(\n    a,\n    b,\n).ne(no)"),
    ("torch.isin(a,\n    b, # torch.isin\n)", "isin_mps_friendly(a,\n    b, # torch.isin\n)"),
    (
        'f"torch.isin {torch.isin(a, b):>{torch.isin(c, d)}} torch.isin(a, b)"',
        'f"torch.isin {isin_mps_friendly(a, b):>{isin_mps_friendly(c, d)}} torch.isin(a, b)"',
    ),
    (
        'f"""\n\n{torch.isin(a, b)!r}\n{f"{torch.isin(c, d)}"} """',
        'f"""\n\n{isin_mps_friendly(a, b)!r}\n{f"{isin_mps_friendly(c, d)}"} """',
    ),
    ("[torch.isin(a, b) for a in torch.isin(c, d)]", "[isin_mps_friendly(a, b) for a in isin_mps_friendly(c, d)]"),
    ("lambda a, b=torch.isin(1, 2): torch.isin(a, b)", "lambda a, b=isin_mps_friendly(1, 2): isin_mps_friendly(a, b)"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize(("call", "expected"), CALLS)
def test_a_call_becomes(call: str, expected: str, end: str) -> None:
    head = "import torch\n\nfrom ...utils import logging\n"
    ours = head.replace("from ...", IMPORT + "from ...")
    before, after = f"{head}\n\nx = {call}  # torch.isin\n", f"{ours}\n\nx = {expected}  # torch.isin\n"
    check_redirected(before.replace("\n", end), after.replace("\n", end))


HEAD = "import torch\n"
OURS = HEAD + IMPORT
NAMED = {
    "another name": ("import torch as t\n", "t.isin(a, b)"),
    "imported by name": ("from torch import isin\n", "isin(a, b)"),
    "imported by another name": ("from torch import nn, isin as member\n", "member(a, b)"),
    "by way of a submodule": ("import torch.nn.functional\n", "torch.isin(a, b)"),
    "within an if": ("if have:\n    import torch\n", "torch.isin(a, b)"),
    "none where it is not there": (
        "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
        "torch.isin(a, b)",
    ),
    "whatever type checkers see": ("import torch\nif TYPE_CHECKING:\n    torch = other\n", "torch.isin(a, b)"),
    "whatever type checkers see, by another name": (
        "import torch\nif typing.TYPE_CHECKING:\n    torch = other\nelse:\n    x = 1\n",
        "torch.isin(a, b)",
    ),
    "for type checkers too": (
        "if TYPE_CHECKING:\n    from torch import isin\nfrom torch import isin\n",
        "isin(a, b)",
    ),
}


@pytest.mark.parametrize(("head", "call"), NAMED.values(), ids=NAMED)
def test_a_call_is_found_by_what_its_name_means(head: str, call: str) -> None:
    result = rewritten(f"{head}x = {call}\n")
    assert IMPORT in result
    assert re.sub(rf"^ *{re.escape(IMPORT)}", "", result, flags=re.MULTILINE) == f"{head}x = isin_mps_friendly(a, b)\n"
    compile(result, "result", "exec", dont_inherit=True)


NOT_IT = {
    "a string": "x = 'torch.isin(a, b)'\n",
    "a comment": "x = 1  # torch.isin(a, b)\n",
    "a docstring": 'def f():\n    """torch.isin(a, b)"""\n',
    "the text of an f-string": "x = f'torch.isin(a, b) {torch}'\n",
    "another package": "import numpy as np\nx = np.isin(a, b)\n",
    "a method": "x = self.isin(a, b)\ny = torch.linalg.isin(a, b)\n",
    "a part's": "import torch.nn as t\nx = t.isin(a, b)\n",
    "another module's": "from .other import isin\nx = isin(a, b)\n",
    "a parameter": "def f(torch):\n    return torch.isin(a, b)\n",
    "a parameter of a lambda": "f = lambda torch: torch.isin(a, b)\n",
    "a local name": "def f():\n    torch = g()\n    return torch.isin(a, b)\n",
    "a loop's": "x = [torch.isin(a, b) for torch in y]\n",
    "an argument's": "x = f(isin=a)\n",
    "another package's beside the package as a value": "import numpy as np\nf(torch)\nx = np.isin(a, b)\n",
    "what is assigned to its name": "def isin(a, b):\n    return isin(b, a)\n",
}


@pytest.mark.parametrize("text", NOT_IT.values(), ids=NOT_IT)
def test_what_is_not_a_call_of_it_stays(text: str) -> None:
    check_noop(HEAD + text)


@pytest.mark.parametrize("text", ["x = torch.isin(a, b)\n", "from math import *\nx = isin(a, b)\n"])
def test_a_name_from_nowhere_is_not_it(text: str) -> None:
    check_noop(text)


STRANGE = {
    "f = torch.isin\n": "line 2 passes torch.isin as a value",
    "f = partial(torch.isin, a)\n": "line 2 passes torch.isin as a value",
    "def f() -> torch.isin: pass\n": "line 2 passes torch.isin as a value",
    "torch.isin = f\n": "line 2 changes torch.isin",
    "x = torch.isin(*a)\n": "line 2 calls torch.isin with * or **",
    "x = torch.isin(a, b, **c)\n": "line 2 calls torch.isin with * or **",
    "x = torch.isin(a, b, out=c)\n": "line 2 calls torch.isin with out=",
    "x = torch.isin(a, b, True)\n": "line 2 calls torch.isin without elements and test_elements, each once",
    "x = torch.isin(a)\n": "line 2 calls torch.isin without elements and test_elements, each once",
    "x = torch.isin(a, b, invert=f())\n": "line 2 calls torch.isin with invert=f()",
    "x = torch.isin(a, b, invert=None)\n": "line 2 calls torch.isin with invert=None",
    "x = torch.isin(a, b, assume_unique=f())\n": "line 2 calls torch.isin with assume_unique=f()",
    "x = f'{torch.isin(a, b)=}'\n": "line 2 calls torch.isin in an f-string that shows its text",
    "if c:\n    import other as torch\nx = torch.isin(a, b)\n": "line 4 calls what may be torch.isin or something else",
    "t = torch\nx = t.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "x = [(torch := y) for y in z]\ndel x\nw = torch.isin(a, b)\n": (
        "line 4 calls what may be torch.isin or something else"
    ),
    "torch = other\nx = torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "x = [(torch := y) for y in z]\nw = torch.isin(a, b)\n": ("line 3 calls what may be torch.isin or something else"),
    "del (a, torch)\nx = torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "torch = None\nx = torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "def f():\n    global torch\n    torch = None\nx = torch.isin(a, b)\n": (
        "line 5 calls what may be torch.isin or something else"
    ),
    "x = torch.isin(invert=no, elements=f(), test_elements=b)\n": (
        "line 2 calls torch.isin with invert= before an operand that is computed"
    ),
    "x = torch.isin(elements=a, invert=no.no, test_elements=-1)\n": (
        "line 2 calls torch.isin with invert= before an operand that is computed"
    ),
    "x = torch.isin(elements=a, invert=no, test_elements=b[0].c)\n": (
        "line 2 calls torch.isin with invert= before an operand that is computed"
    ),
    "@torch.jit.script\ndef f(a, b):\n    return torch.isin(a, b)\n": (
        "line 4 uses torch.isin in a function for torch.jit.script"
    ),
    'x = f"""\n\n{torch.isin(*a)}"""\n': "line 2 calls torch.isin with * or **",
    "torch: Any = None\nx = torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "t: Any = torch\nx = t.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "x = f'{torch.isin( a,b ) = }'\n": "line 2 calls torch.isin in an f-string that shows its text",
    "t, u = torch, 1\nx = t.isin(a, b)\n": "line 3 may call torch.isin by way of a variable",
    "t = torch if c else None\nx = t.isin(a, b)\n": "line 3 may call torch.isin by way of a variable",
    "x = (t := torch).isin(a, b)\n": "line 2 may call torch.isin by way of a variable",
    "def f(a, t=torch):\n    return t.isin(a, b)\n": "line 3 may call torch.isin by way of a variable",
    "def f(a, torch=torch):\n    return torch.isin(a, b)\n": "line 3 may call torch.isin by way of a variable",
    "x = getattr(torch, 'isin')(a, b)\n": "line 2 may call torch.isin by way of a variable",
    "del torch\nx = torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "class A:\n    x = torch.isin(a, b)\n    torch = 1\n": "line 3 calls what may be torch.isin or something else",
    "x = [(t := torch) for y in z]\nw = t.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
    "def f():\n    if (t := torch): pass\nx = t.isin(a, b)\n": "line 4 may call torch.isin by way of a variable",
    "def f():\n    import torch\n    def g():\n        nonlocal torch\n        torch = 1\n    torch.isin(a, b)\n": (
        "line 7 calls what may be torch.isin or something else"
    ),
    "def f():\n    import torch\n    def g():\n        def h():\n            nonlocal torch\n            torch = 1\n"
    "    torch.isin(a, b)\n": "line 8 calls what may be torch.isin or something else",
    "def f(torch):\n    def g():\n        global torch\n        torch = 1\nx = torch.isin(a, b)\n": (
        "line 6 calls what may be torch.isin or something else"
    ),
    "match a:\n    case {'k': v, **torch}: pass\nx = torch.isin(a, b)\n": (
        "line 4 calls what may be torch.isin or something else"
    ),
    "match a:\n    case {'k': torch}: pass\nx = torch.isin(a, b)\n": (
        "line 4 calls what may be torch.isin or something else"
    ),
    f"x = torch.isin(a, b, invert={'y' * 36}(z))\n": f"line 2 calls torch.isin with invert={'y' * 36}(z)",
    f"x = torch.isin(a, b, invert={'y' * 37}(z))\n": "line 2 calls torch.isin with invert=...",
    "match a:\n    case torch: torch.isin(a, b)\n": "line 3 calls what may be torch.isin or something else",
}


@pytest.mark.parametrize(("text", "told"), STRANGE.items())
def test_what_cannot_be_redirected_is_told_of_with_its_line(text: str, told: str) -> None:
    check_noop(HEAD + text, told)


@pytest.mark.parametrize(
    "decorator", ["script", "torch.jit.script_if_tracing", "torch.jit.script_method", "torch.jit.script(optimize=True)"]
)
def test_what_torch_compiles_speaks_no_python_and_is_told_of(decorator: str) -> None:
    text = f"@{decorator}\ndef f(a, b):\n    return torch.isin(a, b)\n"
    check_noop(HEAD + text, "line 4 uses torch.isin in a function for torch.jit.script")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("from torch import isin\nisin = f\nx = isin(a, b)\n", "line 3 calls what may be torch.isin or something else"),
        ("from torch import *\nx = isin\n", "line 2 uses what may be torch.isin or something else"),
        ("from torch import *\nx = isin(a, b)\n", "line 2 calls what may be torch.isin or something else"),
        ("from .compat import torch\nx = torch.isin(a, b)\n", "line 2 calls what may be torch.isin or something else"),
        ("from a import *\nt = torch\nx = t.isin(a, b)\n", "line 3 calls what may be torch.isin or something else"),
        ("from .compat import *\nx = torch.isin(a, b)\n", "line 2 calls what may be torch.isin or something else"),
        ("from torch import isin\n__all__ = ['isin']\n", "line 2 exports torch.isin"),
        ("from . import utils\nx = utils.torch.isin(a, b)\n", "line 2 calls what may be torch.isin or something else"),
    ],
)
def test_what_comes_from_elsewhere_is_told_of(text: str, told: str) -> None:
    check_noop(text, told)


TYPED = [
    f"if {test}:\n    from torch import isin\nf = isin(a, b)\n" for test in ("TYPE_CHECKING", "typing.TYPE_CHECKING")
]


# libcst knows less of what makes these strange: None beside a call, nonlocal two functions up, torch.jit.script
DISPUTED = [text for text in STRANGE if any(part in text for part in ("= None", "def h()", "@torch.jit.script"))]


@pytest.mark.parametrize("text", [*TYPED, *(text for text in STRANGE if text not in DISPUTED)])
def test_a_call_is_redirected_beside_anything_strange(text: str) -> None:
    """Both analyses leave the same uses alone."""
    call = "def g(a, b):\n    from torch import isin as known\n    return {}(a, b)\n"
    assert rewritten(f"{HEAD}{text}{call.format('known')}") == f"{OURS}{text}{call.format('isin_mps_friendly')}"


@pytest.mark.parametrize("text", DISPUTED)
def test_what_only_one_analysis_knows_to_be_strange_refuses_the_file(text: str) -> None:
    with pytest.raises(PatcherError, match="libcst and Python read different calls"):
        rewritten(f"{HEAD}{text}def g(a, b):\n    from torch import isin as known\n    return known(a, b)\n")


PLACES = {
    "in the alphabet of the other imports": (
        f"{HEAD}\nfrom ...modeling_utils import x\nfrom ...utils import y\n\nz = torch.isin(a, b)\n",
        f"{HEAD}\nfrom ...modeling_utils import x\n{IMPORT}from ...utils import y\n\nz = isin_mps_friendly(a, b)\n",
    ),
    "behind the one other import": (
        f"{HEAD}from ...modeling_utils import x\nz = torch.isin(a, b)\n",
        f"{HEAD}from ...modeling_utils import x\n{IMPORT}z = isin_mps_friendly(a, b)\n",
    ),
    "behind the last of the other imports": (
        f"{HEAD}from ... import v\nfrom ...cache import w\nfrom ...f import x\nz = torch.isin(a, b)\n",
        f"{HEAD}from ... import v\nfrom ...cache import w\nfrom ...f import x\n{IMPORT}z = isin_mps_friendly(a, b)\n",
    ),
    "in the alphabet of those that follow each other": (
        f"{HEAD}from ...cache import w\ny = 1\nfrom ...utils import x\nz = torch.isin(a, b)\n",
        f"{HEAD}from ...cache import w\n{IMPORT}y = 1\nfrom ...utils import x\nz = isin_mps_friendly(a, b)\n",
    ),
    "behind the last import, where none is relative": (
        f"{HEAD}import os\n\nx = torch.isin(a, b)\n",
        f"{HEAD}import os\n{IMPORT}\nx = isin_mps_friendly(a, b)\n",
    ),
    "behind the last relative import, where none has as many dots": (
        f"{HEAD}from ..x import y\nimport os\nx = torch.isin(a, b)\n",
        f"{HEAD}from ..x import y\n{IMPORT}import os\nx = isin_mps_friendly(a, b)\n",
    ),
    "behind a whole line of imports": (
        "import torch; import os\nx = torch.isin(a, b)\n",
        f"import torch; import os\n{IMPORT}x = isin_mps_friendly(a, b)\n",
    ),
    "behind a whole line of which it needs the first": (
        f"{HEAD}from ..x import y; import os\nx = torch.isin(a, b)\n",
        f"{HEAD}from ..x import y; import os\n{IMPORT}x = isin_mps_friendly(a, b)\n",
    ),
    "in front of a whole line of imports": (
        f"{HEAD}import os; from ...utils import y\nx = torch.isin(a, b)\n",
        f"{HEAD}{IMPORT}import os; from ...utils import y\nx = isin_mps_friendly(a, b)\n",
    ),
    "in front of an import of several lines": (
        f"{HEAD}from ...utils import (\n    x,\n)\nz = torch.isin(a, b)\n",
        f"{HEAD}{IMPORT}from ...utils import (\n    x,\n)\nz = isin_mps_friendly(a, b)\n",
    ),
    "behind an import of several lines": (
        f"{HEAD}from ...cache import (\n    x,\n)\nz = torch.isin(a, b)\n",
        f"{HEAD}from ...cache import (\n    x,\n)\n{IMPORT}z = isin_mps_friendly(a, b)\n",
    ),
    "behind a last line without an end": (
        "def f(a, b):\n    return torch.isin(a, b)\nimport torch",
        f"def f(a, b):\n    return isin_mps_friendly(a, b)\nimport torch\n{IMPORT.rstrip()}",
    ),
    "behind the import of torch, where there is no other": (
        f'"""Doc."""\nfrom __future__ import annotations\n{HEAD}x = torch.isin(a, b)\n',
        f'"""Doc."""\nfrom __future__ import annotations\n{OURS}x = isin_mps_friendly(a, b)\n',
    ),
    "behind a docstring, whatever is in that": (
        f'"""Doc.\n\n        far in   \n    """\n{HEAD}x = torch.isin(a, b)\n',
        f'"""Doc.\n\n        far in   \n    """\n{OURS}x = isin_mps_friendly(a, b)\n',
    ),
    "in the block that imports torch": (
        f"if have:\n    {HEAD}\n\ndef f(a, b):\n    return torch.isin(a, b)\n",
        f"if have:\n    {HEAD}    {IMPORT}\n\ndef f(a, b):\n    return isin_mps_friendly(a, b)\n",
    ),
    "for methods beside an attribute of that name": (
        f"{HEAD}class A:\n    torch = 1\n    def f(self):\n        return torch.isin(a, b)\n",
        f"{OURS}class A:\n    torch = 1\n    def f(self):\n        return isin_mps_friendly(a, b)\n",
    ),
    "on the line that imports torch": (
        f"if have: {HEAD}\n\ndef f(a, b):\n    return torch.isin(a, b)\n",
        f"if have: import torch; {IMPORT}\n\ndef f(a, b):\n    return isin_mps_friendly(a, b)\n",
    ),
    "in the function that imports torch": (
        "def f(a, b):\n    import torch\n    return torch.isin(a, b)\n",
        f"def f(a, b):\n    import torch\n    {IMPORT}    return isin_mps_friendly(a, b)\n",
    ),
    "in the block of the call's own import, though another follows": (
        "if have:\n    import torch\nx = torch.isin(a, b)\nimport torch.nn as nn\n",
        f"if have:\n    import torch\n    {IMPORT}x = isin_mps_friendly(a, b)\nimport torch.nn as nn\n",
    ),
    "before a call that shares a line with a later import": (
        f"{HEAD}x = torch.isin(a, b); from ...pytorch_utils import z\n",
        f"{OURS}x = isin_mps_friendly(a, b); from ...pytorch_utils import z\n",
    ),
    "in front of all that shares the line of an import and a call": (
        "z = 1\nw = 2\nimport os; import torch; x = torch.isin(a, b)\n",
        f"z = 1\nw = 2\n{IMPORT}import os; import torch; x = isin_mps_friendly(a, b)\n",
    ),
    "in front of the first line, if all is on that": (
        "import os; import torch; x = torch.isin(a, b)",
        f"{IMPORT}import os; import torch; x = isin_mps_friendly(a, b)",
    ),
    "behind a last line without an end, which gets that of the first": (
        "f = lambda a, b: torch.isin(a, b)\r\nimport torch",
        f"f = lambda a, b: isin_mps_friendly(a, b)\r\nimport torch\r\n{IMPORT.rstrip()}",
    ),
    "at the top, where a name is imported from torch": (
        "from torch import isin\nfrom ...cache import w\nx = isin(a, b)\n",
        f"from torch import isin\nfrom ...cache import w\n{IMPORT}x = isin_mps_friendly(a, b)\n",
    ),
    "at the top, where a part of torch is imported": (
        "import torch.nn\nfrom ...cache import w\nx = torch.isin(a, b)\n",
        f"import torch.nn\nfrom ...cache import w\n{IMPORT}x = isin_mps_friendly(a, b)\n",
    ),
    "at the top, where something is imported from a part of torch": (
        "from torch.nn import F\nfrom ...cache import w\nif h:\n  import torch\nx = torch.isin(a, b)\n",
        f"from torch.nn import F\nfrom ...cache import w\n{IMPORT}if h:\n  import torch\nx = isin_mps_friendly(a, b)\n",
    ),
    "before a line that imports and calls": (
        "import torch; x = torch.isin(a, b)\n",
        f"{IMPORT}import torch; x = isin_mps_friendly(a, b)\n",
    ),
}


@pytest.mark.parametrize(("text", "expected"), PLACES.values(), ids=PLACES)
def test_the_import_goes(text: str, expected: str) -> None:
    check_redirected(text, expected)


def test_the_import_that_is_there_serves() -> None:
    for name, line in {
        "isin_mps_friendly": "from ...pytorch_utils import isin_mps_friendly\n",
        "m": "from ...pytorch_utils import Conv1D, isin_mps_friendly as m\n",
        "isin_mps_friendly ": "from transformers.pytorch_utils import isin_mps_friendly\n",
        " isin_mps_friendly": "from ...pytorch_utils import isin_mps_friendly\ny = isin_mps_friendly(b, a)\n",
    }.items():
        call = f"x = {name.strip()}(a, b)\n"
        assert rewritten(f"{HEAD}{line}x = torch.isin(a, b)\n") == HEAD + line + call


TAKEN = {
    "a function": "def isin_mps_friendly(a, b):\n    return None\n",
    "a parameter": "def f(isin_mps_friendly):\n    return None\n",
    "the import and a variable": "from ...pytorch_utils import isin_mps_friendly\nisin_mps_friendly = 1\n",
    "the import and a parameter": (
        "from ...pytorch_utils import isin_mps_friendly\ndef f(isin_mps_friendly):\n    return None\n"
    ),
    "the import and a function": (
        "from ...pytorch_utils import isin_mps_friendly\ndef isin_mps_friendly():\n    return None\n"
    ),
    "the import and a pattern": (
        "from ...pytorch_utils import isin_mps_friendly\nmatch a:\n    case {**isin_mps_friendly}: pass\n"
    ),
    "the import and a global": (
        "from ...pytorch_utils import isin_mps_friendly\ndef f():\n    global isin_mps_friendly\n"
    ),
    "a package": "import isin_mps_friendly.part\n",
    "a variable": "isin_mps_friendly = 1\n",
    "a use of a name from nowhere": "x = isin_mps_friendly\n",
    "a star": "from .names import *\n",
    "another import": "from .other import isin_mps_friendly\n",
}


def test_a_name_that_is_imported_only_after_the_call_is_left_alone() -> None:
    text = f"{HEAD}y = torch.isin(a, b); from ...pytorch_utils import isin_mps_friendly\n"
    line = IMPORT.replace("isin_mps_friendly", "isin_mps_friendly as redirected_isin")
    assert rewritten(text) == text.replace("torch.isin", "redirected_isin").replace(HEAD, HEAD + line)


@pytest.mark.parametrize("text", TAKEN.values(), ids=TAKEN)
def test_a_name_that_is_taken_is_left_alone(text: str) -> None:
    result = rewritten(f"{HEAD}{text}y = torch.isin(a, b)\n")
    line = IMPORT.replace("isin_mps_friendly", "isin_mps_friendly as redirected_isin")
    assert line in result
    assert result.replace(line, "") == f"{HEAD}{text}y = redirected_isin(a, b)\n"


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("transformers/generation/utils.py", "from ..pytorch_utils import"),
        ("transformers/modeling_utils.py", "from .pytorch_utils import"),
        ("transformers/__init__.py", "from .pytorch_utils import"),
        ("other/module.py", "from transformers.pytorch_utils import"),
    ],
)
def test_the_import_is_relative_within_the_package(path: str, line: str) -> None:
    assert line in rewritten(f"{HEAD}x = torch.isin(a, b)\n", PurePosixPath(path))


def test_a_script_imports_by_the_whole_name() -> None:
    """Run as a file, it could not import relatively."""
    text = f"{HEAD}x = torch.isin(a, b)\nif __name__ == '__main__':\n    print(x)\n"
    assert f"from transformers.pytorch_utils import isin_mps_friendly{MARK}\n" in rewritten(text)
    assert IMPORT in rewritten(text.replace("print(x)", "from ... import logging"))


@pytest.mark.parametrize("name", ["generic.py", "deeper/module.py"])
def test_what_the_functions_module_imports_cannot_import_it(name: str) -> None:
    with pytest.raises(PatcherError, match="cannot import isin_mps_friendly in turn"):
        rewritten(f"{HEAD}x = torch.isin(a, b)\n", PurePosixPath("transformers/utils") / name)


def test_comments_keep_their_line_ends_and_form_feeds() -> None:
    assert rewritten("import torch\rx = (torch # a\fb\r .isin)(a, b)\r") == (
        f"import torch\r{IMPORT.rstrip()}\rx = (isin_mps_friendly # a\fb\r )(a, b)\r"
    )


def test_an_f_string_that_only_looks_as_if_it_showed_its_text() -> None:
    check_redirected(
        f"{HEAD}print(f'mask={{torch.isin(a, b)}} a == {{torch.isin(a, b)}}')\n",
        f"{OURS}print(f'mask={{isin_mps_friendly(a, b)}} a == {{isin_mps_friendly(a, b)}}')\n",
    )


def test_a_deeper_callee_is_found_by_its_last_name() -> None:
    patch = replace(PATCH, callee="torch.linalg.norm")
    assert re.search(mention(patch), b"x = linalg.norm(a)")
    assert re.search(mention(patch), b"from torch.linalg import norm")
    assert not re.search(mention(patch), b"x = norms, denorm, norm_")
    text = "import torch\nisin_mps_friendly = 1\nx = torch.linalg.norm(a, b)\n"
    assert find(text.encode(), patch).calls == 1
    other = "import torch\nfrom ...cache import w\nx = torch.linalg.norm(a, b)\n"
    assert rewritten(other, patch=patch).startswith(
        "import torch\nfrom ...cache import w\nfrom ...pytorch_utils import"
    )
    assert rewritten(text, patch=patch).endswith("\nx = redirected_norm(a, b)\n")


def test_the_functions_own_file_stays() -> None:
    text = f"{HEAD}x = torch.isin(a, b)\n"
    assert rewritten(text, PATCH.file) == text


ENCODED = {
    "carriage returns": f"{HEAD}x = torch.isin(a, b)\n".replace("\n", "\r\n").encode(),
    "old carriage returns": f"{HEAD}x = torch.isin(a, b)\n".replace("\n", "\r").encode(),
    "no final newline": f"{HEAD}x = torch.isin(a, b)".encode(),
    "a byte order mark": BOM_UTF8 + f"{HEAD}x = torch.isin(a, b)\n".encode(),
    "latin-1": f"# coding: latin-1\n{HEAD}x = torch.isin('\xe9', b)\n".encode("latin-1"),
    "a form feed": f"{HEAD}\f\nx = torch.isin(a, b)\n".encode(),
    "a form feed in front": f"{HEAD}\fx = torch.isin(a, b)\n".encode(),
    "letters of several bytes": f"{HEAD}x = f('\N{SNOWMAN}', torch.isin(a, b))\n".encode(),
    "tabs": f"{HEAD}if x:\n\ty = torch.isin(a, b)\n".encode(),
}


@pytest.mark.parametrize("source", ENCODED.values(), ids=ENCODED)
def test_every_other_byte_stays(source: bytes) -> None:
    result = redirect(source, PATH, PATCH)
    end = next(one for one in (b"\r\n", b"\r", b"\n") if one in source)
    assert result.count(IMPORT.encode().rstrip() + end) == 1
    plain = result.replace(IMPORT.encode().rstrip() + end, b"").replace(b"isin_mps_friendly", b"torch.isin")
    assert plain == source


@pytest.mark.parametrize("first", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_the_import_ends_as_the_line_above_it_does(first: str, end: str) -> None:
    before, after = f"x = 1{first}import torch{end}", f"y = torch.isin(a, b){first}"
    expected = f"{before}{IMPORT.rstrip()}{end}{after.replace('torch.isin', 'isin_mps_friendly')}"
    assert rewritten(before + after) == expected


REFUSED = {
    "'''Doc.'''; import torch; x = torch.isin(a, b)\n": "leaves the docstring at the top",
    "try:\n    import torch as t\nexcept ImportError:\n    t = None\ndef f(c):\n    if c:\n        import torch\n"
    "        return torch.isin(a, b)\n    return t.isin(a, b)\n": "in scopes that are inside of each other",
    "try:\n    import torch as t\nexcept ImportError:\n    t = None\ndef f(c):\n    def g():\n        import torch\n"
    "        return torch.isin(a, b)\n    return t.isin(a, b)\n": "imported in scopes that are inside of each other",
    f"import torch\nx = torch.isin(a, b)\ny = {' and '.join('1' * 9000)}\n": "nested more than 1000 levels deep",
    "if have: import torch; x = torch.isin(a, b)\n": "a call stands on one line with the import that it goes by",
    "from __future__ import annotations; import torch; x = torch.isin(a, b)\n": "must occur at the beginning",
}


@pytest.mark.parametrize(("text", "why"), REFUSED.items())
def test_what_has_no_place_for_an_import_is_refused(text: str, why: str) -> None:
    with pytest.raises(PatcherError, match=why) as caught:
        rewritten(text)
    assert caught.value.code == "unsafe-rewrite"


def test_what_is_too_much_to_survey_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def give_up(*_: object) -> None:
        raise RecursionError

    monkeypatch.setattr("patcher.calls.sites._survey", give_up)
    with pytest.raises(PatcherError) as caught:
        find(b"import torch\nx = torch.isin(a, b)\n", PATCH)
    assert caught.value.code == "unparsable-source"


@pytest.mark.parametrize("text", ["x = (torch.isin(\n", "x = '\udcff'; torch.isin(a, b)\n", "\0torch.isin(a, b)"])
def test_what_is_no_python_is_refused(text: str) -> None:
    source = text.encode("utf-8", "surrogateescape")
    for work in (lambda: find(source, PATCH), lambda: redirect(source, PATH, PATCH)):
        with pytest.raises(PatcherError) as caught:
            work()
        assert caught.value.code == "unparsable-source"
        assert "\n" not in caught.value.message


READ = {
    "a declaration that carriage returns make too late": b"# a\r# b\r# coding: rot13\r",
    "bytes that are no UTF-8 beside the declaration": b"# \xe9, coding: latin-1\n",
    "letters of two bytes": "# coding: shift_jis\n# \u8868\n".encode("shift_jis"),
}


@pytest.mark.parametrize("start", READ.values(), ids=READ)
def test_it_is_read_in_the_encoding_that_python_reads_it_in(start: bytes) -> None:
    result = redirect(start + b"import torch\nx = torch.isin(a, b)\n", PATH, PATCH)
    assert result == start + f"import torch\n{IMPORT}x = isin_mps_friendly(a, b)\n".encode()


@pytest.mark.parametrize("encoding", ["utf-7", "unicode_escape", "idna"])
def test_an_encoding_in_which_nothing_can_change_alone_is_refused(encoding: str) -> None:
    with pytest.raises(PatcherError) as caught:
        redirect(
            f"# coding: {encoding}\n# +AAo-x = 1 # \\n\nimport torch\nx = torch.isin(a, b)\n".encode(), PATH, PATCH
        )
    assert caught.value.code == "unsafe-rewrite"


def test_a_mark_on_lines_that_only_an_encoding_makes_is_none() -> None:
    lines = "+AAo-" * 9
    source = f"# coding: utf-7\n{MARK}\n{lines}from x import isin_mps_friendly\nisin = 1\n"
    assert not find(source.encode(), PATCH).ours


def test_what_assignments_lead_to_is_found_however_they_cross() -> None:
    """Each of forty names has two values, which makes 2**40 ways."""
    steps = (f"{one}{at} = {other}{at + 1}\n" for at in range(40) for one in "ab" for other in "ab")
    crossed = f"{HEAD}{''.join(steps)}x = a0.isin(1, 2)\n"
    check_noop(crossed)
    check_noop(f"{crossed}a40 = torch\n", "line 162 calls what may be torch.isin or something else")


def test_assignments_without_an_end_may_lead_anywhere() -> None:
    check_noop(f"{HEAD}a = b.c\nb = a.d\nx = a.isin(1, 2)\n", "line 4 calls what may be torch.isin or something else")


def test_a_refusal_on_the_way_is_told_of_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise PatcherError("too-deep", "It is too deep.", "None.")

    monkeypatch.setattr("patcher.calls.redirect.require_shallow", refuse)
    with pytest.raises(PatcherError, match=r"cannot be redirected safely: It is too deep\.$"):
        rewritten(f"{HEAD}x = torch.isin(a, b)\n")


def test_a_disagreement_with_libcst_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither analysis is believed alone."""
    monkeypatch.setattr(Names, "mean_callee", lambda *_: False)
    with pytest.raises(PatcherError, match="libcst and Python read different calls") as caught:
        rewritten(f"{HEAD}x = torch.isin(a, b)\n")
    assert caught.value.code == "unsafe-rewrite"


PIECES = [
    ("x = torch.isin(a, b)\n", "x = isin_mps_friendly(a, b)\n"),
    ("def f(torch):\n    return torch.isin(a, b)\n", None),
    (
        "def g(a):\n    return [torch.isin(a, b) for b in a]\n",
        "def g(a):\n    return [isin_mps_friendly(a, b) for b in a]\n",
    ),
    ("class C:\n    y = torch.isin(a, b, invert=True)\n", "class C:\n    y = isin_mps_friendly(a, b).logical_not()\n"),
    ("s = 'torch.isin(a, b)'  # torch.isin\n", None),
    ("z = np.isin(torch, b)\n", None),
    ("f'{torch.isin(a, b)} torch.isin(a, b)'\n", "f'{isin_mps_friendly(a, b)} torch.isin(a, b)'\n"),
    (
        "if a:\n    pass\nelif torch.isin(a, b):\n    pass\n",
        "if a:\n    pass\nelif isin_mps_friendly(a, b):\n    pass\n",
    ),
    ("\n\n", None),
    (
        "async def h():\n    await torch.isin(a,  # b\n        b)\n",
        "async def h():\n    await isin_mps_friendly(a,  # b\n        b)\n",
    ),
]


@settings(max_examples=60, deadline=None)
@given(chosen=st.lists(st.sampled_from(PIECES), max_size=12), end=st.sampled_from(["\n", "\r\n"]))
def test_a_module_of_many_pieces_changes_piece_by_piece(chosen: list[tuple[str, str | None]], end: str) -> None:
    source = (HEAD + "".join(before for before, _ in chosen)).replace("\n", end)
    has_calls = any(after for _, after in chosen)
    head = OURS if has_calls else HEAD
    expected = (head + "".join(after or before for before, after in chosen)).replace("\n", end)
    assert redirect(source.encode(), PATH, PATCH).decode() == expected


VERSIONS = ["4.38.2", "4.40.2", "4.44.2", "4.57.6", "5.1.0", "5.24.0"]
EXPECTED = {"4.38.2": 1, "4.40.2": 7, "4.44.2": 12, "4.57.6": 4, "5.24.0": 20}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_release(version: str, wheels: Callable[[str], Path]) -> None:
    """No direct call is left, and only lines of calls, branches and imports differ."""
    found = 0
    with ZipFile(wheels(version)) as archive:
        for name in archive.namelist():
            source = archive.read(name) if name.endswith(".py") else b""
            path = PurePosixPath(name)
            if re.search(rb"\bisin\b", source) and path != PATCH.file and (sites := find(source, PATCH)).calls:
                assert not sites.strange
                found += sites.calls + sites.branches
                result = redirect(source, path, PATCH)
                compile(result, name, "exec")
                assert not direct_calls(result)
                assert find(result, PATCH) == Sites(calls=0, strange=(), ours=True)
                check_difference(source.decode(), result.decode())
    assert found == EXPECTED.get(version, found) > 0


def direct_calls(source: bytes) -> list[int]:
    """The lines with `torch.isin(`, by tokens."""
    tokens = [token for token in tokenize.tokenize(io.BytesIO(source).readline) if token.string.strip()]
    window = zip(tokens, tokens[1:], tokens[2:], tokens[3:], strict=False)
    return [four[0].start[0] for four in window if [one.string for one in four] == ["torch", ".", "isin", "("]]


def check_difference(before: str, after: str) -> None:
    lines = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    removed = [line[2:] for line in lines if line[0] == "-"]
    added = [line[2:] for line in lines if line[0] == "+"]
    imports = [line for line in added if line.endswith(MARK)]
    assert len(imports) == 1
    assert re.fullmatch(rf" *from \.+pytorch_utils import isin_mps_friendly{re.escape(MARK)}", imports[0])
    assert all("isin_mps_friendly(" in line for line in added if line not in imports)
    calls = [line.strip().replace("torch.isin(", "isin_mps_friendly(") for line in removed if "torch.isin(" in line]
    assert calls == [line.strip() for line in added if line not in imports]
    assert len([line for line in removed if "torch.isin(" not in line]) in (0, 6, 7, 11, 12, 13)

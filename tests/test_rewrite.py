"""Recognising and replacing the function in the files of real releases, however they are formatted."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patcher import __version__, rewrite
from patcher.errors import PatcherError
from patcher.model import KnownBody, State
from patcher.rewrite import add, recognise, transplant
from patches.isin_mps_friendly import PATCH

ROOT = Path(__file__).resolve().parent.parent
NAME = PATCH.function
RELEASES = {"A": "4.45.1", "B": "4.46.3"}
BANNER = (
    f"# mps-patcher {__version__} put another body into this function, one that is right on MPS.\n"
    f"# mps-patcher undoes it with: mps-patcher revert {NAME}\n"
).encode()
ADDED_BANNER = (
    f"# mps-patcher {__version__} added this function, which is right on MPS.\n"
    f"# mps-patcher undoes it with: mps-patcher revert {NAME}\n"
).encode()
REPLACEMENT = PATCH.replacement.read_bytes()
(OURS,) = (node for node in ast.parse(REPLACEMENT).body if isinstance(node, ast.FunctionDef) and node.name == NAME)
OUR_FUNCTION = REPLACEMENT.splitlines()[OURS.lineno - 1 : OURS.end_lineno]
FORMER = ROOT / "tests" / "former"
"""By the start of its digest: the function with each body that earlier versions have put in."""
Parts = tuple[bytes, bytes, bytes]
"""What is above the function, the function, and what is below."""

HEAD = f"def {NAME}(elements: torch.Tensor, test_elements: torch.Tensor | int) -> torch.Tensor:\n"
A = """\
    if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
        return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
    else:
        return torch.isin(elements, test_elements)
"""
B = """\
    if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
        test_elements = torch.tensor(test_elements)
        if test_elements.ndim == 0:
            test_elements = test_elements.unsqueeze(0)
        return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
    else:
        return torch.isin(elements, test_elements)
"""
WRAPPED = f"""\
def {NAME}(
  elements  # what to look for
  , test_elements: 'int | None',
) :   # the head's comment

  # a comment before everything
  r'''Another docstring.
Of two lines.'''
  if (
    elements . device.type
    ==('mps')
    and (not is_torch_greater_or_equal_than_2_4)
  ):
      return (
        elements
          .tile(test_elements.shape[0], 1,)  # one row each

          .eq(test_elements.unsqueeze(0x1))
          .sum(dim = 0)
          .bool().squeeze()
      )
  else :
   return (torch
     .isin)(elements
     ,test_elements)
"""
FORMATS = {
    "A as it is, without docstring": HEAD + A,
    "B as it is, without docstring": HEAD + B,
    "wrapped by hand": WRAPPED,
    "no annotations, another docstring": f'def {NAME}(elements, test_elements):\n    "Short."\n{A}',
    "other annotations": f"def {NAME}(elements: 'E', test_elements: list[int]) -> None:\n{B}",
    "a local annotation": HEAD + B.replace("test_elements = torch", "test_elements: 'T' = torch"),
    "other quotes": HEAD + A.replace('"mps"', "'''mps'''"),
    "adjacent strings": HEAD + A.replace('"mps"', "'m' \"ps\""),
    "a string's prefix": HEAD + A.replace('"mps"', 'u"mps"'),
    "two spaces": HEAD + B.replace("    ", "  "),
    "eight spaces": HEAD + B.replace("    ", "        "),
    "tabs": HEAD + B.replace("    ", "\t"),
    "one line an arm": HEAD + re.sub(r":\n +return (.*)", r": return \1;", A),
    "a backslash": HEAD + A.replace("and not", "and \\\n  not"),
    "comments everywhere": HEAD + re.sub("\n", "  # return 1\n\n    # and again\n", B, count=6),
    "a form feed": HEAD + "\f\n" + A,
}
UNKNOWN = {
    "another constant": A.replace("dim=0", "dim=1"),
    "another operand": A.replace("isin(elements, test_elements)", "isin(test_elements, elements)"),
    "another name": A.replace("2_4", "2_3"),
    "one call less": A.replace(".squeeze()", ""),
    "an argument by name": A.replace("isin(elements, test", "isin(elements, test_elements=test"),
    "a statement more": A + "    return None\n",
    "a condition turned round": A.replace(" and not ", " and "),
    "a docstring that is not first": "    pass\n" + A,
    "only a docstring": '    "Nothing else."\n',
    "an arm without else": A.replace("    else:\n    ", ""),
    "a number too long to compare": f"    return 0x{'f' * 5000}\n",
}
OLD = HEAD + A
INDENTED = re.sub("(?m)^(?=.)", "    ", OLD)
DECOYS = {
    "in another function": OLD.replace(NAME, "another_function"),
    "nested in a function": f"def outer():\n{INDENTED}    return {NAME}\n",
    "a method": f"class Helpers:\n    @staticmethod\n{INDENTED}",
    "in a string": f"SOURCE = '''\n{OLD}'''\n",
    "in the docstring of a function": f"def documented():\n    '''\n{INDENTED}    '''\n",
    "in comments": re.sub("(?m)^(?=.)", "# ", OLD),
    "an attribute and an item": f"this.{NAME} = that\nthis['{NAME}'] = that\n",
    "a parameter and a keyword": f"def helper({NAME}=None):\n    {NAME} = 1\n    return helper({NAME}=2)\n",
    "a use": f"alias = {NAME} if 'alias' else None\n",
    "imported under another name": f"from elsewhere import {NAME} as alias\n",
}
REBOUND = {
    "defined twice": OLD,
    "defined again, and right": HEAD + "    return torch.isin(elements, test_elements)\n",
    "defined again under a condition": f"if something:\n{INDENTED}else:\n{INDENTED}",
    "defined again in a try": f"try:\n    pass\nexcept Exception:\n{INDENTED}",
    "a class": f"class {NAME}:\n    pass\n",
    "a coroutine": f"async def {NAME}():\n    pass\n",
    "a lambda": f"{NAME} = lambda elements, test_elements: None\n",
    "assigned": f"{NAME} = another\n",
    "assigned among others": f"(first, *{NAME}), [] = another\n",
    "assigned with an annotation": f"{NAME}: object = another\n",
    "assigned in an expression": f"print({NAME} := another)\n",
    "augmented": f"{NAME} += another\n",
    "deleted": f"del {NAME}\n",
    "imported": f"from elsewhere import {NAME}\n",
    "imported as": f"import elsewhere as {NAME}\n",
    "imported as a package": f"import {NAME}.inside\n",
    "a loop's variable": f"for {NAME} in ():\n    pass\n",
    "a context": f"with something as {NAME}:\n    pass\n",
    "a caught exception": f"try:\n    pass\nexcept Exception as {NAME}:\n    pass\n",
    "a matched value": f"match something:\n    case [{NAME}]:\n        pass\n",
    "the rest of a matched sequence": f"match something:\n    case [*{NAME}]:\n        pass\n",
    "the rest of a matched mapping": f"match something:\n    case {{**{NAME}}}:\n        pass\n",
    "in a default": f"def helper(argument=({NAME} := another)):\n    pass\n",
    "in an annotation": f"def helper(argument: ({NAME} := another), *others):\n    pass\n",
    "in what a function gives": f"def helper() -> ({NAME} := another):\n    pass\n",
    "in a lambda's default": f"lambda *, argument=({NAME} := another): None\n",
    "in a decorator": f"@({NAME} := another)\nclass Helper:\n    pass\n",
    "in a base class": f"class Helper(({NAME} := another), key=None):\n    pass\n",
    "from inside a function": f"def helper():\n    def inner():\n        global {NAME}\n        {NAME} = another\n",
    "from inside a class": f"class Helper:\n    global {NAME}\n    {NAME} = another\n",
    "in letters that Python takes for the same": f"{NAME.replace('i', chr(0xFF49), 1)} = another\n",
}
OTHER_FUNCTIONS = {
    "under a condition, in the first column": f"if something:\n  \\\n{OLD}",
    "before a star that may bring another": f"{OLD}from elsewhere import *\n",
    "under a condition": f"if something:\n{INDENTED}",
    "decorated": f"@cache\n{OLD}",
    "a coroutine": f"async {OLD}",
    "in a class": f"class {NAME}:\n{INDENTED}",
    "only a lambda": f"{NAME} = lambda elements, test_elements: torch.isin(elements, test_elements)\n",
    "only imported": f"from torch import isin as {NAME}\n",
    "one parameter": OLD.replace(", test_elements: torch.Tensor | int", ""),
    "three parameters": OLD.replace(") ->", ", invert) ->"),
    "a default": OLD.replace("torch.Tensor | int)", "torch.Tensor | int = 1)"),
    "keywords only": OLD.replace("(elements:", "(*, elements:"),
    "positions only": OLD.replace("(elements: torch.Tensor,", "(elements: torch.Tensor, /,"),
    "parameters the other way round": f"def {NAME}(test_elements, elements):\n{A}",
    "other parameter names": f"def {NAME}(input, test_elements):\n{A}",
    "any parameters": f"def {NAME}(elements, test_elements, *args, **kwargs):\n{A}",
    "a default too deep to compare": OLD.replace("int)", f"int = {'-' * 900}1)"),
}
BROKEN = {
    "a NUL": b"x = 1\0\n",
    "no Python": b"this is no Python\n",
    "Python 2": b"print 'hello'\n",
    "cut off in a string": b'"""Never closed\n',
    "cut off in a bracket": b"x = (\n",
    "tabs and spaces": b"if x:\n\ty = 1\n        z = 2\n",
    "too many brackets": b"x = " + b"(" * 500 + b")" * 500,
    "too deep": b"x = " + b"-" * 200_000 + b"1\n",
    "UTF-16": "x = 1\n".encode("utf-16"),
}


@cache
def parts_of(wheel: Path) -> Parts:
    """pytorch_utils.py of a wheel."""
    with ZipFile(wheel) as archive:
        source = archive.read(str(PATCH.file))
    (function,) = (node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == NAME)
    lines = source.splitlines(keepends=True)
    start, end = function.lineno - 1, function.end_lineno
    return b"".join(lines[:start]), b"".join(lines[start:end]), b"".join(lines[end:])


@pytest.fixture(params=list(RELEASES.values()), ids=list(RELEASES))
def parts(request: pytest.FixtureRequest, wheels: Callable[[str], Path]) -> Parts:
    """The file with body A, then the one with body B."""
    return parts_of(wheels(request.param))


@pytest.fixture(scope="module")
def parts_a(wheels: Callable[[str], Path]) -> Parts:
    return parts_of(wheels(RELEASES["A"]))


def statements(source: bytes) -> list[str]:
    """Docstring and statements of the one function that `source` defines; `source` compiles."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compile(source, "module.py", "exec", dont_inherit=True)
        functions = [node for node in ast.parse(source).body if getattr(node, "name", "") == NAME]
    (function,) = functions
    assert isinstance(function, ast.FunctionDef)
    return [ast.dump(statement) for statement in function.body]


def check_transformed(above: bytes, function: bytes, below: bytes, *, force: bool = False) -> bytes:
    """Our body runs, the rest stays byte for byte, and a second time there is nothing to do. Returns the new part."""
    source = above + function + below
    assert recognise(source, PATCH).state is (State.MODIFIED if force else State.UNPATCHED)
    result = transplant(source, PATCH, force=force)
    assert result.startswith(above)
    assert result.endswith(below)
    assert recognise(result, PATCH).state is State.PATCHED
    assert transplant(result, PATCH, force=True) is result
    assert statements(result) == statements(PATCH.replacement.read_bytes())
    return result[len(above) : len(result) - len(below)]


def check_noop(source: bytes, state: State, code: str, *, force: bool = True) -> PatcherError:
    """The state is told, and nothing is patched: not even by `force`."""
    assert recognise(source, PATCH).state is state
    return check_refused(source, code, force=force)


def check_refused(source: bytes, code: str, *, force: bool = True) -> PatcherError:
    with pytest.raises(PatcherError) as caught:
        transplant(source, PATCH, force=force)
    assert caught.value.code == code
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


def test_the_new_function_is_a_comment_the_old_head_and_our_body(parts: Parts) -> None:
    ours = PATCH.replacement.read_bytes()
    head = parts[1][: parts[1].index(b"\n") + 1]
    assert head == HEAD.encode()
    _, _, body = ours[ours.index(b"\ndef isin_mps_friendly(") + 1 :].partition(b"\n")
    assert check_transformed(*parts) == BANNER + head + body


WITHOUT = {
    "nothing but the import": "import torch\n",
    "carriage returns": "import torch\r\nx = 1\r\n",
    "no final newline": "import torch\nx = 1",
    "a byte order mark": "\ufeffimport torch\n",
    "another encoding": "# -*- coding: latin-1 -*-\nimport torch\nx = '\xe9'\n",
    "the name in strings and comments": "import torch\nx = 'def isin_mps_friendly(): pass'  # isin_mps_friendly = 1\n",
    "a method of that name": "import torch\n\n\nclass A:\n    def isin_mps_friendly(self):\n        pass\n",
}


@pytest.mark.parametrize("text", WITHOUT.values(), ids=WITHOUT)
def test_the_function_is_added_where_there_is_none(text: str) -> None:
    source = text.encode("latin-1" if "latin-1" in text else "utf-8")
    result = add(source, PATCH)
    assert result.startswith(source)
    assert recognise(result, PATCH).state is State.PATCHED
    added = result.removeprefix(source).replace(b"\r\n", b"\n")
    assert added.lstrip(b"\n").startswith(b"# mps-patcher ")
    assert added.endswith(PATCH.replacement.read_bytes()[-50:])
    assert (b"\r" in result) == (b"\r" in source) == (result.count(b"\r\n") == result.count(b"\n"))


@pytest.mark.parametrize("version", ["4.38.2", "4.44.2", "5.1.0", "5.23.0"])
def test_it_is_added_to_every_release_without_it(version: str, wheels: Callable[[str], Path]) -> None:
    with ZipFile(wheels(version)) as archive:
        source = archive.read(str(PATCH.file))
    result = add(source, PATCH)
    assert result.startswith(source + b"\n\n# mps-patcher ")
    refusal = add_refused(result)
    assert (refusal.code, refusal.hint.partition(".")[0]) == ("unknown-body", "Not even --force can replace it")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1\n", "unsafe-rewrite"),
        ("import torch as t\n", "unsafe-rewrite"),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", "unsafe-rewrite"),
        ("from .compat import torch\n", "unsafe-rewrite"),
        ("if TYPE_CHECKING:\n    import torch\n", "unsafe-rewrite"),
        ("import torch\n\n\ndef isinstance(a, b):\n    return True\n", "unsafe-rewrite"),
        ("import torch\nisin_mps_friendly = 1\n", "unknown-body"),
        ("import torch\nfrom .other import isin_mps_friendly\n", "unknown-body"),
        ("import torch\nx = 'open\n", "unparsable-source"),
    ],
)
def test_it_is_not_added_where_it_would_not_work(text: str, code: str) -> None:
    assert add_refused(text.encode()).code == code


def add_refused(source: bytes) -> PatcherError:
    with pytest.raises(PatcherError) as caught:
        add(source, PATCH)
    assert "\n" not in caught.value.message + caught.value.hint
    return caught.value


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("is_cut", [False, True])
def test_it_is_added_two_lines_below_in_the_line_ends_of_the_file(end: bytes, is_cut: bool) -> None:
    source = end.join([b"import torch", b"x = 1", *([] if is_cut else [b""])])
    added = [b"", b"", *ADDED_BANNER.splitlines(), *OUR_FUNCTION]
    assert add(source, PATCH) == source + (end if is_cut else b"") + b"".join(line + end for line in added)


def test_it_is_added_to_a_single_line_without_an_end() -> None:
    added = [b"", b"", *ADDED_BANNER.splitlines(), *OUR_FUNCTION]
    assert add(b"import torch", PATCH) == b"import torch\n" + b"".join(line + b"\n" for line in added)


@pytest.mark.parametrize("body", RELEASES)
def test_bodies_are_called_by_name(body: str, wheels: Callable[[str], Path]) -> None:
    found = recognise(b"".join(parts_of(wheels(RELEASES[body]))), PATCH)
    assert found.body is not None
    assert found.body.startswith(f"{body} (transformers ")
    assert found.body in found.detail


@pytest.mark.parametrize("former", PATCH.former, ids=lambda former: former.digest[:8])
def test_a_body_of_an_earlier_version_is_outdated(former: KnownBody) -> None:
    found = recognise((FORMER / f"{former.digest[:8]}.patched").read_bytes(), PATCH)
    assert (found.state, found.body) == (State.OUTDATED, former.name)


@pytest.mark.parametrize("function", FORMATS.values(), ids=FORMATS)
def test_no_formatting_hides_a_body(function: str, parts_a: Parts) -> None:
    above, _, below = parts_a
    check_transformed(above, function.encode(), below)


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_body_is_replaced_by_force_only(body: str, parts_a: Parts) -> None:
    above, _, below = parts_a
    function = (HEAD + body).encode()
    refusal = check_noop(above + function + below, State.MODIFIED, "unknown-body", force=False)
    assert "--force replaces" in refusal.hint
    assert check_transformed(above, function, below, force=True).startswith(BANNER + HEAD.encode())


def test_a_body_too_deep_to_compare_is_unknown(parts_a: Parts) -> None:
    """Neither the comparison nor libcst goes that deep, where Python itself can."""
    source = parts_a[0] + f"{HEAD}    return x{'[0]' * 1000}\n".encode() + parts_a[2]
    check_noop(source, State.MODIFIED, "unknown-body", force=False)
    check_refused(source, "unsafe-rewrite")


@pytest.mark.parametrize("decoy", DECOYS.values(), ids=DECOYS)
def test_decoys_are_left_alone(decoy: str, parts: Parts) -> None:
    above, function, below = parts
    extra = decoy.encode()
    check_noop(above + extra + below, State.ABSENT, "function-absent")
    check_transformed(above + extra, function, below)
    check_transformed(above, function, below + extra)


@pytest.mark.parametrize("more", REBOUND.values(), ids=REBOUND)
def test_a_name_bound_twice_is_refused(more: str, parts_a: Parts) -> None:
    above, function, below = parts_a
    refusal = check_noop(above + function + more.encode() + below, State.MODIFIED, "unknown-body")
    assert "--force replaces" not in refusal.hint
    check_noop(above + more.encode() + function + below, State.MODIFIED, "unknown-body")


@pytest.mark.parametrize("function", OTHER_FUNCTIONS.values(), ids=OTHER_FUNCTIONS)
def test_another_kind_of_function_is_refused(function: str, parts_a: Parts) -> None:
    above, _, below = parts_a
    refusal = check_noop(above + function.encode() + below, State.MODIFIED, "unknown-body")
    assert "Not even --force" in refusal.hint
    assert re.search(r"other parameters|not a plain function|imports \*", refusal.message)


def test_no_file_content_is_absent() -> None:
    check_noop(b"", State.ABSENT, "function-absent")


def test_lines_of_windows_stay_so(parts: Parts) -> None:
    above, function, below = (part.replace(b"\n", b"\r\n") for part in parts)
    assert b"\n" not in check_transformed(above, function, below).replace(b"\r\n", b"")


def test_a_file_of_tabs_gets_tabs(parts: Parts) -> None:
    above, function, below = (part.replace(b"    ", b"\t") for part in parts)
    new = check_transformed(above, function, below)
    statements = new[new.index(b"\n\tnumber = ") :].splitlines()
    assert not [line for line in statements if line.startswith(b" ")]


@pytest.mark.parametrize(
    "start",
    [b"\xef\xbb\xbf", b"# -*- coding: latin-1 -*-\n# \xe9\n", b"\xef\xbb\xbf# coding: utf-8\n# \xc3\xa9\n", b"\x0c\n"],
    ids=["BOM", "latin-1", "BOM and cookie", "form feed"],
)
def test_the_encoding_stays(start: bytes, parts: Parts) -> None:
    above, function, below = parts
    check_transformed(start + above, function, below)


def test_the_function_itself_may_be_in_another_encoding(parts_a: Parts) -> None:
    above, _, below = parts_a
    head = b"def isin_mps_friendly(elements, test_elements):  # \xe9l\xe9ments\n"
    new = check_transformed(b"# coding: latin-1\n" + above, head + A.encode(), below)
    assert new.startswith(BANNER + head)


def test_a_file_without_final_newline_stays_so(parts: Parts) -> None:
    above, function, below = parts
    check_transformed(above, function, below.rstrip(b"\n"))
    assert not check_transformed(above + below, function.rstrip(b"\n"), b"").endswith(b"\n")


def test_a_file_of_nothing_else_is_patched() -> None:
    check_transformed(b"", OLD.encode(), b"")


def test_a_function_of_one_line_gets_the_line_ends_of_the_file() -> None:
    function = f"def {NAME}(elements, test_elements): return None".encode()
    for above in (b"import torch\r\nx = 1\r\n", b"import torch\r\nx = 1\n"):
        new = check_transformed(above, function, b"", force=True)
        assert new.count(b"\r\n") == new.count(b"\n") > 10


def test_a_string_that_ends_in_our_words_stays(parts_a: Parts) -> None:
    for line in BANNER.decode().splitlines():
        check_transformed(parts_a[0] + f'x = """\n\n{line}"""\n'.encode(), parts_a[1], parts_a[2])


def test_a_comment_that_only_begins_like_ours_stays(parts_a: Parts) -> None:
    check_transformed(parts_a[0] + b"# mps-patcher is what we use here.\n", *parts_a[1:])


ENCODINGS = {
    "bytes that are no UTF-8 beside the declaration": b"# \xe9, coding: latin-1\n",
    "a declaration that comes too late": b"# a\r# b\r# coding: latin-1\r# \xc3\xa9\r",
    "one that carriage returns make too late": b"# a\r# b\r# coding: ascii\r# \xc3\xa9\r\n",
    "letters of two bytes, one of them a backslash": "# coding: shift_jis\n# \u8868\n".encode("shift_jis"),
    "a state that each line leaves again": "# coding: iso2022_jp\n# \u8868\n".encode("iso2022_jp"),
    "another name of UTF-8": b"# coding: U8\n# \xc3\xa9\n",
    "UTF-8 with a mark that is not there": b"# coding: utf_8_sig\n",
}


@pytest.mark.parametrize("start", ENCODINGS.values(), ids=ENCODINGS)
def test_it_is_read_in_the_encoding_that_python_reads_it_in(start: bytes, parts_a: Parts) -> None:
    check_transformed(start + parts_a[0], *parts_a[1:])


@pytest.mark.parametrize(
    "start",
    [
        b"# coding: utf-7\n# +AAo-x = 1\n",
        b"# coding: unicode_escape\nx = 1\\nz = 2\n",
        b"# coding: raw_unicode_escape\n# \\u000az = 2\n",
        b"# coding: idna\n",
    ],
    ids=["utf-7", "unicode_escape", "raw_unicode_escape", "idna"],
)
def test_an_encoding_in_which_nothing_can_change_alone_is_refused(start: bytes) -> None:
    """In some of them a line of the file is two lines of the module."""
    check_refused(start + OLD.encode(), "unsafe-rewrite")


@pytest.mark.parametrize("expression", ["1" + " and 1" * 8000, "'a' " * 3000, "f'{a}' " * 3000, "1" + " < 1" * 8000])
def test_a_body_that_would_kill_libcst_is_refused_or_replaced(expression: str) -> None:
    function = f"def {NAME}(elements, test_elements):\n    return {expression}\n".encode()
    try:
        check_transformed(b"", function, b"", force=True)
    except PatcherError as error:
        assert error.code in ("unsafe-rewrite", "unparsable-source")  # noqa: PT017 - one of two ends is right


def test_a_long_file_takes_no_long_time() -> None:
    """A list that loses its first element again and again took half a minute for this one."""
    source = OLD.encode() + b"x = 1\n" * 120_000
    start = time.process_time()
    assert recognise(source, PATCH).state is State.UNPATCHED
    assert time.process_time() - start < 20


def test_line_ends_may_be_mixed(parts: Parts) -> None:
    above, function, below = parts
    assert b"\r" not in check_transformed(above.replace(b"\n", b"\r\n"), function, below)
    new = check_transformed(above, function.replace(b"\n", b"\r\n"), below.replace(b"\n", b"\r\n", 3))
    assert new.count(b"\n") == new.count(b"\r\n")
    new = check_transformed(above, function.rstrip().replace(b"\n", b"\r\n"), b"")
    assert new.count(b"\n") == new.count(b"\r\n")


@pytest.mark.parametrize(
    "head",
    [
        f"def  {NAME} ( elements:torch.Tensor,test_elements   :   'odd' = ... ,\n) :\n".replace(" = ...", ""),
        f"def {NAME}(  # a comment\n    elements, test_elements\n    # another\n):  # and one more\n",
        f"def {NAME}(elements, test_elements):  # type: ignore\n",
    ],
    ids=["odd", "wrapped", "a comment"],
)
def test_the_head_stays_as_written(head: str, parts_a: Parts) -> None:
    above, _, below = parts_a
    new = check_transformed(above, (head + A).encode(), below)
    assert new.startswith(BANNER + head.encode())


@pytest.mark.parametrize("indent", ["  ", "    ", "        ", "\t"])
def test_comments_after_the_body_stay(indent: str, parts_a: Parts) -> None:
    above, _, below = parts_a
    inner, outer = f"{indent}{indent} # after the last block\n\n".encode(), f"{indent}# after the body\n".encode()
    function = (HEAD + A.replace("    ", indent)).encode()
    for comments in (inner, outer, inner + outer + outer + b"# outside\n"):
        check_transformed(above, function, comments + below)
        check_transformed(above, function, comments.rstrip(b"\n"))


@pytest.mark.parametrize("between", [b"", b"\n", b"# a note\n", b"\n# a note\n\n"])
@pytest.mark.parametrize("first", [False, True], ids=["below code", "first in the file"])
def test_an_older_comment_of_ours_is_not_doubled(first: bool, between: bytes, parts_a: Parts) -> None:
    above, function, below = (b"" if first else parts_a[0]), parts_a[1], parts_a[2]
    edited = transplant(above + b"# the user's\n" + function + below, PATCH, force=False).replace(
        b"torch.int64", b"torch.uint8"
    )
    assert recognise(edited, PATCH).state is State.MODIFIED
    old = BANNER.replace(__version__.encode(), b"0.0.1")
    assert edited.count(BANNER) == 1
    result = transplant(edited.replace(BANNER, old + between), PATCH, force=True)
    assert result == above + b"# the user's\n" + between + transplant(function + below, PATCH, force=False)


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_what_is_no_python_is_refused(broken: bytes, parts_a: Parts) -> None:
    source = b"".join(parts_a) + broken
    with pytest.raises(PatcherError, match=r"cannot be parsed as Python: .+") as caught:
        recognise(source, PATCH)
    assert caught.value.code == "unparsable-source"
    check_refused(source, "unparsable-source")


def test_a_sum_too_long_for_some_pythons_is_left_or_refused(parts_a: Parts) -> None:
    source = b"".join(parts_a) + b"x = 1" + b"+1" * 100_000
    try:
        found = recognise(source, PATCH).state
    except PatcherError:
        return
    assert found is State.UNPATCHED


@pytest.mark.parametrize(
    "source",
    [b"# coding: no-such\n", b"\xef\xbb\xbf# coding: latin-1\n", b"# coding: cp1252\n# \x81\n"],
    ids=["unknown", "against the BOM", "not in the code page"],
)
def test_an_encoding_that_cannot_be_is_refused(source: bytes, parts_a: Parts) -> None:
    check_refused(source + b"".join(parts_a), "unparsable-source")


def test_a_function_that_libcst_does_not_read_as_python_does_is_refused(parts_a: Parts) -> None:
    """As it does not with the line ends of an old Mac."""
    above, function, below = parts_a
    check_noop(above + function.replace(b"\n", b"\r") + below, State.UNPATCHED, "unsafe-rewrite")


@pytest.mark.parametrize(
    "more", [b"   ", b"x = a" + b"()" * 1000, b"\r\r# \x1c\r"], ids=["blanks", "too deep", "old Mac"]
)
def test_libcst_need_not_read_the_rest(more: bytes, parts_a: Parts) -> None:
    above, function, below = parts_a
    check_transformed(above, function, below + more)


def test_a_rewrite_that_would_change_how_the_rest_is_read_is_refused(
    parts_a: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = rewrite._rewritten
    monkeypatch.setattr(rewrite, "_rewritten", lambda *given: b"extra = 1\n" + made(*given))
    refusal = check_refused(b"".join(parts_a), "unsafe-rewrite")
    assert "the rest of the file would not be read as it was" in refusal.message


def test_bytes_that_are_no_utf_8_are_refused(parts_a: Parts) -> None:
    """Some Pythons accept them in a comment, libcst never does."""
    with pytest.raises(PatcherError) as caught:
        transplant(b"# \xe9\n" + b"".join(parts_a), PATCH, force=False)
    assert caught.value.code in ("unparsable-source", "unsafe-rewrite")


def test_a_warning_about_the_file_is_not_ours_to_tell(parts_a: Parts) -> None:
    check_transformed(parts_a[0], parts_a[1], parts_a[2] + b"x = '\\d' is 1\n")


def test_libcst_is_imported_only_to_rewrite(parts_a: Parts, tmp_path: Path) -> None:
    script = """if True:
        import sys
        from pathlib import Path
        from patcher.rewrite import recognise, transplant
        from patches import CATALOGUE
        for file in sys.argv[1:]:
            source = Path(file).read_bytes()
            print(recognise(source, CATALOGUE[0]).state.value, transplant(source, CATALOGUE[0], force=False) == source)
            print('libcst' in sys.modules)
    """
    source = b"".join(parts_a)
    files = tmp_path / "patched.py", tmp_path / "unpatched.py"
    files[0].write_bytes(transplant(source, PATCH, force=False))
    files[1].write_bytes(source)
    done = subprocess.run([sys.executable, "-c", script, *files], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines() == ["patched True", "False", "unpatched False", "True"]


def test_every_python_gives_a_body_the_same_digest(
    pythons: dict[tuple[int, int], Path], wheels: Callable[[str], Path], tmp_path: Path
) -> None:
    script = """if True:
        import ast, sys
        from patcher.body import body_digest
        for file in sys.argv[1:]:
            tree = ast.parse(open(file, 'rb').read())
            print(*(body_digest(node) for node in tree.body if getattr(node, 'name', '') == 'isin_mps_friendly'))
    """
    files = [PATCH.replacement]
    for version in RELEASES.values():
        files.append(tmp_path / f"{version}.py")
        files[-1].write_bytes(b"".join(parts_of(wheels(version))))
    answers = set()
    for python in [Path(sys.executable), *(path for version, path in pythons.items() if version >= (3, 10))]:
        command = [str(python), "-B", "-c", script, *map(str, files)]
        answers.add(subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout)
    (answer,) = answers
    assert answer.split()[1:] == [known.digest for known in PATCH.known]


JUNK = st.lists(
    st.one_of(
        st.sampled_from(["", "   ", "\t", "\f", "x = 1", "if x:\n\ty = 2", "class C:\n  def f(self): pass", "pass;"]),
        st.sampled_from([decoy.rstrip("\n") for decoy in DECOYS.values()]),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0")).map("# {}".format),
        st.text(st.characters(codec="utf-8")).map(lambda text: f"x = {text!r}"),
    )
)


@st.composite
def ended(draw: st.DrawFn, text: str, *ends: bytes) -> bytes:
    """The text with a line end of its own after each line."""
    return b"".join(line.encode() + draw(st.sampled_from(ends)) for line in text.split("\n")[:-1])


@st.composite
def files(draw: st.DrawFn) -> Parts:
    """A module with the function in any formatting among comments and code."""
    junk = ("".join(f"{line}\n" for line in draw(JUNK)) for _ in range(2))
    above, below = (draw(ended(text, b"\n", b"\r\n", b"\r")) for text in junk)
    return above, draw(ended(draw(st.sampled_from(list(FORMATS.values()))), b"\n", b"\r\n")), below


@settings(max_examples=150, deadline=None)
@given(files())
@example((b"\xef\xbb\xbf", OLD.encode(), b""))
def test_bytes_outside_the_function_never_change(parts: Parts) -> None:
    check_transformed(*parts)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_refused_or_patched_right(parts_a: Parts, data: st.DataObject) -> None:
    """Whatever stands in the file, the only exception is a PatcherError."""
    source = b"".join(parts_a)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        stop = start + data.draw(st.integers(0, 40))
        source = source[:start] + data.draw(st.binary(max_size=6)) + source[stop:]
    try:
        result = transplant(source, PATCH, force=data.draw(st.booleans()))
    except PatcherError:
        return
    assert recognise(result, PATCH).state is State.PATCHED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("two\n  lines"), "two lines"),
        (RecursionError(), "RecursionError"),
        (PatcherError("odd", "It is odd.", "See."), "It is odd"),
    ],
)
def test_what_goes_wrong_on_the_way_is_told_of_in_one_line(
    error: Exception, told: str, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise error

    monkeypatch.setattr("patcher.rewrite._rewritten", fail)
    assert check_refused(b"".join(parts), "unsafe-rewrite").message.endswith(f" cannot be rewritten safely: {told}.")

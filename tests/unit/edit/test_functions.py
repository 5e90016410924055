"""A function gets another body, or is added, and every other byte stays: tables of before and after."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from patcher import __version__
from patcher.catalogue import load_catalogue
from patcher.edit import edit_source, functions, identify
from patcher.edit.syntax import code_digest
from patcher.errors import PatcherError
from patcher.model import FunctionPatch, KnownCode, State

ROOT = Path(__file__).parents[3]
BODY = '''\
    """Ours."""
    if elements.device.type != "mps":  # as before
        return torch.isin(elements, test_elements)

    return elements.eq(test_elements)
'''
OURS = f"def isin_mps_friendly(elements, test_elements: int) -> torch.Tensor:\n{BODY}"
RELEASED = load_catalogue()[0]
assert isinstance(RELEASED, FunctionPatch)
PATCH = RELEASED._replace(replacement=f"import torch\n\n\n{OURS}")
UNDO = "# mps-patcher undoes it with: mps-patcher revert isin_mps_friendly\n"
BANNER = f"# mps-patcher {__version__} replaced the body of this function.\n{UNDO}"
ADDED = f"# mps-patcher {__version__} added this function.\n{UNDO}{OURS}"
HEAD = "def isin_mps_friendly(elements: torch.Tensor, test_elements: torch.Tensor | int) -> torch.Tensor:\n"
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
ABOVE, BELOW = "import torch\n\n# Text\nx = 'é'\n\n\n", "\n\ndef other():\n  return 1  # stays\n"


def check_edited(before: str | bytes, after: str | bytes, *, force: bool = False) -> None:
    """`before` becomes `after`, to which there is nothing more to do."""
    source, expected = as_bytes(before), as_bytes(after)
    finding = identify(source, PATCH.file, PATCH)
    assert finding.state is (State.MODIFIED if force else State.UNPATCHED)
    assert (finding.body is None) is force
    assert edit_source(source, PATCH.file, PATCH, force=force) == expected
    assert identify(expected, PATCH.file, PATCH).state is State.PATCHED
    assert edit_source(expected, PATCH.file, PATCH, force=True) == expected


def check_noop(source: str | bytes, code: str, told: str, *, force: bool = True) -> None:
    """Nothing can be done about `source`, not even by force."""
    finding = identify(as_bytes(source), PATCH.file, PATCH)
    assert finding.state is State.MODIFIED
    with pytest.raises(PatcherError, match=told) as caught:
        edit_source(as_bytes(source), PATCH.file, PATCH, force=force)
    assert caught.value.code == code
    assert not finding.detail.endswith(".")


def as_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


ODD_HEAD = "def  isin_mps_friendly (  # one\n  elements  # two\n  , test_elements : 'int | None',\n) :   # three\n"
FORMATS = {
    "the body of 4.45.0 - 4.46.1": (HEAD, A),
    "the body of 4.46.2 - 5.0": (HEAD, B),
    "another docstring": (HEAD, f"    r'''Another\none.'''\n{A}"),
    "no annotations": ("def isin_mps_friendly(elements, test_elements):\n", A),
    "another annotation": ("def isin_mps_friendly(elements: 'E', test_elements: list[int]) -> None:\n", B),
    "a local annotation": (HEAD, B.replace("test_elements = torch", "test_elements: 'T' = torch")),
    "a head of several lines": (ODD_HEAD, A),
    "other quotes": (HEAD, A.replace('"mps"', "u'''m''' 'ps'")),
    "one line an arm": (HEAD, re.sub(r":\n +return (.*)", r": return \1;", A)),
    "a backslash": (HEAD, A.replace("and not", "and \\\n  not")),
    "parentheses": (
        HEAD,
        A.replace("torch.isin(", "(torch\n  .isin)(\n   ").replace("if elem", "if(elem").replace("4:", "4):"),
    ),
    "comments": (HEAD, re.sub("\n", "  # return 1\n\n    # and again\n", B, count=6)),
}


@pytest.mark.parametrize(("head", "body"), FORMATS.values(), ids=FORMATS)
def test_no_formatting_hides_a_body(head: str, body: str) -> None:
    check_edited(ABOVE + head + body + BELOW, ABOVE + BANNER + head + BODY + BELOW)


@pytest.mark.parametrize("indent", ["  ", "        ", "\t"])
def test_the_body_is_indented_as_the_old_one_was(indent: str) -> None:
    before, after = (text.replace("    ", indent) for text in (A, BODY))
    check_edited(ABOVE + HEAD + before + BELOW, ABOVE + BANNER + HEAD + after + BELOW)


END = {
    "CRLF": (ABOVE + HEAD + A + BELOW, ABOVE + BANNER + HEAD + BODY + BELOW, "\r\n"),
    "only the function": (HEAD + A, BANNER + HEAD + BODY, "\n"),
    "no final newline": (ABOVE + HEAD + A.rstrip(), ABOVE + BANNER + HEAD + BODY.rstrip(), "\n"),
    "no final newline, CRLF": (ABOVE + HEAD + A.rstrip(), ABOVE + BANNER + HEAD + BODY.rstrip(), "\r\n"),
    "comments after it": (
        HEAD + A + "        # in\n\n    # out\n# far",
        BANNER + HEAD + BODY + "        # in\n\n    # out\n# far",
        "\n",
    ),
    "a byte order mark": (f"\ufeff{ABOVE}{HEAD}{A}", f"\ufeff{ABOVE}{BANNER}{HEAD}{BODY}", "\n"),
    "a mark and nothing else": (f"\ufeff{HEAD}{A}", f"\ufeff{BANNER}{HEAD}{BODY}", "\r\n"),
    "a declaration": (f"# coding: UTF_8\n{HEAD}{A}", f"# coding: UTF_8\n{BANNER}{HEAD}{BODY}", "\n"),
    "strings and comments like ours": (
        f'# mps-patcher is used here.\nx = """\n{UNDO}"""\n\n{HEAD}{A}',
        f'# mps-patcher is used here.\nx = """\n{UNDO}"""\n\n{BANNER}{HEAD}{BODY}',
        "\n",
    ),
    "a star above it": (f"from a import *\n{HEAD}{A}", f"from a import *\n{BANNER}{HEAD}{BODY}", "\n"),
    "what warns": (f"x = '\\d' is 1\n{HEAD}{A}", f"x = '\\d' is 1\n{BANNER}{HEAD}{BODY}", "\n"),
}


@pytest.mark.parametrize(("before", "after", "end"), END.values(), ids=END)
def test_every_byte_outside_stays(before: str, after: str, end: str) -> None:
    check_edited(before.replace("\n", end), after.replace("\n", end))


def test_line_ends_may_be_mixed() -> None:
    windows = HEAD.replace("\n", "\r\n") + A.replace("\n", "\r\n")
    after = (BANNER + HEAD + BODY).replace("\n", "\r\n")
    check_edited(ABOVE + windows + BELOW, ABOVE + after + BELOW)
    above = ABOVE.replace("\n", "\r\n")
    check_edited(above + HEAD + A + BELOW, above + BANNER + HEAD + BODY + BELOW)


@pytest.mark.parametrize("between", ["", "\n", "# a note\n\n"])
def test_the_banner_of_an_earlier_run_is_replaced(between: str) -> None:
    old = f"# mps-patcher 0.0.1 put another body into this function, one that is right on MPS.\n{UNDO}"
    check_edited(f"{ABOVE}# theirs\n{old}{between}{HEAD}{A}", f"{ABOVE}# theirs\n{between}{BANNER}{HEAD}{BODY}")


UNKNOWN = {
    "another constant": A.replace("dim=0", "dim=1"),
    "another operand": A.replace("isin(elements, test_elements)", "isin(test_elements, elements)"),
    "an argument by name": A.replace("isin(elements, test", "isin(elements, test_elements=test"),
    "a statement more": A + "    return None\n",
    "a docstring that is not first": "    pass\n" + A,
    "an arm without else": A.replace("    else:\n    ", ""),
    "a number too long to compare": f"    return 0x{'f' * 5000}\n",
}


@pytest.mark.parametrize("body", UNKNOWN.values(), ids=UNKNOWN)
def test_an_unknown_body_is_replaced_by_force_only(body: str) -> None:
    check_noop(ABOVE + HEAD + body, "unknown-body", "is not the function of any known release|too long", force=False)
    check_edited(ABOVE + HEAD + body + BELOW, ABOVE + BANNER + HEAD + BODY + BELOW, force=True)


def test_a_function_of_one_line_gets_the_line_ends_of_the_file() -> None:
    head = "def isin_mps_friendly(elements, test_elements):"
    source, after = f"x = 1\r\n{head} return None", f"x = 1\r\n{BANNER}{head}\n{BODY.rstrip()}"
    check_edited(source, re.sub("\r?\n", "\r\n", after), force=True)


def test_an_earlier_body_of_ours_is_outdated_and_replaced() -> None:
    source = as_bytes(HEAD + "    return earlier\n")
    (function,) = ast.parse(source).body
    assert isinstance(function, ast.FunctionDef)
    earlier = KnownCode(name="an earlier body", digest=code_digest(function))
    patch = PATCH._replace(previous_bodies=(earlier,))
    found = identify(source, patch.file, patch)
    assert (found.state, found.body) == (State.OUTDATED, "an earlier body")
    assert edit_source(source, patch.file, patch) == as_bytes(BANNER + HEAD + BODY)


@pytest.mark.parametrize("body", RELEASED.previous_bodies, ids=lambda body: body.digest[:8])
def test_each_body_that_we_have_put_in_is_known(body: KnownCode) -> None:
    source = (Path(__file__).parent / "previous" / f"{body.digest[:8]}.patched").read_bytes()
    found = identify(source, RELEASED.file, RELEASED)
    assert (found.state, found.body) == (State.OUTDATED, body.name)


OLD = HEAD + A
INDENTED = re.sub("(?m)^(?=.)", "    ", OLD)
NAME = PATCH.function
DECOYS = {
    "another function": OLD.replace(NAME, "another_function"),
    "nested in a function": f"def outer():\n{INDENTED}    return {NAME}\n",
    "a method": f"class Helpers:\n    @staticmethod\n{INDENTED}",
    "in a string": f"SOURCE = '''\n{OLD}'''\n",
    "in comments": re.sub("(?m)^(?=.)", "# ", OLD),
    "an attribute and an item": f"this.{NAME} = that\nthis['{NAME}'] = that\n",
    "a parameter and a keyword": f"def helper({NAME}=None):\n    {NAME} = 1\n    return helper({NAME}=2)\n",
    "imported under another name": f"from elsewhere import {NAME} as alias\n",
}


@pytest.mark.parametrize("decoy", DECOYS.values(), ids=DECOYS)
def test_decoys_are_left_alone(decoy: str) -> None:
    check_edited(decoy + OLD + BELOW, decoy + BANNER + HEAD + BODY + BELOW)
    check_edited(OLD + decoy, BANNER + HEAD + BODY + decoy)
    source = as_bytes(ABOVE + decoy)
    assert identify(source, PATCH.file, PATCH).state is State.ABSENT
    assert edit_source(source, PATCH.file, PATCH) == source + as_bytes(f"\n\n{ADDED}")


OTHER_FUNCTIONS = {
    "defined twice": (OLD + OLD, "defines isin_mps_friendly 2 times"),
    "defined under a condition too": (f"{OLD}if something:\n{INDENTED}", "defines isin_mps_friendly 2 times"),
    "assigned too": (f"{OLD}{NAME} = another\n", "2 times"),
    "imported too": (f"from elsewhere import {NAME}\n{OLD}", "2 times"),
    "bound from inside a function": (f"{OLD}def f():\n    global {NAME}\n", "2 times"),
    "in letters that Python takes for the same": (f"{OLD}{NAME.replace('i', chr(0xFF49), 1)} = 1\n", "2 times"),
    "before a star": (f"{OLD}from elsewhere import *\n", r"imports \* after isin_mps_friendly"),
    "under a condition": (f"if something:\n{INDENTED}", "not a plain function at the top level"),
    "under a condition, in the first column": (f"if something:\n  \\\n{OLD}", "not a plain function"),
    "decorated": (f"@cache\n{OLD}", "not a plain function"),
    "a coroutine": (f"async {OLD}", "not a plain function"),
    "a class": (f"class {NAME}:\n{INDENTED}", "not a plain function"),
    "a lambda": (f"{NAME} = lambda elements, test_elements: None\n", "not a plain function"),
    "one parameter": (OLD.replace(", test_elements: torch.Tensor | int", ""), "other parameters"),
    "a default": (OLD.replace("torch.Tensor | int)", "torch.Tensor | int = 1)"), "other parameters"),
    "positions only": (
        OLD.replace("(elements: torch.Tensor,", "(elements: torch.Tensor, /,"),
        "other parameters",
    ),
    "a default too deep to compare": (OLD.replace("int)", f"int = {'-' * 900}1)"), "other parameters"),
}


@pytest.mark.parametrize(("source", "told"), OTHER_FUNCTIONS.values(), ids=OTHER_FUNCTIONS)
def test_what_is_not_one_plain_function_is_refused(source: str, told: str) -> None:
    check_noop(ABOVE + source, "unknown-body", told)


@pytest.mark.parametrize("expression", ["1" + " and 1" * 8000, "x" + "[0]" * 1000])
def test_a_body_that_would_kill_libcst_is_not_given_to_it(expression: str) -> None:
    source = as_bytes(f"def {NAME}(elements, test_elements):\n    return {expression}\n")
    with pytest.raises(PatcherError) as caught:
        edit_source(source, PATCH.file, PATCH, force=True)
    assert caught.value.code in ("unsafe-rewrite", "unparsable-source")


def test_what_libcst_does_not_read_as_python_does_is_refused() -> None:
    check_noop(f"{HEAD}    return.5\n", "unsafe-rewrite", "cannot be edited safely: Must have at least one space")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (b"extra = 1\n", "the rest of the file would change its meaning"),
        (b"from __future__ import (\n", "cannot be parsed as Python"),
        (OLD.encode(), "defines isin_mps_friendly 2 times"),
    ],
)
def test_a_result_that_is_not_as_expected_is_refused(wrong: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = functions._with_replaced_body
    monkeypatch.setattr(functions, "_with_replaced_body", lambda *given: wrong + made(*given))
    with pytest.raises(PatcherError, match=f"cannot be edited safely: .*{told}") as caught:
        edit_source(as_bytes(f"{OLD}# {told}\n"), PATCH.file, PATCH)
    assert caught.value.code == "unsafe-rewrite"


WITHOUT = {
    "nothing but the import": ("import torch\n", "\n"),
    "CRLF": ("import torch\nx = 1\n", "\r\n"),
    "a byte order mark": ("\ufeffimport torch\n", "\n"),
    "a name of its own in a class": ("import torch\n\n\nclass A:\n    isinstance = 1\n", "\n"),
}


@pytest.mark.parametrize(("text", "end"), WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize("is_cut", [False, True])
def test_the_function_is_added_where_there_is_none(text: str, end: str, is_cut: bool) -> None:
    source = as_bytes(text.rstrip("\n") if is_cut else text).replace(b"\n", end.encode())
    assert identify(source, PATCH.file, PATCH).state is State.ABSENT
    result = edit_source(source, PATCH.file, PATCH)
    first = end if "\n" in text.rstrip("\n") or not is_cut else "\n"
    gap = first if is_cut else ""
    assert result == source + gap.encode() + f"\n\n{ADDED}".replace("\n", first).encode()
    assert identify(result, PATCH.file, PATCH).state is State.PATCHED


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x = 1\n", "does not import torch, once and as torch"),
        ("import torch as t\n", "does not import torch"),
        ("try:\n    import torch\nexcept ImportError:\n    torch = None\n", "does not import torch"),
        ("from .compat import torch\n", "does not import torch"),
        ("if TYPE_CHECKING:\n    import torch\n", "does not import torch"),
        ("import torch\n\n\ndef isinstance(a, b):\n    return True\n", "has a isinstance of its own"),
    ],
)
def test_it_is_not_added_where_it_would_not_work(text: str, told: str) -> None:
    patch = PATCH._replace(
        replacement=PATCH.replacement.replace("if elements", "if isinstance(elements, int) or elements")
    )
    with pytest.raises(PatcherError, match=told) as caught:
        edit_source(as_bytes(text), patch.file, patch)
    assert caught.value.code == "function-absent"


def test_libcst_is_imported_only_to_replace_a_body() -> None:
    script = f"""if True:
        import sys
        from patcher.catalogue import load_catalogue
        from patcher.edit import edit_source, identify
        patch = load_catalogue()[0]
        for text in ("import torch\\n", {OLD!r}):
            identify(text.encode(), patch.file, patch)
            print("libcst" in sys.modules)
            edit_source(text.encode(), patch.file, patch)
            print("libcst" in sys.modules)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "False", "False", "True"]


JUNK = st.lists(
    st.one_of(
        st.sampled_from(["", "   ", "\t", "x = 1", "if x:\n\ty = 2", "class C:\n  def f(self): pass", "pass;"]),
        st.sampled_from([decoy.rstrip("\n") for decoy in DECOYS.values()]),
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\f\0")).map("# {}".format),
        st.text(st.characters(codec="utf-8")).map(lambda text: f"x = {text!r}"),
    )
).map(lambda lines: "".join(f"{line}\n" for line in lines))
ENDS = st.sampled_from(["\n", "\r\n"])


@settings(max_examples=60, deadline=None)
@given(above=JUNK, below=JUNK, ends=st.tuples(ENDS, ENDS, ENDS), form=st.sampled_from(list(FORMATS.values())))
@example(above="\ufeff", below="", ends=("\n", "\n", "\n"), form=FORMATS["comments"])
def test_bytes_outside_the_function_never_change(
    above: str, below: str, ends: tuple[str, str, str], form: tuple[str, str]
) -> None:
    texts = (text.replace("\n", end) for text, end in zip((above, form[0] + form[1], below), ends, strict=True))
    first, function, last = (as_bytes(text) for text in texts)
    ours = as_bytes((BANNER + form[0] + BODY).replace("\n", ends[1]))
    check_edited(first + function + last, first + ours + last)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_refused_or_edited_right(data: st.DataObject) -> None:
    """Whatever stands in the file, the only exception is a PatcherError."""
    source = as_bytes(ABOVE + OLD + BELOW)
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(source)))
        source = source[:start] + data.draw(st.binary(max_size=6)) + source[start + data.draw(st.integers(0, 40)) :]
    try:
        result = edit_source(source, PATCH.file, PATCH, force=data.draw(st.booleans()))
    except PatcherError:
        return
    assert identify(result, PATCH.file, PATCH).state is State.PATCHED

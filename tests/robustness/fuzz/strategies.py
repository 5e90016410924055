"""Hypothesis strategies for what no installer writes: modules, RECORD and state files, odd, damaged or hostile."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from hypothesis import strategies as st
from properties import CALLER, MARKER, OURS
from round_trips import Given

from patcher.storage.files import digest
from patcher.storage.journal import Journal, JournalEntry, backup_name, encode_journal

NAME = "isin_mps_friendly"
HEAD = f"def {NAME}(elements: torch.Tensor, test_elements: torch.Tensor | int) -> torch.Tensor:\n"
A = """\
    if elements.device.type == "mps" and not is_torch_greater_or_equal_than_2_4:
        return elements.tile(test_elements.shape[0], 1).eq(test_elements.unsqueeze(1)).sum(dim=0).bool().squeeze()
    else:
        return torch.isin(elements, test_elements)
"""
B = A.replace(
    "        return elements",
    """\
        test_elements = torch.tensor(test_elements)
        if test_elements.ndim == 0:
            test_elements = test_elements.unsqueeze(0)
        return elements""",
)
OURS_ABOVE = f"# mps-patcher 0.0.1 replaced the body of this function.\n# mps-patcher undoes it with: {NAME}\n"
KNOWN = [
    HEAD + A,
    HEAD + B,
    HEAD + '    """Another docstring.\n\n    # mps-patcher 1 is not a comment\n    """\n' + A,
    f"def {NAME}(elements, test_elements):\n" + A.replace("    ", "\t"),
    f"def  {NAME} (  # why\n  elements,\n\n  test_elements,\n) :  # so\n" + B.replace("    ", "  "),
    HEAD + re.sub(r":\n +return (.*)", r": return \1;", A),
    HEAD + "\n" + A + "    # the end\n",
    HEAD.replace("isin", "\N{FULLWIDTH LATIN SMALL LETTER I}sin") + A,
    HEAD + A.replace("and not", "and \\\n  not"),
]
"""The function with a body that some release has, in many formats."""
INNER = re.sub("(?m)^(?=.)", "    ", HEAD + A)
ONE_LINE = f"def {NAME}(elements, test_elements): return None\n"
OTHER = [
    ONE_LINE,
    ONE_LINE.replace("return None", "x = 1; return x;"),
    HEAD + "    pass\n",
    HEAD + "    return torch.isin(elements, test_elements)\n",
    HEAD + A + "    return None\n",
    HEAD + "    yield\n\n\n    # the end\n",
    HEAD + "    return 1 \\\n\n",
    f"def {NAME}(*args, **kwargs):\n    pass\n",
    f"def {NAME}(elements, test_elements, /): ...\n",
    f"def {NAME}[T](elements: T, test_elements: T) -> T:\n{A}",
    f"async {HEAD}{A}",
    f"@cache\n{HEAD}{A}",
    f"@overload\n{HEAD}    ...\n\n\n@overload\n{HEAD}    ...\n\n\n{HEAD}{A}",
    f"if have:\n{INNER}",
    f"if have:\n{INNER}else:\n{INNER}",
    f"if True: \\\n{ONE_LINE}",
    f"if have:\n    \\\n{HEAD}{A.replace('    ', '        ')}",
    f"try:\n{INNER}except Exception:\n    {NAME} = None\n",
    f"class Helpers:\n    @staticmethod\n{INNER}",
    f"class {NAME}:\n{INNER}",
    f"def outer():\n{INNER}    return {NAME}\n",
    f"{NAME} = lambda elements, test_elements: torch.isin(elements, test_elements)\n",
    f"from elsewhere import {NAME}\n",
    f"import elsewhere as {NAME}\n",
    f"{HEAD}{A}{NAME} = cache({NAME})\n",
    f"{HEAD}{A}{HEAD}{B}",
    f"{HEAD}{A}del {NAME}\n",
    f"{HEAD}{A}from elsewhere import *\n",
    f"{HEAD}{A}def change():\n    global {NAME}\n    {NAME} = None\n",
    f"{HEAD}{A}def change(x=({NAME} := 1)): pass\n",
    f"{HEAD}{A}exec('{NAME} = 1')\n",
    f"{HEAD}{A}globals()['{NAME}'] = None\n",
    f"{HEAD}{A}def __getattr__(name): return None\n",
    f"{HEAD}{A}match x:\n    case [*{NAME}]: pass\n",
    f"{HEAD}{A}type {NAME} = int\n",
    f"{HEAD}{A}with a as {NAME}, b: pass\n",
    f"{HEAD}{A}try: pass\nexcept* ValueError as {NAME}: pass\n",
    "",
]
"""What else may have, or bind, that name; or nothing."""
AROUND = [
    "import torch\n",
    "import torch\nfrom torch import nn\n",
    "x = 1\n",
    "x = 1; y = 2;\n",
    "\n\n",
    "\f\n",
    "# a comment \N{SNOWMAN}\n",
    "# \x1c \x0b \x85 \u2028 are no line ends\n",
    "x = '\x1c\x0b\x85\u2028'\n",
    '"""A string\n\n# mps-patcher 0.1 ends here"""\n',
    f'x = """\n{HEAD}{A}"""\n',
    f"x = r'''\n{OURS_ABOVE}'''\n",
    OURS_ABOVE,
    f"# {NAME} = 1\n",
    "if x:\n\ty = 2\n",
    "if x:\n  y = 2  # \n  # deeper\n",
    "class C:\n    def f(self): return self\n",
    "x = (\n  1,\n\n)\n",
    "x = 1 + \\\n  2\n",
    "x = \\\n\\\n  2\n",
    "x = f'{a!r:>{b}} {c=}'\n",
    'x = f"{"nested"} {a + "\\n"}"\n',
    "match x:\n    case {'a': 1, **rest}: pass\n",
    "type Alias[T] = list[T]\n",
    "try:\n    pass\nexcept A, B:\n    pass\n",
    "x = t'{template}'\n",
    "print 'Python 2'\n",
    "x = 0777\n",
    "def isinstance(a, b): return True\n",
    "from elsewhere import *\n",
    "gr\N{LATIN SMALL LETTER O WITH DIAERESIS}\N{LATIN SMALL LETTER SHARP S}e = 1\n",
    "x = '\N{CJK UNIFIED IDEOGRAPH-8868}'\n",
    "\\\n",
    "pass\\\n",
    "   \n",
    "\ufeff",
    "async def f():\n    async for x in y: await x\n",
    "x: int\n",
    "return\n",
    "from __future__ import annotations\n",
    "x = 1\x00\n",
    "x = \N{EM DASH}1\n",
    "if __name__ == '__main__':\n    pass\n",
]
CALM = [one for one in AROUND[:18] if one != OURS_ABOVE and "\f" not in one]
"""Those that every Python reads."""
NESTED = {
    "-": "-{}",
    "not": "not {}",
    "()": "({})",
    "[]": "[{}]",
    "()()": "{}()",
    ".a": "{}.a",
    "+": "1+{}",
    "**": "1**{}",
    "if": "1 if 1 else {}",
    "lambda": "lambda: {}",
    "and": "1 and {}",
    "or": "{} or 1",
    "<": "1<{}",
    "string": "'a' {}",
    "f-string": "f'a{{b}}' {}",
    ",": "1,{}",
    "isin": "torch.isin({}, b)",
}
DEPTHS = (40, 90, 199, 400, 999, 3000)
START = st.sampled_from([*[""] * 9, "\ufeff", "# coding: utf-8\n", "#!/usr/bin/env python\n", "# coding: latin-1\n"])
ENDS = ["\n", "\r\n"]


@dataclass(frozen=True, slots=True)
class Module:
    """A module, and where its function stands if that is known and certain to be replaced."""

    data: bytes
    parts: tuple[bytes, bytes, bytes] | None = None


def nested() -> st.SearchStrategy[str]:
    """An expression that is as deep, or as long, as parsers do not like."""
    return st.builds(_nested, st.sampled_from(sorted(NESTED)), st.sampled_from(DEPTHS), st.integers(-2, 2))


def _nested(kind: str, depth: int, more: int) -> str:
    before, after = NESTED[kind].replace("{{", "\0").replace("}}", "\1").split("{}")
    return (before * (depth + more) + "1" + after * (depth + more)).replace("\0", "{").replace("\1", "}")


def _ended(text: str, ends: list[str]) -> str:
    """The lines of the text, each with the next of the ends."""
    pieces = text.split("\n")
    return "".join(piece + ends[at % len(ends)] for at, piece in enumerate(pieces[:-1])) + pieces[-1]


ends = st.one_of(st.sampled_from([[end] for end in ENDS]), st.lists(st.sampled_from(ENDS), min_size=1, max_size=5))
LONE = st.sampled_from([["\r"], ["\r", "\n", "\r\n"]])
any_ends = st.integers(0, 9).flatmap(lambda number: ends if number < 9 else LONE)
comments = st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0\f"), max_size=20).map("# {}\n".format)
around = st.lists(
    st.one_of(st.sampled_from(AROUND), st.sampled_from(CALM), st.sampled_from(CALM), comments), max_size=3
).map("".join)
deep = nested().map("x = {}\n".format)
after = st.one_of(around, around, around, deep)
calm = st.lists(st.one_of(st.sampled_from(CALM), comments), max_size=4).map("".join)
functions = st.one_of(
    st.sampled_from(KNOWN), st.sampled_from(OTHER), nested().map(lambda text: f"{HEAD}    return {text}\n")
)


@st.composite
def certain_modules(draw: st.DrawFn) -> Module:
    """A module of which it is known what must be done: calm surroundings, and a known body in any format."""
    function_ends = draw(st.sampled_from([["\n"], ["\r\n"], ["\n", "\r\n"]]))
    function = _ended(draw(st.sampled_from(KNOWN)), function_ends)
    around_ends = draw(ends)
    above, below = (_ended(draw(calm), around_ends) for _ in range(2))
    start = draw(st.sampled_from(["", "", "\ufeff", "# coding: utf-8\n", "#!/usr/bin/env python\n"]))
    if not below and draw(st.booleans()):
        function = function.rstrip("\r\n")
    parts = tuple(part.encode() for part in (start + above, function, below))
    return Module(b"".join(parts), (parts[0], parts[1], parts[2]))


@st.composite
def modules(draw: st.DrawFn) -> Module:
    """Anything between a module and junk."""
    text = draw(START) + draw(around) + draw(functions) + draw(after)
    return Module(_damaged(_encoded(_ended(text, draw(any_ends))), draw))


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _damaged(data: bytes, draw: st.DrawFn) -> bytes:
    """The data as it is, or cut, or with a few bytes changed."""
    for start, length, new in draw(DAMAGES):
        start %= len(data) + 1
        data = data[:start] + new + data[start + length :]
    return data


JUNK = st.sampled_from([b"", b"\n", b"\r", b"\0", b"\xef\xbb\xbf", b"\\", b'"', b"'", b"'''", b'"""', b"(", b"\f",
                        b"\t", b"    ", b";", b"#", b"\xff", b"\x1a", b"def ", b"isin", b"\n\n", b","])  # fmt: skip


DAMAGE = st.tuples(st.integers(0, 1 << 20), st.integers(0, 30), st.one_of(JUNK, st.binary(max_size=4)))
DAMAGES: st.SearchStrategy[list[tuple[int, int, bytes]]] = st.one_of(
    st.just([]), st.just([]), st.lists(DAMAGE, min_size=1, max_size=3)
)


# Modules with direct calls

MARK = MARKER.decode()
PIECES = [
    ("x = torch.isin(a, b)\n", "x = {}(a, b)\n"),
    ("x = torch.isin(elements=a, test_elements=b).any()\n", "x = {}(elements=a, test_elements=b).any()\n"),
    ("x = torch.isin(\n    a,\n    b,\n)\n", "x = {}(\n    a,\n    b,\n)\n"),
    ("def g(a):\n    return [torch.isin(a, b) for b in a]\n", "def g(a):\n    return [{}(a, b) for b in a]\n"),
    ("class C:\n\ty = torch.isin(a, b)  # b\n", "class C:\n\ty = {}(a, b)  # b\n"),
    ("g\xf6 = '\u8868'; x = torch.isin(a, b)\n", "g\xf6 = '\u8868'; x = {}(a, b)\n"),
    ("if torch.isin(a, torch.isin(b, c)): pass\n", "if {0}(a, {0}(b, c)): pass\n"),
    (
        "async def h():\n    await torch.isin(a,  # b\n        b)\n",
        "async def h():\n    await {}(a,  # b\n        b)\n",
    ),
    ("lambda a, b=torch.isin(1, 2): torch.isin(a, b)\n", "lambda a, b={0}(1, 2): {0}(a, b)\n"),
    ("x = 'torch.isin(a, b)'  # torch.isin\n", None),
    ("z = np.isin(torch_, b)\n", None),
    ("x = '''\n    torch.isin(a, b)\n'''\n", None),
    ("\n\n", None),
    ("y = {1: 2}\n", None),
]
STRANGE = [
    "f = torch.isin\n",
    "x = (torch  # why\n .isin)(a, b)\n",
    "x = torch.isin(a, b, invert=True)\n",
    "x = torch.isin(\n    a,\n    b,\n    assume_unique=True,\n)\n",
    "f'{torch.isin(a, b)}'\n",
    "def f(torch):\n    return torch.isin(a, b)\n",
    "x = torch.isin(*a)\n",
    "x = torch.isin(a, b, out=c)\n",
    "t = torch\nx = t.isin(a, b)\n",
    "x = f'{torch.isin(a, b) = }'\n",
    "x = getattr(torch, 'isin')(a, b)\n",
    "x = torch.\N{FULLWIDTH LATIN SMALL LETTER I}sin(a, b)\n",
    "del torch\n",
    "from torch import *\n",
    "from torch import isin as member\nx = member(a, b)\n",
    "try:\n    import torch\nexcept ImportError:\n    torch = None\n",
    "if have: import torch; x = torch.isin(a, b)\n",
    "def f():\n    import torch\n    def g():\n        return torch.isin(a, b)\n",
    "def f():\n    global torch\n    torch = None\n",
    "__all__ = ['isin']\n",
    "@torch.jit.script\ndef f(a, b):\n    return torch.isin(a, b)\n",
    f"from ...pytorch_utils import isin_mps_friendly{MARK}\n",
    "isin_mps_friendly = 1\n",
    "x = torch.isin(a, b); import torch\n",
    "while torch.isin(a, b):\n    x\nelse:\n    y\n",
    "with torch.isin(a, b) as torch: pass\n",
    f"def stop(self, input_ids):\n{re.sub('(?m)^(?=.)', '    ', A)}",
    'def mask(self, x):\n    if x.device.type == "mps":\n        raise ValueError("no")\n    x = torch.isin(a, b)\n',
    'if inputs.device.type == "mps":\n    x = 1\nelse:\n    x = torch.isin(\n        a, b)\n',
]


@st.composite
def redirections(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A module, and what it must become."""
    chosen = draw(st.lists(st.sampled_from(PIECES), min_size=1, max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    ours = f"from ...pytorch_utils import isin_mps_friendly{MARK}\n" if any(after for _, after in chosen) else ""
    start = draw(
        st.sampled_from(["", "\ufeff", "# coding: utf-8\n", '"""Doc."""\nfrom __future__ import annotations\n'])
    )
    source = "".join(before for before, _ in chosen)
    expected = "".join(after.format(NAME) if after else before for before, after in chosen)
    texts = (f"{start}import torch\n{source}", f"{start}import torch\n{ours}{expected}")
    return texts[0].replace("\n", end).encode(), texts[1].replace("\n", end).encode()


SNIPPETS = [before for before, _ in PIECES]
SOURCES = st.sampled_from(SNIPPETS)
CALLER_PIECE = st.one_of(SOURCES, SOURCES, st.sampled_from(STRANGE), st.sampled_from(AROUND), st.sampled_from(CALM))
ANY_PIECES = st.lists(CALLER_PIECE, min_size=1, max_size=5).map("".join)
AFTER_PIECES = st.one_of(st.just(""), st.just(""), st.just(""), deep)


@st.composite
def callers(draw: st.DrawFn) -> bytes:
    """Anything between a module with direct calls and junk."""
    text = draw(START) + "import torch\n" + draw(ANY_PIECES) + draw(AFTER_PIECES)
    return _damaged(_encoded(_ended(text, draw(any_ends))), draw)


# RECORD

PATH = "transformers/pytorch_utils.py"
ROW = f"{PATH},sha256=Hg_mMP2EIBn5pyiTKnUz1yF_z61KSyLqxwy91Q8HRKk,13182"
OWN_ROWS = [
    ROW,
    f'"{PATH}",sha256=x,1',
    f"{PATH},,",
    PATH,
    f"{PATH},",
    PATH.replace("/", "\\") + ",,",
    f'{PATH},"sha\n",1',
]
ROWS = [
    "transformers/__init__.py,sha256=x,1",
    '"quoted, name.py",sha256=x,1',
    '"two\nlines.py",,',
    '"two\r\nlines.py",,',
    '"a ""quote"".py",,',
    'an "unbalanced.py,,',
    '"never closed,,',
    "/etc/passwd,sha256=x,1",
    "../../../bin/transformers-cli,sha256=x,1",
    "C:\\Python\\x.py,,",
    f"./{PATH},,",
    f"/{PATH},,",
    f"{PATH}c,,",
    f" {PATH},,",
    f"\ufeff{ROW}",
    f"x{PATH},,",
    "",
    ",,",
    '""',
    '"',
    '"",""',
    "\0,,",
    "\x1c\x85\u2028.py,,",
    "caf\udce9.py,,",
    "transformers-4.45.1.dist-info/RECORD,,",
    OURS.rstrip("/") + ".txt,,",
    OURS + "state.json,sha256=x,1",
    OURS.replace("/", "\\") + "state.json,sha256=x,1",
    f'"{OURS}state.json",,',
    ",".join("abcdefgh"),
]
ANY_ROWS = st.lists(
    st.one_of(
        st.sampled_from(OWN_ROWS),
        st.sampled_from(ROWS[:12]),
        st.sampled_from(ROWS),
        st.text(st.characters(codec="utf-8"), max_size=12),
    ),
    max_size=7,
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """A RECORD in which the file is listed, not at all, or more than once, among rows of every kind."""
    found = draw(ANY_ROWS)
    text = _ended("".join(f"{one}\n" for one in found), draw(any_ends))
    if draw(st.booleans()):
        text = text.rstrip("\r\n")
    return _damaged(text.encode("utf-8", "surrogateescape"), draw)


# The state file

ENTRY = JournalEntry(original="a" * 64, patched="b" * 64)
OTHER_ENTRY = JournalEntry(original="c" * 64, patched="d" * 64, link="../x")
RECORD_ENTRY = JournalEntry(original="e" * 64, patched=None)
RECORD_PATH = PurePosixPath("transformers-4.45.1.dist-info/RECORD")
JOURNALS = [
    Journal(requested=(NAME,), files={PurePosixPath(PATH): ENTRY}),
    Journal(
        requested=("direct_isin", NAME),
        files={
            PurePosixPath(PATH): ENTRY,
            PurePosixPath("transformers/generation/utils.py"): OTHER_ENTRY,
            RECORD_PATH: RECORD_ENTRY,
        },
    ),
]
VALUES: list[Any] = [None, True, False, 0, 1, -1, 2, 1.0, 0.5, 2**63, 10**30, "", "x", "a" * 64, "\ud800", "\udce9",
          "\0", "..", "/", [], {}, [[]], "../x", "/etc/passwd", "a/../../b", "numpy/__init__.py",
          "transformers/../numpy/x.py", "C:\\x", "a\nb", ".", "./x", "x/", "x//y", "\x1b[31m",
          "transformers-4.45.1.dist-info/RECORD", "x" * 5000,
          "transformers-4.45.1.dist-info/mps-patcher/state.json", ["x"], {"x": "y"}, {PATH: {}},
          float("inf"), float("nan"), -0.0]  # fmt: skip
RAW = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\", b"\\ud800", b"NaN", b"-Infinity", b"1e999", b"1" * 5000, b"\0",
       b"[" * 100_000, b'{"a":' * 20_000, b"\xed\xa0\x80", b"\xff\xfe", b'"schema": 3,', b"//"]  # fmt: skip

json_values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.sampled_from(VALUES), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)


ANY_VALUE = st.one_of(st.sampled_from(VALUES), json_values)
OTHER_KEYS = st.sampled_from(["path", "link", "x", "", "\ud800", "transformers/a.py", "numpy/a.py"])
PICKS = st.lists(st.integers(0, 2399), min_size=5, max_size=5)
CODECS = st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16"])
ANY_JOURNAL = st.sampled_from(JOURNALS)
ANY_RAW = st.one_of(st.sampled_from(RAW), st.binary(max_size=4))
HOW_MANY = st.integers(0, 3)


@st.composite
def states(draw: st.DrawFn) -> bytes:
    """A state file that we wrote, or one in which values were changed, keys added or taken away, bytes damaged."""
    document = json.loads(encode_journal(draw(ANY_JOURNAL)))
    for _ in range(draw(HOW_MANY)):
        _change(document, draw)
    text = json.dumps(document, indent=1, ensure_ascii=draw(st.booleans()))
    data = text.encode(draw(CODECS), "surrogatepass")
    if draw(HOW_MANY):
        return data
    start, length = draw(PICKS)[0] % (len(data) + 1), draw(PICKS)[0] % 40
    return data[:start] + draw(ANY_RAW) + data[start + length :]


def _change(document: Any, draw: st.DrawFn) -> None:
    """Goes down into the document at random, and changes one value, or one key."""
    for pick in draw(PICKS):
        keys: list[Any] = list(document) if isinstance(document, dict) else list(range(len(document)))
        if not keys:
            return
        key = keys[pick % len(keys)]
        if isinstance(document[key], (dict, list)) and document[key] and pick // 100 % 4:
            document = document[key]
            continue
        match pick // 400 % 6:
            case 0:
                del document[key]
            case 1 if isinstance(document, dict):
                document[draw(OTHER_KEYS)] = document[key]
            case 1:
                document.append(document[key])
            case _:
                document[key] = deepcopy(draw(ANY_VALUE))
        return


# A whole target

NO_STATE: st.SearchStrategy[tuple[bytes | None, dict[str, bytes]]] = st.just((None, {}))


@st.composite
def targets(draw: st.DrawFn) -> Given:
    """A target in which one thing, or everything, is odd."""
    source = draw(st.one_of(certain_modules(), modules())).data
    caller = draw(st.one_of(st.none(), redirections().map(lambda pair: pair[0]), callers()))
    listed = draw(st.one_of(st.none(), st.just(f"{ROW}\na.py,,\n".encode()), records()))
    state, backups = draw(st.one_of(NO_STATE, NO_STATE, states().map(lambda data: (data, {})), believable(source)))
    return Given(
        source=source,
        caller=caller,
        record=listed,
        state=state,
        backups=backups,
        mode=draw(st.sampled_from([0o644, 0o600, 0o755, 0o444])),
        force=draw(st.booleans()),
    )


@st.composite
def believable(draw: st.DrawFn, source: bytes) -> tuple[bytes | None, dict[str, bytes]]:
    """A state file whose digests are those of the source and of a backup, with a path and a link that may be false."""
    original = draw(st.sampled_from([b"import torch\n", KNOWN[0].encode(), source]))
    path = PurePosixPath(draw(st.sampled_from([PATH, PATH, "transformers/other.py", "numpy/__init__.py", str(CALLER)])))
    entry = JournalEntry(
        original=digest(original),
        patched=digest(draw(st.sampled_from([source, source, original, b"", b"x = 1\n"]))),
        link=draw(st.sampled_from([None, None, "../../outside.txt", "/etc/passwd", "x" * 300])),
    )
    names = draw(st.sampled_from([(NAME,), ("direct_isin",), (), ("a patch of tomorrow",), ("a\nb", "\x1b[31m")]))
    written = encode_journal(Journal(requested=names, files={path: entry}))
    backup = {backup_name(path): original}
    return draw(st.sampled_from([written, written, None])), draw(st.sampled_from([backup, backup, {}, {"x.orig": b""}]))

"""The edits that redirect calls: the name, the arguments that go, and the method that takes the place of one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from patcher.calls.concrete import Concrete, Names, name_of
from patcher.calls.sites import HINT, NEGATION
from patcher.calls.text import Edit
from patcher.model import CallsPatch

if TYPE_CHECKING:
    import libcst


def call_edits(module: Concrete, text: bytes, name: str, patch: CallsPatch) -> Iterator[Edit]:
    """The edits that send every direct call through `name`. `text` is the module as it was, not as libcst knows it."""
    import libcst

    names = Names(module, patch)
    shown = [module.span(node) for node in module.all(libcst.FormattedStringExpression) if node.equal]
    for call in module.all(libcst.Call):
        start, end = module.span(call)
        is_shown = any(low <= start < high for low, high in shown)
        if not is_shown and names.mean_callee(call.func) and (change := _change(call, patch)):
            low, high = module.span(call.func)
            yield Edit(start=low, end=high, new=_renamed(text[low:high], name))
            yield from _without(module, call, change.dropped)
            if change.method:
                argument = text[slice(*module.span(change.argument))] if change.argument else b""
                yield Edit(start=end, end=end, new=b".%b(%b)" % (change.method.encode(), argument))


def _renamed(old: bytes, name: str) -> bytes:
    """The new name, and the comments that stood between the parts of the old one."""
    return name.encode() + b"".join(re.findall(rb"[ \t]*#[^\r\n]*(?:\r\n|\r|\n)[ \t]*", old))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    """How the arguments of a call change, and which method of the answer is called."""

    dropped: tuple[libcst.Arg, ...] = ()
    method: str = ""
    argument: libcst.BaseExpression | None = None


def _change(call: libcst.Call, patch: CallsPatch) -> _Change | None:
    """None, if the call cannot be redirected."""
    given = [one.keyword.value if one.keyword else name for one, name in zip(call.args, _numbered(patch), strict=False)]
    flags = {name: one for name, one in zip(given, call.args, strict=False) if name not in patch.parameters}
    operands = [name for name in given if name in patch.parameters]
    if any(one.star for one in call.args) or sorted(operands) != sorted(patch.parameters):
        return None
    if flags.keys() - {HINT, NEGATION} or not all(map(_is_understood, flags, flags.values())):
        return None
    method, argument = "", None
    if flag := flags.get(NEGATION):
        later = call.args[call.args.index(flag) + 1 :]
        if name_of(flag.value) not in ("True", "False") and any(_is_computed(one.value) for one in later):
            return None
        match name_of(flag.value):
            case "True":
                method = "logical_not"
            case "False":
                pass
            case _:
                method, argument = "ne", flag.value
    return _Change(dropped=tuple(flags.values()), method=method, argument=argument)


def _is_computed(value: libcst.BaseExpression) -> bool:
    """Whether it is more than a name or a literal, so that what it runs may change the value of a name before it."""
    import libcst

    root = value
    while isinstance(root, libcst.Attribute):
        root = root.value
    literal = isinstance(value, (libcst.BaseNumber, libcst.SimpleString, libcst.Ellipsis))
    return not isinstance(root, libcst.Name) and not literal


def _numbered(patch: CallsPatch) -> Iterator[str]:
    """The names of positional arguments; beyond the last, there are none."""
    yield from patch.parameters
    while True:
        yield ""


def _is_understood(name: str, arg: libcst.Arg) -> bool:
    import libcst

    value = arg.value
    if name == HINT:
        return isinstance(value, (libcst.Name, libcst.Integer))
    while isinstance(value, libcst.Attribute):
        value = value.value
    return isinstance(value, libcst.Name) and value.value != "None"


def _without(module: Concrete, call: libcst.Call, dropped: tuple[libcst.Arg, ...]) -> Iterator[Edit]:
    """The edits that drop arguments: from line to line where a line holds nothing else, comments left alone."""
    args = list(call.args)
    groups: list[list[int]] = []
    for index in (args.index(one) for one in dropped):
        if groups and groups[-1][-1] == index - 1 and _is_one_line(module, args[index - 1], args[index]):
            groups[-1].append(index)
        else:
            groups.append([index])
    for group in groups:
        first, last = group[0], group[-1]
        start, end = module.span(args[first])[0], module.span(args[last])[1]
        if last + 1 < len(args) and _is_one_line(module, args[last], args[last + 1]):
            yield Edit(start=start, end=module.span(args[last + 1])[0])
        elif first and _is_one_line(module, args[first - 1], args[first]):
            yield Edit(start=module.span(args[first - 1])[1], end=end)
        else:
            yield _whole_line(module, start, _past_comma(module, args[last]))


def _is_one_line(module: Concrete, one: libcst.Arg, following: libcst.Arg) -> bool:
    """Whether nothing but a comma and spaces stands between two arguments."""
    between = module.body[module.span(one)[1] : module.span(following)[0]]
    return b"\n" not in between and b"#" not in between


def _past_comma(module: Concrete, arg: libcst.Arg) -> int:
    import libcst

    return module.span(arg.comma if isinstance(arg.comma, libcst.Comma) else arg)[1]


def _whole_line(module: Concrete, start: int, end: int) -> Edit:
    body = module.body
    while body[end : end + 1] in (b" ", b"\t"):
        end += 1
    left = start - len(body[:start]) + len(body[:start].rstrip(b" \t"))
    rest = next((one for one in (b"\r\n", b"\n") if body.startswith(one, end)), b"")
    if rest and body[left - 1 : left] == b"\n":
        return Edit(start=left, end=end + len(rest))
    return Edit(start=start, end=end)

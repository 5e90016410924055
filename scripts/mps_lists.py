"""What PyTorch's own MPS tests say of each OpInfo, read from their sources: which do not work, release by release.

    python scripts/mps_lists.py FOLDER       write scripts/evidence/mps_lists.tsv

FOLDER has a folder for each release, such as 2.6.0, with common_mps.py or, before 2.8, test_mps.py, and the files that
name the release's OpInfos, from torch/testing/_internal: common_methods_invocations.py and opinfo/definitions/*.py.
From 2.8 on a wheel has them all; test_mps.py is in the release's sources alone. Nothing of them is run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.mps_evidence import Opinfo, read_opinfos, to_version

ROOT = Path(__file__).resolve().parent.parent
LISTS = ROOT / "scripts" / "evidence" / "mps_lists.tsv"
UNIMPLEMENTED = ("UNIMPLEMENTED_XFAILLIST", "ON_MPS_XFAILLIST")
OTHERWISE = (
    "UNDEFINED_XFAILLIST", "SKIPLIST", "EMPTY_OPS_SKIPLIST",
    "MACOS_AFTER_13_1_XFAILLIST", "MACOS_13_3_XFAILLIST",  # these hold from that macOS on
)  # fmt: skip
TESTED = ("float32", "int64", "bool")

HEAD = """\
# What PyTorch's own MPS tests say of each OpInfo, by release. Written by scripts/mps_lists.py; do not edit.
#
# u  it is listed as unimplemented for the dtype on the newest macOS: its test is expected to fail
# x  it is listed, or left out, for another reason, such as random results
# .  it is not listed: its test is expected to pass
# -  the release has no such OpInfo
"""

Listed = dict[str, frozenset[str] | None]
"""The dtypes for which a list names an OpInfo; None stands for all."""


def read_lists(source: str) -> dict[str, Listed]:
    """The lists of mps_ops_modifier by name, as they hold on the newest macOS."""
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    modifier = next(node for node in functions if node.name == "mps_ops_modifier")  # a second one is for other machines
    found: dict[str, Listed] = {}
    for node in modifier.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Dict):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            found[ast.unparse(target)] = _read_list(node.value)
    return found


def _read_list(literal: ast.Dict) -> Listed:
    pairs = zip(literal.keys, literal.values, strict=True)
    return {_text(key): _read_dtypes(value) for key, value in pairs}


def _read_dtypes(value: ast.expr) -> frozenset[str] | None:
    if isinstance(value, ast.Constant) and value.value is None:
        return None
    if isinstance(value, ast.IfExp):  # "... if MACOS_VERSION < 15.0 else ...": the second is the newest macOS
        return _read_dtypes(value.orelse)
    return frozenset(node.attr for node in ast.walk(value) if isinstance(node, ast.Attribute))


def read_names(source: str) -> Iterator[str]:
    """The keys of the OpInfos that a file makes, as far as it writes their names out."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and "info" in ast.unparse(node.func).lower():
            words = {word.arg: word.value for word in node.keywords}
            name = _text(node.args[0] if node.args else words.get("name"))
            if name:
                yield name + _text(words.get("variant_test_name"))


def _text(literal: ast.expr | None) -> str:
    return literal.value if isinstance(literal, ast.Constant) and isinstance(literal.value, str) else ""


def judge(key: str, dtype: str, lists: dict[str, Listed]) -> str:
    def named(group: tuple[str, ...]) -> bool:
        found = (lists[name] for name in group if key in lists.get(name, {}))
        return any(listed[key] is None or dtype in (listed[key] or ()) for listed in found)

    if dtype not in TESTED or named(OTHERWISE):
        return "x"
    return "u" if named(UNIMPLEMENTED) else "."


def read_release(folder: Path, opinfos: list[Opinfo], everywhere: set[str]) -> dict[str, str]:
    (source,) = (path for name in ("common_mps.py", "test_mps.py") if (path := folder / name).exists())
    lists = read_lists(source.read_text("utf-8"))
    names = {name for path in _definitions(folder) for name in read_names(path.read_text("utf-8"))}
    there = (one for one in opinfos if one.key in names or one.key not in everywhere)
    return {one.key: judge(one.key, one.dtype, lists) for one in there}


def _definitions(folder: Path) -> list[Path]:
    return [folder / "common_methods_invocations.py", *sorted(folder.glob("opinfo/definitions/*.py"))]


def main(arguments: list[str]) -> None:
    folders = sorted(Path(arguments[0]).iterdir(), key=lambda path: to_version(path.name))
    opinfos = list(read_opinfos().values())
    everywhere = {
        name for folder in folders for path in _definitions(folder) for name in read_names(path.read_text("utf-8"))
    }
    told = [read_release(folder, opinfos, everywhere) for folder in folders]
    lines = ["OpInfo\tdtype\t" + "\t".join(".".join(folder.name.split(".")[:2]) for folder in folders)]
    lines += ["\t".join((one.key, one.dtype, *(release.get(one.key, "-") for release in told))) for one in opinfos]
    LISTS.write_text(HEAD + "\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])

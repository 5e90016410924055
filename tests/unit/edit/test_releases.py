"""Real releases: what each has is what docs/compatibility.json counts, and nothing else of a file changes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from zipfile import ZipFile

import pytest

from patcher.catalogue import load_catalogue
from patcher.edit import edit_source, identify, mentioned_name, whole_word
from patcher.model import State

FUNCTION, CALLS = load_catalogue()
HAS = {
    version: row["has"]
    for version, row in json.loads((Path(__file__).parents[3] / "docs" / "compatibility.json").read_bytes()).items()
}
VERSIONS = ["4.38.2", "4.40.2", "4.44.2", "4.45.1", "4.46.3", "4.57.6", "5.1.0", "5.24.0"]
OUR_IMPORT = re.compile(
    rb"^ *from \.+pytorch_utils import isin_mps_friendly  # mps-patcher redirects torch.isin here\n", re.M
)
TEST = re.compile(rb"if (.*\.device\.type == \"mps\".*):\n")


def modules(wheel: Path) -> dict[PurePosixPath, bytes]:
    """The modules that a patch may be about."""
    word = re.compile(b"|".join(whole_word(mentioned_name(patch)) for patch in (FUNCTION, CALLS)))
    with ZipFile(wheel) as archive:
        sources = {PurePosixPath(name): archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    return {path: source for path, source in sources.items() if path == FUNCTION.file or word.search(source)}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_calls_of_a_release(version: str, wheels: Callable[[str], Path]) -> None:
    found = {"branches": 0, "calls": 0, "files": 0}
    for path, source in modules(wheels(version)).items():
        finding, result = identify(source, path, CALLS), edit_source(source, path, CALLS)
        if finding.state is State.ABSENT:
            assert result == source
            continue
        assert finding.state is State.UNPATCHED
        assert identify(result, path, CALLS).state is State.PATCHED
        assert without_edits(result, source) == source
        counts = {"branches": finding.branches, "calls": finding.calls, "files": 1}
        found = {name: found[name] + count for name, count in counts.items()}
    assert found == (HAS[version]["direct_isin"] or {"branches": 0, "calls": 0, "files": 0})


def without_edits(result: bytes, source: bytes) -> bytes:
    """`result` with the import taken out, and the names and the tests of branches put back."""
    tests = iter(TEST.findall(source))
    plain, imports = OUR_IMPORT.subn(b"", result)
    assert imports == 1
    plain = re.sub(rb"(?<=if )False(?=:\n)", lambda _: next(tests), plain)
    return plain.replace(b"isin_mps_friendly(", b"torch.isin(")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_function_of_a_release(version: str, wheels: Callable[[str], Path]) -> None:
    source = modules(wheels(version))[FUNCTION.file]
    finding, result = identify(source, FUNCTION.file, FUNCTION), edit_source(source, FUNCTION.file, FUNCTION)
    body = HAS[version]["isin_mps_friendly"]["body"]
    assert (finding.state, finding.body is None) == ((State.ABSENT, True) if not body else (State.UNPATCHED, False))
    assert identify(result, FUNCTION.file, FUNCTION).state is State.PATCHED
    assert edit_source(result, FUNCTION.file, FUNCTION) == result
    if not body:
        assert result.startswith(source + b"\n\n# mps-patcher ")
    else:
        above, _, below = source.partition(b"def isin_mps_friendly(")
        (_, *rest) = re.split(rb"\n(?=\S)", below, maxsplit=1)
        assert result.startswith(above + b"# mps-patcher ")
        assert result.endswith(b"".join(rest))

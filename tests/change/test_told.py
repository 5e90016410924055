"""What the user is told, word for word: each sentence from what was read, and of that number."""

from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patcher.calls.sites import branch_digest
from patcher.change import told
from patcher.model import CallsPatch, KnownBody
from patches import CATALOGUE

ISIN, DIRECT = CATALOGUE
FILES = ("transformers/generation/stopping_criteria.py", "transformers/generation/utils.py")


@pytest.fixture
def it(env: Callable[..., Any], shortened: Callable[[Path], Path]) -> Any:
    """Two files with a call each, and no helper."""
    it = replace(env("4.44.2", torch="2.3.1"), patches=CATALOGUE)
    shortened(it.target.site_packages)
    return it


def notes(it: Any, command: str, **options: Any) -> list[str | None]:
    results = it.each(command, **({"named": True, **options} if command == "apply" else options))
    assert not [result.error for result in results if result.error]
    return [result.note for result in results]


def test_of_one_file(env: Callable[..., Any]) -> None:
    it = env()
    sha = it.status().before[:12]
    assert notes(it, "status") == ["isin_mps_friendly has body A (transformers 4.45.0 - 4.46.1)."]
    replaced = f"Replaced body A (transformers 4.45.0 - 4.46.1); the back-up holds the file as it was (sha256 {sha})."
    assert notes(it, "apply") == [replaced]
    assert notes(it, "status") == [None]
    assert notes(it, "apply") == ["Already patched: nothing to do."]
    assert notes(it, "revert") == ["The file is again as before the patch."]
    assert notes(it, "revert") == ["It is not patched by us: nothing to revert."]


def test_of_one_file_that_was_edited(env: Callable[..., Any]) -> None:
    it = env()
    old = it.source.read_bytes()
    (lines,) = re.findall(rb"^def isin_mps_friendly\(.*?(?=^\S|\Z)", old, re.MULTILINE | re.DOTALL)
    it.source.write_bytes(old.replace(b"return torch.isin(elements", b"return torch.isin(1, elements"))
    sha = it.status().before[:12]
    (unknown,) = notes(it, "status")
    assert unknown
    assert unknown.startswith("isin_mps_friendly has a body that we do not know (digest ")
    assert unknown.endswith(f"with this link: {told.UPSTREAM}/v4.45.1/src/transformers/pytorch_utils.py")
    count = len(lines.rstrip().splitlines())
    replaced = f"Replaced an unknown body of {count} lines; the back-up holds the file as it was (sha256 {sha})."
    assert notes(it, "apply", force=True) == [replaced]
    it.source.write_bytes(it.source.read_bytes() + b"#\n")
    assert notes(it, "status") == ["The file was edited since it was patched."]
    assert notes(it, "apply", force=True) == ["It is patched; what was edited since is left as it is."]
    (reverted,) = notes(it, "revert", force=True)
    (kept,) = it.source.parent.glob("*.kept-*")
    assert reverted == f"The file is again as before the patch; the edited one is kept as {kept}."
    it.record.unlink()
    assert notes(it, "apply", force=True) == [f"{replaced} There is no RECORD to keep up to date."]


def test_of_several_files(it: Any) -> None:
    missing = "pytorch_utils.py of transformers 4.44.2 defines no isin_mps_friendly."
    calls = "2 direct calls of torch.isin in 2 files"
    sha = it.each("status")[0].before[:12]
    unpatched = [missing, f"{calls}: generation/stopping_criteria.py, generation/utils.py."]
    assert notes(it, "status") == unpatched
    assert notes(it, "apply") == [
        f"Added isin_mps_friendly at the end of pytorch_utils.py; the back-up holds the file as it was (sha256 {sha}).",
        f"Redirected {calls} to isin_mps_friendly; the back-ups hold the files as they were.",
    ]
    assert notes(it, "status") == [None, "What called torch.isin in 2 files calls isin_mps_friendly."]
    file = it.target.site_packages / FILES[1]
    file.write_bytes(file.read_bytes() + b"#\n")
    assert notes(it, "status") == [None, f"{FILES[1]} was edited since it was patched."]
    _, reverted = notes(it, "revert", force=True)
    (kept,) = file.parent.glob("*.kept-*")
    assert reverted == f"2 files are again as before the patch; the edited one is kept as {kept}."
    assert notes(it, "status") == unpatched
    kept.unlink()
    it.each("apply", named=True)
    for name in FILES:
        (it.target.site_packages / name).write_bytes((it.target.site_packages / name).read_bytes() + b"#\n")
    _, reverted = notes(it, "revert", force=True)
    copies = [next(file.parent.glob(f"{Path(name).name}.kept-*")) for name in FILES]
    kept = "".join(f"; the edited one is kept as {path}" for path in copies)
    assert reverted == f"2 files are again as before the patch{kept}."


@pytest.mark.parametrize("files", [FILES[1:], FILES])
def test_of_calls_beside_branches_for_mps(it: Any, files: tuple[str, ...]) -> None:
    for name in FILES:
        (it.target.site_packages / name).write_text("")
    for name in files:
        text = "import torch\n\nif mps:\n    x = isin\nelse:\n    x = torch.isin(a, b)\n"
        (it.target.site_packages / name).write_text(text)
    (branch,) = ast.parse("if mps:\n    x = isin").body
    assert isinstance(branch, ast.If)
    assert isinstance(DIRECT, CallsPatch)
    known = KnownBody(name="a branch", digest=branch_digest(branch))
    it = replace(it, patches=(ISIN, replace(DIRECT, branches=(known,))))
    one = len(files) == 1
    where = "1 file" if one else "2 files"
    calls = f"{'1 direct call' if one else '2 direct calls'} of torch.isin in {where}"
    named = ", ".join(name.removeprefix("transformers/") for name in files)
    assert notes(it, "status")[1] == f"{calls}: {named}."
    removed = f"and removed {'1 branch' if one else '2 branches'} for MPS; the back-ups hold the files as they were."
    assert notes(it, "apply")[1] == f"Redirected {calls} to isin_mps_friendly {removed}"
    assert notes(it, "status")[1] == f"What called torch.isin in {where} calls isin_mps_friendly."


def test_of_lost_back_ups(it: Any) -> None:
    it.each("apply", named=True)
    for path in it.ours.glob("*.orig"):
        path.unlink()
    assert notes(it, "status") == ["There is no good back-up: revert cannot undo it."] * 2
    lost = "Already patched: nothing to do. The back-up is missing or damaged: revert cannot undo it."
    assert notes(it, "apply") == [lost] * 2
    shutil.rmtree(it.ours)
    lost = "Already patched, but there is no back-up: revert cannot undo it."
    assert notes(it, "apply") == [lost] * 2


def test_of_a_patched_file_without_a_ledger_what_a_cut_left_goes(env: Callable[..., Any]) -> None:
    it = env()
    it.apply()
    patched = it.source.read_bytes()
    shutil.rmtree(it.ours)
    spare = it.source.with_name(".pytorch_utils.py.mps-patcher")
    spare.write_bytes(b"half")
    assert notes(it, "apply") == ["Already patched, but there is no back-up: revert cannot undo it."]
    assert not spare.exists()
    assert it.source.read_bytes() == patched


def test_of_what_a_cut_left_beside_an_unpatched_file(env: Callable[..., Any]) -> None:
    it = env()
    it.source.with_name(".pytorch_utils.py.mps-patcher").write_bytes(b"half")
    assert notes(it, "revert") == ["Cleared away what an earlier run left."]
    assert notes(it, "revert") == ["It is not patched by us: nothing to revert."]


def test_nothing_is_shown_that_was_not_asked_for(it: Any) -> None:
    for command in ("apply", "revert"):
        assert [result.diff for result in it.each(command, **({"named": True} if command == "apply" else {}))] == [
            None
        ] * 2


def test_of_nothing(env: Callable[..., Any]) -> None:
    it = replace(env("4.45.1"), patches=CATALOGUE)
    assert notes(it, "status")[1] == "No file of this transformers calls torch.isin directly."
    listed = [row for row in it.record.read_text().splitlines(keepends=True) if not row.startswith(str(ISIN.file))]
    it.record.write_text("".join(listed))
    it.source.unlink()
    assert notes(it, "status")[0] == "This release has no transformers/pytorch_utils.py."

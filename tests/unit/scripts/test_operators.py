"""The command that writes the table, on a wheel of a few operators."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest
from small_library import small_library

from scripts.kernel_table import Status
from scripts.limits import Limit
from scripts.native_functions import DECLARATIONS, IN_PYTHON, YAML
from scripts.operators import HEADER, LIBRARY, differences, limit_differences, limits_of, read_release, table_of

ROOT = Path(__file__).resolve().parents[3]
FUNCTIONS = """\
- func: abs.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)
  dispatch:
    CPU, MPS: abs_out
- func: neg(Tensor self) -> Tensor
  dispatch:
    CPU, MPS: neg
- func: isin.out(Tensor self, *, Tensor(a!) out) -> Tensor(a!)
  structured: True
  dispatch:
    CPU: isin_out
- func: isin(Tensor self) -> Tensor
  structured_delegate: isin.out
- func: norm(Tensor self) -> Tensor
  dispatch:
    CPU: norm
  autogen: norm.out
"""
REGISTERS_NORM = """\
_lib.impl("norm", _norm, "MPS")
"""
INITIALISER = "__ZN2at12_GLOBAL__N_134TORCH_LIBRARY_IMPL_init_aten_MPS_2ERN5torch7LibraryE"
REGISTERS_ABS = [("function", "wrapper_MPS_out_abs_out"), ("string", "abs.out"), ("call", "N5torch7Library5_implE")]


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """In a cache of its own, under the name of a release's."""
    path = tmp_path / "wheels" / "torch-2.1.2-cp311-none-macosx_11_0_arm64.whl"
    path.parent.mkdir()
    with ZipFile(path, "w") as archive:
        archive.writestr(LIBRARY, small_library({INITIALISER: REGISTERS_ABS}))
        archive.writestr(YAML, FUNCTIONS)
        archive.writestr(DECLARATIONS, '// {"schema": "aten::norm.out(Tensor self)"}')
        archive.writestr(IN_PYTHON, REGISTERS_NORM)
        archive.writestr(HEADER, "#include <ATen/ops/abs_mps_dispatch.h>\n#include <ATen/ops/neg_mps_dispatch.h>\n")
    return path


def test_a_wheel_is_read(wheel: Path) -> None:
    release = read_release(wheel)
    assert release.wheel == wheel.name
    assert release.statuses == {
        "abs.out": Status("kernel", "l", "abs.out"),
        "neg": Status("unknown", "d", "neg"),
        "isin.out": Status("missing", "y", "isin.out"),
        "isin": Status("missing", "y", "isin.out"),
        "norm": Status("explicit", "p", "norm"),
        "norm.out": Status("explicit", "y", "norm.out"),
    }
    assert [problem.operator for problem in release.problems] == ["neg"]


def test_what_is_written_is_what_was_read(wheel: Path) -> None:
    releases = {number: read_release(wheel) for number in ("2.0", "2.9", "2.10")}
    del releases["2.0"].statuses["neg"], releases["2.10"].statuses["isin"]
    releases["2.9"].statuses["isin"] = Status("kernel", "l", "isin")
    text = table_of(releases)
    assert text == table_of(releases)
    assert f"# {wheel.name}\n" in text
    assert differences(text, releases) == []


@pytest.mark.parametrize("line", ["abs.out\t2.0 kernel/l", "isin\t2.0 missing/y isin.out"])
def test_a_difference_is_named(wheel: Path, line: str) -> None:
    releases = {"2.0": read_release(wheel)}
    assert line in table_of(releases)
    changed = table_of(releases).replace(line, line.partition("\t")[0] + "\t2.0 explicit/y")
    assert len(differences(changed, releases)) == 1
    (found,) = differences(table_of(releases).replace(f"{line}\n", ""), releases)
    assert found.startswith(f"torch 2.0: {line.partition(chr(9))[0]}: ")
    assert "absent/y" in found


def run(wheel: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "operators.py"), *arguments]
    environment = {**os.environ, "MPS_PATCHER_CACHE": str(wheel.parents[1])}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_command_says_what_it_could_not_decide(wheel: Path) -> None:
    done = run(wheel, "2.1")
    assert done.stdout == (
        "torch 2.1: 2 explicit, 1 kernel, 2 missing, 1 unknown\n"
        "  undecided: neg\n"
        "  neg: native_functions.yaml gives it MPS, and it is not registered\n"
    )
    assert done.returncode == 0


def test_a_check_fails_where_the_table_says_otherwise(wheel: Path) -> None:
    done = run(wheel, "--check", "2.1")
    assert "torch 2.1: neg: kernel/l/neg is written, unknown/d/neg is right" in done.stdout
    assert done.returncode == 1


def test_the_limits_are_compared_too(wheel: Path) -> None:
    releases = {number: read_release(wheel) for number in ("2.0", "2.10")}
    limit = Limit("RuntimeError", "int64", "", "No int64")
    releases["2.10"].limits.known[limit] = {"abs.out", "neg"}
    text = limits_of(releases)
    assert limit_differences(text, releases) == []
    assert len(limit_differences(text.replace(" neg", ""), releases)) == 1
    assert len(limit_differences(text.replace("2.10", "2.0"), releases)) == 2
    assert "cumsum: Limit" in run(wheel, "--check", "2.1").stdout


def test_an_unknown_release(wheel: Path) -> None:
    done = run(wheel, "1.13")
    assert done.stderr.startswith("error: not among 2.0, 2.1, ")
    assert done.returncode == 2

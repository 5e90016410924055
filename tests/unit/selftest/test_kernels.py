"""Which operators have an MPS kernel, by what is known of them from elsewhere, and how the table is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher.selftest import kernels
from patcher.selftest.kernels import ON_MPS, Kernel, asked_on_mps, find_kernel, first_torch
from patcher.selftest.releases import NEWEST_TORCH, Version

MINORS = [(2, minor) for minor in range(15)]


@pytest.mark.parametrize(
    ("name", "overload", "since"),
    [
        ("aten::isin", "Tensor_Tensor", (2, 4)),
        ("aten::isin", "Tensor_Scalar", (2, 8)),
        ("aten::searchsorted", "Tensor", (2, 2)),
        ("aten::bucketize", "Tensor", (2, 2)),
        ("aten::unique_dim", "", (2, 10)),
        ("aten::sort", "stable", (2, 0)),
        ("aten::_unique2", "", (2, 0)),
        ("aten::unique_consecutive", "", (2, 0)),
    ],
)
def test_where_a_kernel_came(name: str, overload: str, since: Version) -> None:
    """isin: pytorch #124518 and #154010. The others: what the libraries of these releases hold and lacked before."""
    statuses = [find_kernel(name, overload, torch).status for torch in MINORS]
    assert statuses == ["kernel" if torch >= since else "missing" for torch in MINORS]
    assert first_torch(name, overload) == since


def test_what_was_lost_on_the_way_does_not_count() -> None:
    """Both were made of others in torch 2.0, and lacked that later; one came back as a kernel."""
    assert first_torch("aten::_embedding_bag_backward", "") == (2, 10)
    assert first_torch("aten::linalg_eigvals", "out") is None


def test_a_structured_operator_asks_for_its_out_overload() -> None:
    """As the error of torch 2.0 to 2.3 says: "The operator 'aten::isin.Tensor_Tensor_out' is not ..."."""
    assert find_kernel("aten::isin", "Tensor_Tensor", (2, 3)).asked == "aten::isin.Tensor_Tensor_out"
    assert find_kernel("aten::isin", "Tensor_Tensor", (2, 4)).asked == "aten::isin.Tensor_Tensor"


@pytest.mark.parametrize(
    ("name", "overload", "torch", "status"),
    [
        ("aten::im2col", "", (2, 5), "fallback"),
        ("aten::im2col", "", (2, 6), "kernel"),
        ("aten::linalg_vector_norm", "", (2, 0), "fallback"),
        ("aten::matmul", "", (2, 0), "composite"),
        ("aten::sort", "", (2, 0), "explicit"),
        ("aten::mkldnn_linear", "", (2, 14), "missing"),
    ],
)
def test_other_words(name: str, overload: str, torch: Version, status: str) -> None:
    assert find_kernel(name, overload, torch).status == status


def test_what_mps_is_asked_for_instead() -> None:
    assert asked_on_mps("aten::upsample_nearest3d", "") == (("aten::upsample_nearest3d", "vec"),)
    assert asked_on_mps("aten::upsample_nearest3d", "out") == (("aten::upsample_nearest3d", "out"),)
    assert asked_on_mps("aten::abs", "") == (("aten::abs", ""),)


def test_the_table_has_all_that_mps_is_asked_for_instead() -> None:
    asked = [one for name in ON_MPS for one in asked_on_mps(name, "")]
    assert [one for one in asked if find_kernel(*one, (2, 14)).status == "unknown"] == []


def test_what_is_not_known() -> None:
    assert find_kernel("aten::nowhere", "out", (2, 1)) == Kernel("unknown", "", "aten::nowhere.out")
    assert find_kernel("prims::abs", "", (2, 1)) == Kernel("unknown", "", "prims::abs")
    assert first_torch("aten::nowhere", "out") is None


def test_an_operator_that_the_release_has_not() -> None:
    assert find_kernel("aten::sort", "dimname", (2, 12)).status == "composite"
    assert find_kernel("aten::sort", "dimname", (2, 13)) == Kernel("unknown", "", "aten::sort.dimname")
    assert find_kernel("aten::_safe_softmax", "", (2, 0)) == Kernel("unknown", "", "aten::_safe_softmax")


def test_a_release_newer_than_the_table_is_as_its_newest() -> None:
    assert find_kernel("aten::unique_dim", "", (2, 99)) == find_kernel("aten::unique_dim", "", (2, 14))


def test_the_newest_release_of_the_rules_is_that_of_the_table() -> None:
    wheels = re.findall(r"^# torch-2\.(\d+)\.", Path(kernels.TABLE).read_text(encoding="utf-8"), re.MULTILINE)
    assert (2, max(map(int, wheels))) == NEWEST_TORCH


def test_what_never_works_has_no_first_release() -> None:
    assert first_torch("aten::mkldnn_linear", "") is None


def test_the_table_has_one_sorted_line_for_each_operator() -> None:
    text = Path(kernels.TABLE).read_text(encoding="utf-8")
    head = [line for line in text.splitlines() if line.startswith("#")]
    lines = text.splitlines()[len(head) :]
    cell = r"\t2\.\d+ (kernel|composite|explicit|fallback|missing|unknown|absent)/[lydp]( [\w.]+)?"
    assert [line for line in lines if not re.fullmatch(rf"[\w.]+({cell})+", line)] == []
    names = [line.split("\t")[0] for line in lines]
    assert names == sorted(set(names))
    assert len(names) > 3000
    assert len(text) < 150_000


def test_its_head_explains_each_word() -> None:
    text = Path(kernels.TABLE).read_text(encoding="utf-8")
    words = {word for cell in re.findall(r"\t2\.\d+ (\w+/\w)", text) for word in cell.split("/")}
    explained = {line.split()[1] for line in text.splitlines() if re.match(r"# \w+ {2,}", line)}
    assert words <= explained


def test_what_the_python_of_a_release_registers() -> None:
    """torch/backends/mps/__init__.py, not the library, has these: a Mac calculates GroupNorm's gradients by it."""
    backward = [find_kernel("aten::native_group_norm_backward", "", (2, minor)) for minor in (0, 12, 13)]
    assert [(kernel.status, kernel.evidence) for kernel in backward] == [("explicit", "p")] * 2 + [("kernel", "l")]
    assert find_kernel("aten::var_mean", "correction", (2, 1)).status == "explicit"

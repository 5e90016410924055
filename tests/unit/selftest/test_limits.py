"""What kernels refuse, by what is known of it from elsewhere, and how the table is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from patcher.selftest import kernels, limits
from patcher.selftest.kernels import find_kernel
from patcher.selftest.limits import Limit, find_limits
from patcher.selftest.releases import Version
from patcher.selftest.rules import Rules

CUMSUM = "MPS does not support cumsum op with int64 input"  # pytorch #96610, with torch 2.0


def messages(name: str, overload: str, torch: Version) -> list[str]:
    return [limit.message for limit in find_limits(name, overload, torch)]


def test_cumsum_of_int64() -> None:
    assert Limit("RuntimeError", "int64", None, CUMSUM) in find_limits("aten::cumsum", "", (2, 0))
    assert CUMSUM not in messages("aten::cumsum", "", (2, 1))
    since = [limit.below for limit in find_limits("aten::cumsum", "", (2, 1)) if limit.dtypes == "int64"]
    assert since == [(13, 3)]
    assert find_limits("aten::cumsum", "", (2, 9)) == ()


@pytest.mark.parametrize("dtype", ["int64", "int32"])
@pytest.mark.parametrize("torch", [(2, 4), (2, 8), (2, 9)])
@pytest.mark.parametrize("macos", [(13, 0), (14, 0)])
def test_isin_is_refused_where_the_rules_say_so(torch: Version, macos: Version, dtype: str) -> None:
    refused = [
        limit.message
        for limit in find_limits("aten::isin", "Tensor_Tensor", torch)
        if limit.below and macos < limit.below and limit.dtypes == "integral"
    ]
    rule = Rules(torch, macos).isin(dtype, dtype)
    assert refused == ([rule.message.rpartition(" ")[0] + " "] if rule else [])


def test_what_falls_back_comes_before_what_is_refused() -> None:
    assert [limit.effect for limit in find_limits("aten::median", "", (2, 0))] == ["cpu", "RuntimeError"]


def test_a_release_newer_than_the_table_is_as_its_newest() -> None:
    assert find_limits("aten::linear", "", (2, 99)) == find_limits("aten::linear", "", (2, 14)) != ()


def test_an_operator_without_limits() -> None:
    assert find_limits("aten::view", "", (2, 0)) == ()
    assert find_limits("aten::nowhere", "", (2, 0)) == ()


def test_only_kernels_have_limits() -> None:
    lines = [line.split("\t") for line in Path(limits.TABLE).read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert len(lines) > 50
    for first, last, *_, operators in lines:
        for operator in operators.split(" "):
            name, _, overload = operator.partition(".")
            for release in filter(None, (first, last)):
                major, minor = release.split(".")
                assert find_kernel(f"aten::{name}", overload, (int(major), int(minor))).status == "kernel", operator


def test_a_line_is_as_the_head_says() -> None:
    text = Path(limits.TABLE).read_text(encoding="utf-8")
    line = r"2\.\d+\t(2\.\d+)?\t(cpu|\w+Error)\t(integral|int64|uint8|bool|complex|any)\t(\d+\.\d)?\t[^\t]+\t[\w. ]+"
    assert [one for one in text.splitlines() if one[0] != "#" and not re.fullmatch(line, one)] == []
    assert kernels.TABLE != limits.TABLE


def test_a_message_names_the_operator_where_it_begins_with_it() -> None:
    (limit,) = (one for one in find_limits("aten::cumsum", "", (2, 8)) if one.dtypes == "int64")
    assert limit.told("aten::cumsum").startswith("MPS does not support cumsum op with int64 input.")
    assert Limit("RuntimeError", "any", None, "Received dtype: ").told("aten::isin") == "Received dtype:"

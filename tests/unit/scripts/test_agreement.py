"""What counts as agreement with the table of kernels."""

from __future__ import annotations

import pytest

from scripts.agreement import agrees, compare_lists, find_lacking
from scripts.mps_evidence import Opinfo, Report


def opinfo(*operators: str) -> Opinfo:
    return Opinfo("any", "float32", False, operators)


def report(operator: str = "isin.Tensor_Tensor_out", torch: str = "2.3.1", **more: str) -> Report:
    words = {
        "url": "https://host/owner/name/issues/1",
        "date": "2024-01-01",
        "by": "version",
        "message": "error",
        **more,
    }
    return Report(operator=operator, torch=torch, **words)


def test_what_an_error_would_name_is_lacking() -> None:
    assert find_lacking(opinfo("isin.Tensor_Tensor", "abs"), (2, 3)) == ("isin.Tensor_Tensor_out",)
    assert find_lacking(opinfo("isin.Tensor_Tensor", "abs"), (2, 4)) == ()


def test_what_a_composite_operator_is_made_of_counts() -> None:
    assert find_lacking(opinfo("nanmedian.dim", "nanmedian.dim>nanmedian.dim_values"), (2, 7)) == (
        "nanmedian.dim_values",
    )


def test_what_an_operator_with_a_kernel_is_made_of_does_not_count() -> None:
    assert find_lacking(opinfo("linear", "linear>isin.Tensor_Tensor"), (2, 3)) == ()


def test_what_mps_is_asked_for_instead_counts() -> None:
    """As on the device: its convolution has kernels of its own, and linalg_svd falls back as a whole until 2.13."""
    convolution = opinfo("convolution", "convolution>_convolution", "_convolution>slow_conv3d_forward")
    svd = opinfo("_linalg_svd", "_linalg_svd>_linalg_svd.U")
    assert find_lacking(convolution, (2, 1)) == find_lacking(svd, (2, 13)) == ()


def test_what_is_instead_but_composite_is_made_of_its_parts() -> None:
    lu_factor = opinfo("linalg_lu_factor_ex", "linalg_lu_factor_ex>linalg_lu_factor_ex.out")
    found = {minor: find_lacking(lu_factor, (2, minor)) for minor in (4, 5, 6, 10)}
    assert found == {4: ("linalg_lu_factor_ex.out",), 5: (), 6: (), 10: ()}


def test_an_operator_of_another_namespace_is_not_asked_for() -> None:
    assert find_lacking(opinfo("prims::isin"), (2, 3)) == ()


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        (report(), True),
        (report(torch="2.4.0"), False),
        (report(added="2.4"), True),
        (report(added="2.5"), False),
        (report(added="2.3"), False),
        (report(torch="2.0.1", still="2.3"), True),
        (report(torch="2.0.1", still="2.4"), False),
        (report("col2im", "2.6.0", message="fallback"), True),
        (report("col2im", "2.6.0"), False),
        (report("abs.out", message="fallback"), False),
    ],
)
def test_a_report(claim: Report, expected: bool) -> None:
    assert agrees(claim) is expected


def test_an_opinfo_that_fails_for_float64_is_not_compared() -> None:
    assert "float_power" not in {one.listing.key for one in compare_lists() if one.listing.letter == "u"}

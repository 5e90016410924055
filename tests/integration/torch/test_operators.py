"""Which operators the emulated device has: what a release lacks, falls back to the CPU for, or is asked for instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch.nn import functional

from patcher.selftest import asked, checks, device, generation, operators
from patcher.selftest.kernels import Kernel
from patcher.selftest.operators import State
from patcher.selftest.releases import Version
from patcher.selftest.rules import FALLBACK, Rules

Mps = Callable[[tuple[int, int], tuple[int, int]], AbstractContextManager[None]]
OLD, NEW = ((2, 1), (13, 0)), ((2, 13), (14, 0))
VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK"


@pytest.fixture(autouse=True)
def as_a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No warning was given yet, and no fallback is allowed."""
    monkeypatch.setattr(State, "warned", False)
    monkeypatch.setattr(State, "told", set())
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Kernel]]:
    """The operators that are asked for within the test, and what the release has for them."""
    met: list[tuple[str, Kernel]] = []
    monkeypatch.setattr(State, "seen", lambda one, _: met.append((f"{one.name}.{one.overload}", one.kernel)))
    return met


def there(*shape: int) -> torch.Tensor:
    return torch.rand(*shape).to("mps")


@pytest.mark.parametrize(
    ("rules", "call", "operator"),
    [
        (OLD, lambda: torch.lgamma(there(2)), "aten::lgamma.out"),  # structured: its out overload is asked for
        (OLD, lambda: there(2).lgamma_(), "aten::lgamma.out"),
        (OLD, lambda: torch.searchsorted(there(2), there(2)), "aten::searchsorted.Tensor"),
        (OLD, lambda: torch.logcumsumexp(there(2), 0), "aten::_logcumsumexp"),  # CompositeExplicitAutograd
        (OLD, lambda: torch.linalg.lstsq(there(2, 2), there(2, 2)), "aten::linalg_lstsq.out"),
        (OLD, lambda: torch.mode(there(2)), "aten::mode"),
        (NEW, lambda: torch.mode(there(2)), "aten::mode"),
        (NEW, lambda: torch.take(there(2), torch.tensor([0]).to("mps")), "aten::take"),
    ],
)
@pytest.mark.parametrize("mode", [torch.enable_grad, torch.inference_mode])
def test_a_missing_operator_is_refused_by_the_name_that_is_asked_for(
    mps: Mps,
    mode: Callable[[], AbstractContextManager[None]],
    rules: tuple[tuple[int, int], tuple[int, int]],
    call: Callable[[], object],
    operator: str,
) -> None:
    with mps(*rules), mode():
        for _ in range(2):  # what was found out once is remembered
            with pytest.raises(NotImplementedError) as refused:
                call()
            assert str(refused.value) == Rules(*rules).not_implemented(operator).message


NO_CUMSUM = "MPS does not support cumsum op with int64 input. Support has been added in macOS 13.3"
NO_MATMUL = "MPS device does not support mm for non-float inputs"


@pytest.mark.parametrize(
    ("rules", "call", "message"),
    [
        (((2, 1), (13, 2)), lambda: there(2).long().cumsum(0), NO_CUMSUM),
        (((2, 1), (13, 3)), lambda: there(2).long().cumsum(0), None),
        (((2, 1), (13, 2)), lambda: there(2).cumsum(0), None),
        (((2, 9), (14, 0)), lambda: there(2).long().cumsum(0), None),
        (OLD, lambda: there(2, 2).int() @ there(2, 2).int(), NO_MATMUL),
        (OLD, lambda: there(2, 2).int().matmul(there(2, 2).int()), NO_MATMUL),
        (((2, 7), (14, 0)), lambda: there(2, 2).int() @ there(2, 2).int(), None),
        (((2, 0), (13, 3)), lambda: there(2, 2).long().max(0), "MPS does not support min/max ops with int64 input"),
    ],
)
@pytest.mark.parametrize("allowed", ["0", "1"])
def test_what_a_kernel_refuses_by_dtype_and_macos(
    mps: Mps,
    monkeypatch: pytest.MonkeyPatch,
    rules: tuple[tuple[int, int], tuple[int, int]],
    call: Callable[[], object],
    message: str | None,
    allowed: str,
) -> None:
    """A fallback is of no use: there is a kernel."""
    monkeypatch.setenv(VARIABLE, allowed)
    with mps(*rules):
        if message is None:
            call()
            return
        with pytest.raises(RuntimeError) as refused:
            call()
        assert str(refused.value) == message


def test_what_a_composite_operator_is_made_of_refuses_too(mps: Mps) -> None:
    with mps(*OLD), torch.inference_mode(), pytest.raises(RuntimeError, match="does not support log1p op with int64"):
        there(2).long().log1p()
    with mps(*OLD), torch.inference_mode(), pytest.raises(RuntimeError, match=NO_MATMUL):
        torch.linalg.multi_dot([there(2, 2).int(), there(2, 2).int()])


def test_what_a_kernel_leaves_to_the_cpu_is_told_once(mps: Mps) -> None:
    with mps((2, 1), (12, 3)), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        values = [there(3).sort().values.cpu() for _ in range(2)]
    assert [str(one.message) for one in told] == [
        "torch.sort is supported by MPS on MacOS 13+, please upgrade. Falling back to CPU"
    ]
    assert told[0].filename == __file__
    assert all(torch.equal(one, one.sort().values) for one in values)


def test_what_an_implicit_operator_is_made_of_in_inference_mode(mps: Mps) -> None:
    """There torch does not take it apart before the dispatch."""
    with mps(*OLD), torch.inference_mode(), pytest.raises(NotImplementedError, match="'aten::_ctc_loss'"):
        functional.ctc_loss(
            there(4, 1, 5),
            torch.tensor([[1, 2]], device="mps"),
            torch.tensor([4], device="mps"),
            torch.tensor([2], device="mps"),
        )


def test_the_cpu_computes_what_is_missing_and_a_process_is_warned_once(
    mps: Mps, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    given = torch.rand(3)
    with mps(*OLD), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        got = torch.lgamma(given.to("mps"))
        torch.mode(got)
        assert [str(one.message) for one in told] == [FALLBACK.format(op="aten::lgamma.out")]
        assert told[0].filename == __file__
        assert got.device.type == "mps"
        assert torch.equal(got.cpu(), given.lgamma())


def test_some_run_on_the_cpu_unasked(mps: Mps) -> None:
    with mps(*OLD), pytest.warns(UserWarning, match="will fall back") as told:
        functional.unfold(there(1, 1, 4, 4), 2)
    assert [str(one.message) for one in told] == [FALLBACK.format(op="aten::im2col")]


@pytest.mark.parametrize(
    ("made", "shape"),
    [
        (lambda: lambda x: functional.scaled_dot_product_attention(x, x, x), (1, 2, 3, 4)),
        (lambda: torch.nn.LSTM(4, 3), (2, 1, 4)),
        (lambda: torch.nn.Conv2d(1, 2, 3), (1, 1, 5, 5)),
        (lambda: torch.nn.ConvTranspose2d(1, 2, 3, dilation=2), (1, 1, 5, 5)),
        (lambda: torch.nn.MaxPool2d(2), (1, 1, 4, 4)),
        (lambda: torch.nn.TransformerEncoderLayer(4, 2, 8).eval(), (2, 1, 4)),
        (lambda: lambda x: functional.embedding(torch.tensor([1, 2], device="mps"), x), (4, 2)),
    ],
    ids=["attention", "LSTM", "convolution", "transposed", "pooling", "encoder", "embedding"],
)
@pytest.mark.parametrize("release", [(2, 0), (2, 1), (2, 5), (2, 13)])
def test_kernels_that_only_the_cpu_has_are_not_asked_for(
    mps: Mps, release: tuple[int, int], made: Callable[[], Any], shape: Any, seen: list[tuple[str, Kernel]]
) -> None:
    with mps(release, (14, 0)):
        function, given = made(), there(*shape)
        if isinstance(function, torch.nn.Module):
            function.to("mps")
        with torch.inference_mode():
            function(given)
        out = function(given.requires_grad_())
        (out[0] if isinstance(out, tuple) else out).sum().backward()
    assert seen
    assert {kernel.status for _, kernel in seen} <= {"kernel", "explicit", "composite"}


def test_what_mps_has_as_a_whole(mps: Mps) -> None:
    """The CPU takes these apart; MPS falls back, or has a kernel."""
    with mps(*OLD), pytest.warns(UserWarning, match="'aten::linalg_svd'"):
        torch.linalg.svd(there(2, 2))
    State.warned = False
    with mps(*OLD), pytest.warns(UserWarning, match=r"'aten::upsample_nearest3d\.vec'"):
        functional.interpolate(there(1, 1, 2, 2, 2), scale_factor=2.0)
    with mps((2, 6), (14, 0)):
        torch.linalg.lu_factor(there(2, 2))
    with mps((2, 4), (14, 0)), pytest.raises(NotImplementedError, match=r"'aten::linalg_lu_factor_ex\.out'"):
        torch.linalg.lu_factor(there(2, 2))


def test_finding_out_what_an_operator_is_made_of_changes_nothing(mps: Mps) -> None:
    """Each is the first of its kind: a composite kernel runs beside it."""
    with mps(*NEW):
        given, drawn = torch.arange(24.0).view(2, 3, 4), []
        changed = given.to("mps").div_(2)
        torch.add(changed, 1.0, out=changed)
        torch.ops.aten.add.Scalar_out(changed, -1.0, out=changed)
        changed.index_fill_(0, torch.tensor([0]).to("mps"), 1.0)
        torch._foreach_add_([changed], 1.0)
        changed = changed.cpu()
        for device in ("cpu", "mps"):
            torch.manual_seed(0)
            drawn.append(torch.rand_like(given.to(device)).cpu())
    expected = (given / 2).index_fill(0, torch.tensor([0]), 1.0) + 1
    assert torch.equal(changed, expected)
    assert torch.equal(*drawn)


@pytest.fixture
def own_operator() -> Iterator[Callable[[torch.Tensor], torch.Tensor]]:
    library: Any = torch.library.Library(  # type: ignore[no-untyped-call]
        "mps_patcher_test", "DEF"
    )
    library.define("twice(Tensor x) -> Tensor")
    library.impl("twice", lambda x: x + x, "CPU")
    yield torch.ops.mps_patcher_test.twice
    del library


def test_finding_out_ends(mps: Mps, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is run beside a call makes no calls beside which more is run."""
    ran: list[str] = []
    run = asked._run_beside

    def counted(func: Any, *rest: Any) -> Any:
        ran.append(str(func))
        return run(func, *rest)

    monkeypatch.setattr(asked, "_operators", {})
    monkeypatch.setattr(asked, "_run_beside", counted)
    with mps(*NEW):
        there(2, 3).t().contiguous().fill_(1.0).zero_().detach().to(torch.int32).clone()
    assert 5 < len(ran) < 20


def test_what_nobody_knows_is_let_through(
    mps: Mps, own_operator: Callable[[torch.Tensor], torch.Tensor], seen: list[tuple[str, Kernel]]
) -> None:
    with mps(*OLD):
        assert own_operator(torch.ones(1).to("mps")).tolist() == [2.0]
    assert ("mps_patcher_test::twice.", "unknown") in [(name, kernel.status) for name, kernel in seen]


def test_two_devices_are_no_matter_to_the_cpu(mps: Mps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    with mps(*OLD), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert operators.current_rules().missing("aten::isin", "Tensor_Tensor")
        assert torch.isin(torch.tensor([1, 2]).to("mps"), torch.tensor([2])).tolist() == [False, True]


def test_what_an_operator_is_made_of_is_not_concluded_from_an_error(mps: Mps) -> None:
    with mps(*OLD), torch.inference_mode():
        window = torch.ones(8).to("mps")
        with pytest.raises(RuntimeError, match="expected 0 < n_fft"):
            torch.stft(there(4), 8, window=window, center=False, return_complex=True)
        with pytest.raises(NotImplementedError, match="'aten::_fft_r2c'"):
            torch.stft(there(20), 8, window=window, center=False, return_complex=True)


class Generates:
    """A model that needs an operator to generate."""

    main_input_name = "input_ids"

    def __init__(self, operator: Callable[[torch.Tensor], object]) -> None:
        self.operator = operator

    def to(self, _device: str) -> Generates:
        return self

    def generate(self, input_ids: torch.Tensor, **_: Any) -> torch.Tensor:
        self.operator(input_ids.float())
        return input_ids


LACKS = " with PYTORCH_ENABLE_MPS_FALLBACK=1; MPS of torch 2.1 lacks"
LGAMMA = "aten::lgamma.out (since torch 2.2)"


@pytest.mark.parametrize(
    ("operator", "told"),
    [
        (torch.abs, ""),
        (torch.lgamma, f"{LACKS} {LGAMMA}"),
        (
            lambda x: (torch.mode(x), x.lgamma()),
            f"{LACKS} aten::lgamma.out (since torch 2.2), aten::mode (in no torch)",
        ),
    ],
)
def test_verify_tells_what_generating_needs_and_a_torch_lacks(
    monkeypatch: pytest.MonkeyPatch, operator: Callable[[torch.Tensor], object], told: str
) -> None:
    monkeypatch.setattr(generation, "models", lambda: {"it": lambda: Generates(operator)})
    assert checks.generate(device.choose("emulated", "2.1", None)) == "12 runs of it gave the CPU's tokens" + told


def test_verify_fails_where_isin_is_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation, "models", lambda: {"it": lambda: Generates(lambda x: torch.isin(x, x))})
    with pytest.raises(checks.Failed, match=r"12 of 12 runs failed.*'aten::isin\.Tensor_Tensor_out'"):
        checks.generate(device.choose("emulated", "2.1", None))


@pytest.mark.skipif(not hasattr(torch, "_safe_softmax"), reason="this torch has no such operator either")
def test_attention_of_a_newer_torch(mps: Mps, seen: list[tuple[str, Kernel]]) -> None:
    """Its math is what MPS computes. Since torch 2.5 it asks for aten::_safe_softmax."""
    with mps(*OLD):
        mask = (torch.rand(3, 3) > 0.1).to("mps")
        query = there(1, 2, 3, 4).requires_grad_()
        functional.scaled_dot_product_attention(query, query, query, attn_mask=mask, dropout_p=0.1)
        torch._safe_softmax(there(2), 0)
    assert {kernel.status for _, kernel in seen} <= {"kernel", "explicit", "composite"}


@pytest.mark.parametrize("derived", [lambda x: x.max(1)[0], lambda x: x.cumprod(1), lambda x: x.sort(1)[0]])
def test_derivatives_that_make_tensors(mps: Mps, derived: Callable[[torch.Tensor], torch.Tensor]) -> None:
    given = torch.rand(2, 3).add(1).requires_grad_()
    derived(given).sum().backward()  # type: ignore[no-untyped-call]
    with mps(*NEW):
        moved = (given.detach().to("mps")).requires_grad_()
        derived(moved * 1).sum().backward()  # type: ignore[no-untyped-call]
        assert moved.grad is not None
        assert given.grad is not None
        assert torch.allclose(moved.grad.cpu(), given.grad)


def volume(transposed: bool = False, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    convolve = functional.conv_transpose3d if transposed else functional.conv3d
    return convolve(torch.ones(1, 1, 2, 2, 2, device="mps", dtype=dtype), torch.ones(1, 1, 1, 1, 1).to("mps", dtype))


TRANSPOSED = "ConvTranspose 3D is not supported on MPS"
HALF = "ConvTranspose 3D with BF16 or FP16 types is not supported on MPS"


@pytest.mark.parametrize(
    ("torch_release", "macos", "made", "message"),
    [
        ((2, 2), (14, 0), volume, "Conv3D is not supported on MPS"),
        ((2, 3), (13, 1), volume, "Conv3D is only supported on MPS for MacOS_13_2 or newer"),
        ((2, 3), (13, 2), volume, None),
        ((2, 9), (14, 0), volume, None),
        ((2, 0), (13, 2), lambda: volume(transposed=True), TRANSPOSED),
        ((2, 7), (14, 0), lambda: volume(transposed=True), TRANSPOSED),
        ((2, 8), (13, 0), lambda: volume(transposed=True), None),
        ((2, 14), (15, 0), lambda: volume(transposed=True, dtype=torch.float16), HALF),
        (
            (2, 1),
            (13, 0),
            lambda: functional.conv2d(torch.ones(1, 1, 2, 2).to("mps"), torch.ones(1, 1, 1, 1).to("mps")),
            None,
        ),
    ],
)
def test_convolutions_of_volumes(
    mps: Mps, torch_release: Version, macos: Version, made: Callable[[], torch.Tensor], message: str | None
) -> None:
    with mps(torch_release, macos):
        if message is None:
            assert made().device.type == "mps"
        else:
            with pytest.raises(RuntimeError, match=f"^{message}$"):
                made()


def test_normalizing_groups_asks_for_nothing_that_is_missing(mps: Mps, seen: list[tuple[str, Kernel]]) -> None:
    """Releases up to 2.12 make it, and its derivative, of other operators: in Python."""
    with mps(*OLD):
        given = there(2, 4, 3).requires_grad_()
        functional.group_norm(given, 2, there(4), there(4)).sum().backward()  # type: ignore[no-untyped-call]
    assert "missing" not in {kernel.status for _, kernel in seen}

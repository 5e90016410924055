"""The part of `evaluate` that runs on torch: padding, cutting, and telling a tie from a fault."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from save_model import save

from patcher.evaluator import agreement, devices, models, prompts, runner
from patcher.evaluator.failures import Failure, explained
from patches.isin_mps_friendly.replacement import isin_mps_friendly

SCENARIOS = [{"id": f"s{n}", "prompt": "w5 w6" + " w7 w8 w9" * n} for n in range(3)]
Change = Callable[[Any], None]


@pytest.fixture(scope="module", params=["Llama", "T5"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save(str(folder), request.param)
    return folder


@pytest.fixture(autouse=True)
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers has the fixed function, as `evaluate` sees to."""
    importlib.import_module("transformers.generation.utils")
    for name, module in list(sys.modules.items()):
        if name.startswith("transformers.") and "isin_mps_friendly" in vars(module):
            monkeypatch.setattr(module, "isin_mps_friendly", isin_mps_friendly)


@pytest.fixture
def evaluate(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Any]]:
    """`evaluate(change)` gives the rows for a model whose copy on the emulated device was changed before it ran."""
    scenarios = tmp_path / "scenarios.jsonl"
    scenarios.write_text("".join(json.dumps(one) + "\n" for one in SCENARIOS))
    load = models.load_model

    def run(on_device: Change, everywhere: Change = lambda _: None, **more: Any) -> list[Any]:
        def changed(name: str, config: Any, dtype: str, device: devices.Device) -> Any:
            model = load(name, config, dtype, devices.available()["cpu"])
            everywhere(model)
            if device.name == "mps":
                on_device(model)
            with device.active():
                return model.to(device.name)

        monkeypatch.setattr(models, "load_model", changed)
        request = {
            "model": str(folder), "scenarios": str(scenarios), "max_new_tokens": 5, "batch_size": 2,
            "dtype": "float32", "warmup": 1, "repeat": 1, "seed": None, **more,
        }  # fmt: skip
        rows: list[Any] = []
        runner.evaluate(request, devices.choose(None), 0, rows.extend, lambda _event, **_details: None)
        return rows

    return run


def head(model: Any) -> torch.Tensor:
    """Its output layer's weights: a row a token. Scores are their products with one vector."""
    weights: torch.Tensor = model.get_output_embeddings().weight.data
    return weights


def test_equal_devices_agree(evaluate: Callable[..., list[Any]]) -> None:
    for row in evaluate(lambda _: None):
        assert row["outputs"]["cpu"]["tokens"] == row["outputs"]["mps"]["tokens"]
        assert row["differences"] == {"mps": None}


def test_a_device_that_computes_wrong_is_a_fault(evaluate: Callable[..., list[Any]]) -> None:
    rows = evaluate(lambda model: head(model).neg_())
    differences = [row["differences"]["mps"] for row in rows]
    assert [found["kind"] for found in differences] == ["fault"] * 3
    for row, found in zip(rows, differences, strict=True):
        assert found["position"] == 0
        for side, name in (("reference", "cpu"), ("other", "mps")):
            assert found[side]["token"] == row["outputs"][name]["tokens"][0]
            own, other = found[side]["logits"]
            assert own > other + 0.1  # each device clearly prefers its own


def test_an_error_that_shows_late_is_found_there(evaluate: Callable[..., list[Any]], folder: Path) -> None:
    """A token that the CPU takes late in the first scenario is never taken by the device."""
    plain = evaluate(lambda _: None)[0]["outputs"]["cpu"]["tokens"]
    position = max(map(plain.index, plain))
    assert position > 0

    def forget(model: Any) -> None:
        model.generation_config.suppress_tokens = [plain[position]]

    found = evaluate(forget)[0]["differences"]["mps"]
    assert (found["position"], found["kind"]) == (position, "fault")
    assert found["reference"]["token"] == plain[position]
    assert found["other"]["logits"][1] is None  # minus infinity, which JSON does not have
    tokens = [found[side]["token"] for side in ("reference", "other")]
    assert found["reference"]["logits"] == pytest.approx(scores(folder)[position][tokens].tolist(), abs=1e-4)


def scores(folder: Path) -> list[torch.Tensor]:
    """What the CPU chose each token of the first scenario by."""
    config, tokenizer = models.load_config(str(folder)), models.load_tokenizer(str(folder))
    model = models.load_model(str(folder), config, "float32", devices.available()["cpu"])
    inputs = tokenizer(SCENARIOS[0]["prompt"], return_tensors="pt", return_token_type_ids=False)
    done = model.generate(**inputs, do_sample=False, max_new_tokens=5, output_scores=True, return_dict_in_generate=True)
    return [step[0] for step in done.scores]


def test_a_batch_does_not_change_what_is_generated(evaluate: Callable[..., list[Any]]) -> None:
    together, alone = (evaluate(lambda _: None, batch_size=size) for size in (3, 1))
    assert len({len(row["prompt"]) for row in together}) == 3
    for one, other in zip(together, alone, strict=True):
        assert one["outputs"]["cpu"]["tokens"] == other["outputs"]["cpu"]["tokens"]


def test_two_tokens_as_good_as_equal_are_a_tie(evaluate: Callable[..., list[Any]]) -> None:
    """Tokens 40 and 41 have one weight between them and win everywhere; on the device one is better by a hair."""

    def twins(model: Any) -> None:
        head(model).zero_()
        head(model)[40:42] = 1e-3
        model.generation_config.suppress_tokens = [token for token in range(64) if token not in (40, 41)]

    def nudge(sign: int) -> Change:
        def change(model: Any) -> None:
            head(model)[41] *= 1 + sign * 1e-4

        return change

    rows = [row for sign in (1, -1) for row in evaluate(nudge(sign), twins)]
    found = [row["differences"]["mps"] for row in rows if row["differences"]["mps"]]
    assert len(found) >= 3  # the sign of the sum decides which nudge makes a difference
    assert {one["kind"] for one in found} == {"tie"}
    assert {(one["reference"]["text"], one["other"]["text"]) for one in found} == {("w40", "w41")}


def test_with_sampling_nothing_is_judged(evaluate: Callable[..., list[Any]]) -> None:
    assert [row["differences"] for row in evaluate(lambda model: head(model).neg_(), seed=1)] == [{"mps": None}] * 3


@pytest.mark.parametrize(
    ("tokens", "others", "position"), [([1, 2], [1, 2], None), ([1, 2], [1, 3], 1), ([1, 2], [1], 1), ([], [4], 0)]
)
def test_the_first_difference(tokens: list[int], others: list[int], position: int | None) -> None:
    assert agreement.first_difference(tokens, others) == position


def test_rows_are_padded_on_the_side_of_the_model() -> None:
    ids, mask = prompts.padded([[5, 6, 7], [8]], 0, left=True)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [0, 0, 8]], [[1, 1, 1], [0, 0, 1]])
    ids, mask = prompts.padded([[5, 6, 7], [8]], 9, left=False)
    assert (ids.tolist(), mask.tolist()) == ([[5, 6, 7], [8, 9, 9]], [[1, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("tokenizer", "model", "chosen"),
    [
        ((7, 2), (8, 2), (7, {2})),
        ((None, 2), (8, [3, 2]), (8, {2, 3})),
        ((None, 1), (None, [4, 3]), (3, {3, 4})),
        ((None, 2), (None, None), (2, {2})),
        ((None, None), (None, None), (0, set())),
    ],
)
def test_what_stands_in_for_a_pad_token(tokenizer: Any, model: Any, chosen: Any) -> None:
    """Pad and end token, of either, as they are chosen."""
    config = SimpleNamespace(pad_token_id=model[0], eos_token_id=model[1])
    named = SimpleNamespace(pad_token_id=tokenizer[0], eos_token_id=tokenizer[1])
    settings = models.choose_settings(SimpleNamespace(generation_config=config), named, 5, None)
    assert (settings.pad, settings.ends) == chosen


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB, other allocations: 1.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] . DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ],
)
def test_lack_of_memory_is_told_as_that(error: Exception) -> None:
    with pytest.raises(Failure) as caught, explained("generation-failed", "generating", "mps"):
        raise error
    assert (caught.value.code, caught.value.message) == ("out-of-memory", "Out of memory on mps while generating.")


def test_other_errors_are_told_in_one_line() -> None:
    with pytest.raises(Failure) as caught, explained("generation-failed", "generating", "mps"):
        raise NotImplementedError("The operator\n'aten::x' is not implemented " + "x" * 1000)
    assert caught.value.code == "generation-failed"
    start = "On mps, generating failed: NotImplementedError: The operator 'aten::x' is not implemented x"
    assert caught.value.message.startswith(start)
    assert len(caught.value.message) < 400


def test_memory_is_in_bytes() -> None:
    peak = devices.available()["cpu"].peak_memory()
    assert peak is not None
    assert 100e6 < peak < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert devices.emulated_device().peak_memory() is None


def test_without_an_accelerator_mps_is_emulated() -> None:
    if len(devices.available()) > 1:
        pytest.skip("there is an accelerator here")
    assert [(one.name, one.kind) for one in devices.choose(None)] == [("cpu", "cpu"), ("mps", "emulated-mps")]
    with pytest.raises(Failure, match=r"There is no CUDA device for torch .* on this machine; there is: cpu"):
        devices.choose(["cpu", "cuda"])


def test_it_is_written_for_a_target_that_has_nothing_of_ours() -> None:
    assert "click" not in sys.modules

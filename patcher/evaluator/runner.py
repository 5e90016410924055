"""The evaluation itself: every batch on every device in turn, and what came of it."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from . import models
from .agreement import judge
from .devices import Device
from .failures import explained
from .models import Loaded
from .prompts import Batch, batches, check_lengths, read_prompts

Request = Dict[str, Any]
Row = Dict[str, Any]


class Measured(NamedTuple):
    """What one device made of a batch."""

    tokens: List[List[int]]
    """Of each scenario what was generated, in the first repeat."""
    seconds: List[float]
    """Of each repeat, for the whole batch."""


def evaluate(
    request: Request,
    devices: List[Device],
    done: int,
    store: Callable[[List[Row]], None],
    tell: Callable[..., None],
) -> None:
    """Generates for every scenario but the first `done`; each batch is stored before the next begins.

    Before a model is loaded, all prompts are tokenized once and checked. Raises Failure.
    """
    tokenizer, loaded = _prepare(request, devices, tell)
    scenarios = request["scenarios"]
    _warm_up(request, loaded, batches(read_prompts(scenarios, tokenizer), request["batch_size"]))
    tell("started")
    for batch in batches(read_prompts(scenarios, tokenizer, done), request["batch_size"]):
        measured = measure(loaded, batch, request["repeat"])
        store(results(request, loaded, batch, measured, tokenizer))
        tell("progress", done=batch.prompts[-1].row + 1)


def _prepare(request: Request, devices: List[Device], tell: Callable[..., None]) -> Tuple[Any, List[Loaded]]:
    config, tokenizer = models.load_config(request["model"]), models.load_tokenizer(request["model"])
    tell("stage", text="checking the prompts")
    check_lengths(read_prompts(request["scenarios"], tokenizer), config, request["max_new_tokens"])
    loaded = []
    for device in devices:
        tell("stage", text="loading the model on %s" % device.name)
        model = models.load_model(request["model"], config, request["dtype"], device)
        settings = models.choose_settings(model, tokenizer, request["max_new_tokens"], request["seed"])
        loaded.append(Loaded(device, model, settings))
    if models.pad_token(loaded[0].model, tokenizer) is None and request["batch_size"] > 1:
        tell("note", text="The model has no pad token; token %d, masked, is used instead." % loaded[0].settings.pad)
    return tokenizer, loaded


def _warm_up(request: Request, loaded: List[Loaded], some: Any) -> None:
    """Runs the first scenarios on every device without counting them: kernels are compiled and memory is reserved."""
    left = request["warmup"]
    while left > 0:
        batch = next(some, None)
        if batch is None:
            return
        measure(loaded, batch, 1)
        left -= len(batch.prompts)


def measure(loaded: List[Loaded], batch: Batch, repeat: int) -> List[Measured]:
    """The batch on each device in turn, `repeat` times over, so that what drifts hurts all of them."""
    runs: List[List[Tuple[List[List[int]], float]]] = [[] for _ in loaded]
    for _ in range(repeat):
        for one, found in zip(loaded, runs):
            with explained("generation-failed", "generating for scenario %r" % batch.prompts[0].id, one.device.name):
                found.append(_timed(one, batch))
    return [Measured(found[0][0], [seconds for _, seconds in found]) for found in runs]


def _timed(loaded: Loaded, batch: Batch) -> Tuple[List[List[int]], float]:
    """The new tokens of each row, and the seconds that generate() took until the device was done."""
    device = loaded.device
    with device.active():
        inputs = models.inputs_of(loaded, [prompt.tokens for prompt in batch.prompts])
        device.synchronize()
        start = time.perf_counter()
        output = models.generate(loaded, inputs, batch.number)
        device.synchronize()
        seconds = time.perf_counter() - start
        rows = output.cpu().tolist()
    width = inputs["input_ids"].shape[1]
    return [models.new_tokens(row, width, loaded) for row in rows], seconds


def results(
    request: Request, loaded: List[Loaded], batch: Batch, measured: List[Measured], tokenizer: Any
) -> List[Row]:
    """The lines of the results file for a batch."""
    memory = {one.device.name: one.device.peak_memory() for one in loaded}
    rows = []
    for number, prompt in enumerate(batch.prompts):
        tokens = [found.tokens[number] for found in measured]
        texts = [tokenizer.decode(found, skip_special_tokens=True) for found in tokens]
        outputs = {
            one.device.name: {
                "tokens": found,
                "text": text,
                "seconds": times.seconds,
                "exact": None if prompt.expected is None else text.strip() == prompt.expected.strip(),
            }
            for one, found, text, times in zip(loaded, tokens, texts, measured)
        }
        rows.append({
            "index": prompt.row, "id": prompt.id, "prompt": prompt.text, "expected": prompt.expected,
            "batch": batch.number, "prompt_tokens": len(prompt.tokens), "outputs": outputs,
            "differences": _differences(request, loaded, prompt.tokens, tokens, tokenizer),
            "peak_memory": memory,
        })  # fmt: skip
    return rows


def _differences(
    request: Request, loaded: List[Loaded], prompt: List[int], tokens: List[List[int]], tokenizer: Any
) -> Row:
    """By device, the first difference from the first device. Sampling draws differ between devices: none is judged."""
    found: Row = {}
    for one, others in zip(loaded[1:], tokens[1:]):
        with explained("generation-failed", "comparing the devices' scores", one.device.name):
            found[one.device.name] = (
                None
                if request["seed"] is not None
                else judge(loaded[0], one, prompt, tokens[0], others, tokenizer, request["dtype"])
            )
    return found

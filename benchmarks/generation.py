"""How many tokens a second generate() gives with the fixed function, beside other membership tests and beside none.

    python benchmarks/generation.py [--runs 9] [--device cuda] [--tokens 256] [--layers 30]

Needs torch and transformers. No Mac is needed: what runs on MPS runs on the device, here CUDA where there is one, whose
launches stand in for Metal's. The model has the shape of SmolLM2-135M and random weights, in float32; its end token is
one that it cannot give, so every run is of the same length. Each round runs all variants one after the other; what is
printed are medians of the tokens a second, and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
import transformers
from function import body_b, fixed, loop, synchronize
from transformers import LlamaConfig, LlamaForCausalLM

Test = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
SHAPE = {"hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9, "num_key_value_heads": 3}
VOCABULARY = 49152


def main() -> None:
    """Measures, and prints a table."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9, metavar="N", help="rounds to take the median of [default: 9]")
    parser.add_argument("--device", default=best, metavar="NAME", help=f"cuda or cpu [default: {best}]")
    parser.add_argument("--tokens", type=int, default=256, metavar="N", help="new tokens of each run [default: 256]")
    parser.add_argument("--layers", type=int, default=30, metavar="N", help="layers of the model [default: 30]")
    asked = parser.parse_args()
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({platform.machine()})"
    date = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, {date}; {asked.runs} rounds of")
    print(f"{asked.tokens} new tokens. Tokens a second and, in brackets, the ratio to no test at all.\n")
    model = make_model(asked.layers, device)
    tests = variants(device)
    print(f"| batch, end tokens | {' | '.join(tests)} |")
    print("|---" * (1 + len(tests)) + "|")
    for batch, ends in ((1, 1), (8, 1), (1, 3), (8, 3)):
        rates = measure(model, tests, batch, list(range(VOCABULARY, VOCABULARY + ends)), asked.tokens, asked.runs)
        print(line(f"{batch}, {ends}", rates), flush=True)


def make_model(layers: int, device: torch.device) -> Any:
    """A decoder of that many layers."""
    torch.manual_seed(0)
    config = LlamaConfig(num_hidden_layers=layers, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2, **SHAPE)
    return LlamaForCausalLM(config).eval().to(device)


def variants(device: torch.device) -> dict[str, Test]:
    """By name: the membership test of a run."""
    answers: dict[torch.Size, torch.Tensor] = {}

    def none(elements: torch.Tensor, _tests: torch.Tensor) -> torch.Tensor:
        if elements.shape not in answers:
            answers[elements.shape] = torch.zeros(elements.shape, dtype=torch.bool, device=device)
        return answers[elements.shape]

    return {"none": none, "fixed": fixed(device), "loop": loop, "body B": body_b, "torch.isin": torch.isin}


@contextmanager
def testing_with(test: Test) -> Iterator[None]:
    """Within: what transformers calls is `test`, wherever it was imported to."""

    def called(elements: torch.Tensor, test_elements: torch.Tensor) -> torch.Tensor:
        return test(elements, test_elements if test_elements.ndim else test_elements.view(1))  # body B needs that

    name = "isin_mps_friendly"
    places: list[tuple[Any, str, Any]] = [(torch, "isin", torch.isin)]
    loaded = [module for key, module in sys.modules.items() if key.startswith("transformers.")]
    places += [(module, name, vars(module)[name]) for module in loaded if name in vars(module)]
    try:
        for module, attribute, _ in places:
            setattr(module, attribute, called)
        yield
    finally:
        for module, attribute, before in places:
            setattr(module, attribute, before)


def measure(
    model: Any, tests: dict[str, Test], batch: int, ends: list[int], tokens: int, runs: int
) -> dict[str, list[float]]:
    """By name: tokens a second, round by round."""
    ids = torch.randint(VOCABULARY, (batch, 16), device=model.device)
    rates: dict[str, list[float]] = {name: [] for name in tests}
    for number in range(runs + 1):
        for name, test in tests.items():
            with testing_with(test):
                taken = seconds(model, ids, ends, tokens)
            if number:  # the first round warms up
                rates[name].append(batch * tokens / taken)
    return rates


def seconds(model: Any, ids: torch.Tensor, ends: list[int], tokens: int) -> float:
    """Seconds of one generate()."""
    synchronize(model.device)
    start = time.perf_counter()
    mask = torch.ones_like(ids)
    options = {"max_new_tokens": tokens, "do_sample": False, "eos_token_id": ends, "pad_token_id": 0}
    out = model.generate(ids, attention_mask=mask, **options)
    synchronize(model.device)
    if out.shape[1] != ids.shape[1] + tokens:
        raise ValueError(f"generate() gave {out.shape[1] - ids.shape[1]} tokens")
    return time.perf_counter() - start


def line(name: str, rates: dict[str, list[float]]) -> str:
    """A line of the table."""
    ratios = {
        other: median(own / none for own, none in zip(rates[other], rates["none"], strict=True)) for other in rates
    }
    return f"| {name} | " + " | ".join(f"{median(rates[other]):.1f} ({ratios[other]:.4f})" for other in rates) + " |"


if __name__ == "__main__":
    main()

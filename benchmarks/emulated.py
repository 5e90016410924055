"""What the rules of the emulated device cost: generate() of the self-test's models with them, beside without them.

    PYTHONPATH=. PYTHON benchmarks/emulated.py [--runs 15] [--torch 2.1]

PYTHON has torch and transformers, such as what `python tests/support/torch_env.py current` prints. Without rules, each
operator still goes through Python and makes emulated tensors. Each round runs both one after the other; what is printed
are medians of the processor's milliseconds, and of the ratios within a round.
"""

from __future__ import annotations

import argparse
import datetime
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import torch
import transformers
from function import fixed
from generation import testing_with

from patcher.selftest import emulated, generation, operators
from patcher.selftest.operators import EmulatedTensor
from patcher.selftest.rules import choose_rules

AT_MOST = 1.3


def main() -> None:
    """Measures, and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15, metavar="N", help="rounds to take the median of [default: 15]")
    parser.add_argument("--torch", default="2.1", metavar="X.Y", help="the release whose rules hold [default: 2.1]")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    date = datetime.datetime.now(tz=datetime.UTC).date()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, rules of torch {asked.torch}, {date};")
    print(f"{asked.runs} rounds of the {len(generation.runs())} runs of each model. At most {AT_MOST}.\n")
    print("| model | without rules, ms | with rules, ms | ratio |")
    print("|---|---|---|---|")
    rules = choose_rules(asked.torch, None, torch.__version__)
    for name, build in generation.models().items():
        with emulated.emulated(rules), testing_with(fixed(torch.device("mps"))):
            print(line(name, measure(build().to("mps"), asked.runs)), flush=True)


@contextmanager
def without_rules() -> Iterator[None]:
    """Within: the emulated device allows everything."""
    given: Any = vars(EmulatedTensor)["__torch_dispatch__"]

    def dispatch(_cls: Any, func: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with operators.below_dispatch():
            return operators._on_device(func(*args, **(kwargs or {})))

    kind: Any = EmulatedTensor
    rules = operators.current_rules()
    kind.__torch_dispatch__, operators.State.rules = classmethod(dispatch), None
    try:
        yield
    finally:
        kind.__torch_dispatch__, operators.State.rules = given, rules


def measure(model: Any, runs: int) -> list[tuple[float, float]]:
    """Milliseconds without and with rules, round by round."""
    taken = []
    for number in range(runs + 1):
        with without_rules():
            without = milliseconds(model)
        with_rules = milliseconds(model)
        if number:  # the first round warms up
            taken.append((without, with_rules))
    return taken


def milliseconds(model: Any) -> float:
    """The processor's milliseconds for all runs."""
    start = time.process_time()
    for run in generation.runs():
        generation.tokens(model, run, "mps")
    return 1000 * (time.process_time() - start)


def line(name: str, taken: list[tuple[float, float]]) -> str:
    """A line of the table."""
    without, with_rules = (median(column) for column in zip(*taken, strict=True))
    ratio = median(after / before for before, after in taken)
    return f"| {name} | {without:.0f} | {with_rules:.0f} | {ratio:.2f} |"


if __name__ == "__main__":
    main()

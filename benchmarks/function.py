"""How fast the fixed function is and what memory it takes, beside other ways to test for membership, as a table.

    python benchmarks/function.py [--runs 25] [--device cuda]

Needs torch: run it with the interpreter that `python tests/support/torch_env.py current` prints. No Mac is needed: the
function's branch for MPS runs on the device, here CUDA where there is one, whose launches stand in for Metal's.
Each round times all variants one after the other, so that whatever else the machine does falls on all alike. An int is
given to the others as the tensor that they need on MPS; on CUDA `torch.isin` takes it too, and is `eq` then.
"""

from __future__ import annotations

import argparse
import ctypes
import datetime
import platform
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

REPLACEMENT = Path(__file__).parents[1] / "patches" / "isin_mps_friendly" / "replacement.py"
RESET = Path("/proc/self/clear_refs")
BATCH = 0.004
"""Seconds of calls between two looks at the clock: as in generate(), no call is waited for."""
ABOUT = """\
{}, torch {}, {}; medians of {} rounds.
Microseconds a call and, after a comma, MiB at the peak beyond operands and result; then the fixed function's time as a
share of the others'. A dash where the result is not that of `torch.isin`.
"""

Call = Callable[[], Any]
Measured = tuple[float, "int | None"]
"""Seconds a call, and bytes at its peak."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints a table."""
    best = "cuda" if torch.cuda.is_available() else "cpu"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=25, metavar="N", help="rounds to take the median of [default: 25]")
    parser.add_argument("--device", default=best, metavar="NAME", help=f"cuda or cpu [default: {best}]")
    asked = parser.parse_args(arguments)
    device = torch.device(asked.device)
    name = torch.cuda.get_device_name() if device.type == "cuda" else f"CPU ({platform.machine()})"
    print(ABOUT.format(name, torch.__version__, datetime.datetime.now(tz=datetime.UTC).date(), asked.runs))
    print("| elements, tests | fixed | loop | body B | torch.isin | of loop | of body B | of torch.isin |")
    print("|---" * 8 + "|")
    torch.manual_seed(0)
    for row, elements, tests in rows(device):
        print(line(row, measure(variants(elements, tests), device, asked.runs)), flush=True)


def rows(device: torch.device) -> list[tuple[str, torch.Tensor, torch.Tensor | int]]:
    """A name and operands: token ids as generate() has them, and more of them."""

    def ids(count: int) -> torch.Tensor:
        return torch.randint(128256, (count,), device=device)

    grid = ids(8 * 64).view(8, 64)
    return [
        ("1, 1", ids(1), ids(1)),
        ("8, 3", ids(8), ids(3)),
        ("64, 8", ids(64), ids(8)),
        ("a column of 8 rows, 1", grid[:, -1], ids(1)),
        ("8 x 64, an int", grid, 2),
        ("128256, an int", ids(128256), 2),
        ("128256, 1", ids(128256), ids(1)),
        ("128256, 100", ids(128256), ids(100)),
        ("262144, 1000", ids(262144), ids(1000)),
        ("1000000, 1000", ids(1000000), ids(1000)),
    ]


def variants(elements: torch.Tensor, tests: torch.Tensor | int) -> dict[str, Call]:
    """By name: the call that is timed."""
    tensor = torch.full((1,), tests, device=elements.device) if isinstance(tests, int) else tests
    others: dict[str, Callable[..., Any]] = {"loop": loop, "body B": body_b, "torch.isin": torch.isin}
    own = partial(fixed(elements.device), elements, tests)
    return {"fixed": own, **{name: partial(variant, elements, tensor) for name, variant in others.items()}}


def fixed(device: torch.device) -> Callable[..., Any]:
    """The fixed function, with the device in the place of MPS."""
    names: dict[str, Any] = {}
    source = REPLACEMENT.read_text(encoding="utf-8").replace('"mps"', f'"{device.type}"')
    exec(compile(source, str(REPLACEMENT), "exec"), names)  # noqa: S102 - our own code
    function: Callable[..., Any] = names["isin_mps_friendly"]
    return function


def loop(elements: torch.Tensor, tests: torch.Tensor) -> torch.Tensor:
    """One comparison and one `or` for each test element."""
    found = torch.zeros(elements.shape, dtype=torch.bool, device=elements.device)
    for test in tests.reshape(-1):
        found = found | (elements == test)
    return found


def body_b(elements: torch.Tensor, tests: torch.Tensor) -> torch.Tensor:
    """What transformers 4.46.2 to 5.0 do on MPS with torch before 2.4, less the copy that warns."""
    return elements.tile(tests.shape[0], 1).eq(tests.unsqueeze(1)).sum(dim=0).bool().squeeze()


def measure(calls: dict[str, Call], device: torch.device, runs: int) -> dict[str, Measured]:
    """By name: the medians, without the variants that are wrong for these operands."""
    expected = calls["torch.isin"]().view(-1)
    right = {name: call for name, call in calls.items() if torch.equal(call().view(-1), expected)}
    sizes = {name: memory(call, device) for name, call in right.items()}
    counts = {name: max(1, int(BATCH / seconds(call, device, 3))) for name, call in right.items()}
    taken: dict[str, list[float]] = {name: [] for name in right}
    for _ in range(runs):
        for name, call in right.items():
            taken[name].append(seconds(call, device, counts[name]))
    return {name: (median(taken[name]), sizes[name]) for name in right}


def seconds(call: Call, device: torch.device, count: int) -> float:
    """Seconds a call, of so many in a row."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        call()
    synchronize(device)
    return (time.perf_counter() - start) / count


def synchronize(device: torch.device) -> None:
    """Waits until the device has done what it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def memory(call: Call, device: torch.device) -> int | None:
    """Bytes at the peak of a call beyond operands and result; on the CPU, the process's, where Linux tells them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before, size = torch.cuda.memory_allocated(device), call().numel()
        return int(max(0, torch.cuda.max_memory_allocated(device) - before - size))
    if not RESET.exists():
        return None
    getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what earlier calls have freed
    RESET.write_text("5")  # the peak begins anew
    before, size = resident(), call().numel()
    return int(max(0, resident() - before - size))


def resident() -> int:
    """The most bytes that the process has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


def line(row: str, measured: dict[str, Measured]) -> str:
    """A line of the table."""
    names = ("fixed", "loop", "body B", "torch.isin")
    cells = [cell(*measured[name]) if name in measured else "-" for name in names]
    own = measured["fixed"][0]
    shares = [f"{own / measured[name][0]:.2f}" if name in measured else "-" for name in names[1:]]
    return f"| {' | '.join([row, *cells, *shares])} |"


def cell(taken: float, size: int | None) -> str:
    """`41.7, 12.3`: microseconds and MiB, which are left out below a tenth."""
    return f"{taken * 1e6:.1f}" + (f", {size / 2**20:.1f}" if size and size > 2**20 / 10 else "")


if __name__ == "__main__":
    main()

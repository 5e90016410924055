"""What the results say, as numbers. Pure: rows in, a document out.

- **Rates.** One sample a batch: its scenarios (or the tokens that it generated, end tokens included and padding not)
  by the median of its repeats' seconds. Repeats tell noise, and batches tell what the work is like: the median over
  repeats takes the noise out, and median, p10 and p90 over batches show the spread of the work. A last batch that is
  smaller than the others is left out, unless it is the only one.
- **Ratios.** The rate of a device by that of the first device, batch by batch, and then the median: both of a pair had
  the same work at about the same time.
- **Latency.** One sample a scenario: how long its batch took, since it has to wait for that.
- **Agreement.** The share of scenarios with the same tokens as on the first device. With sampling it is None: each
  device draws with a random generator of its own.
- **Exact match.** The share of the scenarios with an expected answer whose text is that, but for space around it.

An emulated device computes on the CPU, through Python: of it there are neither rates nor latencies nor memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

Document = dict[str, Any]


class _Tally:
    """What was seen of one device, a number or two a scenario."""

    def __init__(self) -> None:
        self.batches: dict[int, list[float]] = {}
        """Of each batch: its scenarios, its tokens, its seconds."""
        self.exact: list[bool] = []
        self.peak: int | None = None
        self.kinds: list[str] = []
        self.positions: list[int] = []

    def add(self, row: Document, name: str) -> None:
        """Counts what a row of the results says of the device."""
        output, difference = row["outputs"][name], row["differences"].get(name)
        batch = self.batches.setdefault(row["batch"], [0, 0, median(output["seconds"])])
        batch[0] += 1
        batch[1] += len(output["tokens"])
        if output["exact"] is not None:
            self.exact.append(output["exact"])
        if (peak := row["peak_memory"].get(name)) is not None:
            self.peak = max(peak, self.peak or 0)
        if difference:
            self.kinds.append(difference["kind"])
            self.positions.append(difference["position"])

    def rates(self, of: int) -> dict[int, float]:
        """By batch, scenarios (`of` 0) or tokens (`of` 1) per second."""
        size = max((batch[0] for batch in self.batches.values()), default=0)
        return {number: batch[of] / batch[2] for number, batch in self.batches.items() if batch[0] == size}

    def latencies(self) -> list[float]:
        """The seconds that each scenario waited, in ascending order."""
        return sorted(seconds for count, _, seconds in self.batches.values() for _ in range(int(count)))


def summarize(options: Document, rows: Iterable[Document]) -> Document:
    """The document of report.json. Times are in seconds, memory in bytes, shares from 0 to 1."""
    names = [device["name"] for device in options["devices"]]
    emulated = {device["name"] for device in options["devices"] if device["kind"] == "emulated-mps"}
    tallies, done = {name: _Tally() for name in names}, 0
    for row in rows:
        done += 1
        for name, tally in tallies.items():
            tally.add(row, name)
    first, *others = names
    is_judged = options["seed"] is None
    return {
        **options,
        "scenarios_done": done,
        "complete": done == options["scenarios"]["rows"],
        "by_device": {name: _device(tally, timed=name not in emulated) for name, tally in tallies.items()},
        "ratios": {
            name: None if {first, name} & emulated else _ratios(tallies[name], tallies[first]) for name in others
        },
        "agreement": {name: _agreement(tallies[name], done) if is_judged else None for name in others},
    }


def _device(tally: _Tally, *, timed: bool) -> Document:
    latencies = tally.latencies() if timed else []
    return {
        "scenarios_per_second": _spread(tally.rates(0).values()) if timed else None,
        "tokens_per_second": _spread(tally.rates(1).values()) if timed else None,
        "latency_seconds": {
            "p10": quantile(latencies, 0.1), "p50": quantile(latencies, 0.5), "p90": quantile(latencies, 0.9),
            "max": latencies[-1],
        } if latencies else None,
        "peak_memory_bytes": tally.peak if timed else None,
        "exact_match": {"share": sum(tally.exact) / len(tally.exact), "of": len(tally.exact)} if tally.exact else None,
    }  # fmt: skip


def _spread(samples: Iterable[float]) -> Document | None:
    ordered = sorted(samples)
    if not ordered:
        return None
    return {"median": quantile(ordered, 0.5), "p10": quantile(ordered, 0.1), "p90": quantile(ordered, 0.9)}


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which that share of the ascending samples lies, interpolated between neighbours."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _ratios(tally: _Tally, first: _Tally) -> Document | None:
    names = ("scenarios_per_second", "tokens_per_second")
    found = [_ratio(tally.rates(of), first.rates(of)) for of in (0, 1)]
    return None if found[0] is None else dict(zip(names, found, strict=True))


def _ratio(rates: dict[int, float], first: dict[int, float]) -> float | None:
    pairs = [rate / first[number] for number, rate in rates.items() if first[number]]
    return median(pairs) if pairs else None


def _agreement(tally: _Tally, done: int) -> Document | None:
    if not done:
        return None
    return {
        "share": (done - len(tally.kinds)) / done,
        "of": done,
        "ties": tally.kinds.count("tie"),
        "faults": tally.kinds.count("fault"),
        "first_difference_positions": tally.positions,
    }

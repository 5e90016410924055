"""What the reports take from the results beside the numbers of report.json: some differing scenarios, and latencies."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any, NamedTuple

from patcher.evaluation.summary import quantile
from patcher.evaluation.words import END, NONE, device_name, quoted, visible

Document = dict[str, Any]
SHOWN = 100
"""How many differing scenarios a report shows."""
AROUND = 600
"""How many characters of an output are shown before its first differing token, and after it."""
PROMPT = 2000
"""How many characters of a prompt are shown."""


class Side(NamedTuple):
    """What one device made of a scenario, as text around the first differing token."""

    device: str
    """`cpu`, or `mps (emulated)`."""
    before: str
    token: str
    """Empty where this output ends here, or goes on with a special token, which is no text."""
    after: str
    name: str
    """What the token is called: its text, that of a special token too; empty where there is none."""
    own: float | None
    """The score of its token on this device; None where there is none, or it is no finite number."""
    other: float | None
    """The score of the other device's token on this device."""

    def marked(self) -> str:
        """What is shown as the first differing token: never empty."""
        return visible(self.token or self.name or END).replace("\n", "↵\n")


class Differing(NamedTuple):
    """A scenario of which two devices made different tokens."""

    id: str
    kind: str
    """`fault` or `tie`."""
    prompt: str
    expected: str | None
    position: int
    """How many tokens are the same."""
    sides: tuple[Side, ...]
    """Two: the first device's, and the other's."""

    def scores(self) -> tuple[tuple[str, float | None, float | None], ...]:
        """By device, the scores of the first side's token and of the other's, in that order on both."""
        one, two = self.sides
        return (one.device, one.own, one.other), (two.device, two.other, two.own)

    def table(self) -> list[tuple[str, ...]]:
        """The scores by which each device chose, and how close they are, as cells; the first row has the tokens."""
        heads = [f"\u2068{quoted(side.name)}\u2069 ({side.device})" for side in self.sides]  # either direction
        return [("score on", *heads, "distance"), *(_score_row(*scores) for scores in self.scores())]


class Details(NamedTuple):
    """What is shown of single scenarios."""

    differing: tuple[Differing, ...]
    """At most SHOWN; faults before ties, and each kind in the order of the file."""
    differences: int
    """How many there are, a scenario that differs on two devices counted twice."""
    percentiles: dict[str, tuple[float, ...]]
    """By device, the 0th to 100th percentile of the seconds that a scenario waited; none of an emulated device."""


def read_details(report: Document, rows: Iterable[Document]) -> Details:
    """Reads each row once, and holds no more than SHOWN of a kind, and a number a row and device."""
    names = {device["name"]: device_name(device) for device in report["devices"]}
    latencies = {name: array("d") for name in names if report["by_device"][name]["latency_seconds"]}
    found: dict[str, list[Differing]] = {"fault": [], "tie": []}
    count = 0
    for row in rows:
        for name, samples in latencies.items():
            samples.append(median(row["outputs"][name]["seconds"]))
        for name, difference in row["differences"].items():
            if difference:
                count += 1
                if len(found[difference["kind"]]) < SHOWN:
                    found[difference["kind"]].append(_differing(row, name, names))
    differing = (found["fault"] + found["tie"])[:SHOWN]
    return Details(tuple(differing), count, {name: _percentiles(samples) for name, samples in latencies.items()})


def _percentiles(samples: array[float]) -> tuple[float, ...]:
    ordered = sorted(samples)
    return tuple(quantile(ordered, share / 100) for share in range(101))


def _score_row(device: str, one: float | None, other: float | None) -> tuple[str, ...]:
    distance = NONE if one is None or other is None else f"{abs(one - other):.2g}"
    return (device, *(NONE if score is None else f"{score:.4f}" for score in (one, other)), distance)


def _differing(row: Document, name: str, names: dict[str, str]) -> Differing:
    first = next(iter(names))
    difference = row["differences"][name]
    told = (difference["reference"], difference["other"])
    texts = [row["outputs"][device]["text"] for device in (first, name)]
    start = token_start(texts, [one["text"] for one in told])
    shown = zip((names[first], names[name]), texts, told, strict=True)
    sides = tuple(_side(device, text, start, one) for device, text, one in shown)
    prompt = shorten(row["prompt"])
    return Differing(row["id"], difference["kind"], prompt, row["expected"], difference["position"], sides)


def token_start(texts: Sequence[str], tokens: Sequence[str]) -> int:
    """Where both texts go on with their token: at their first differing character, or before it.

    Where a token is not found there, since it is half a character, it is at the first differing character.
    """
    pairs = zip(*texts, strict=False)
    common = next((at for at, (one, other) in enumerate(pairs) if one != other), min(map(len, texts)))
    earliest = max(0, common - max(map(len, tokens)))
    for start in range(common, earliest - 1, -1):
        if all(start == len(text) or token_end(text, start, token) for text, token in zip(texts, tokens, strict=True)):
            return start
    return common


def token_end(text: str, start: int, token: str) -> int | None:
    """Where the token ends, if the text goes on with it at `start`: some tokens are decoded without their space."""
    forms = (token, f" {token}") if token else ()
    return next((start + len(form) for form in forms if text.startswith(form, start)), None)


def _side(device: str, text: str, start: int, told: Document) -> Side:
    end = token_end(text, start, told["text"]) or start + 1
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    return Side(
        device=device,
        before=("…" if start > AROUND else "") + before,
        token=text[start:end],
        after=after + ("…" if len(text) > end + AROUND else ""),
        name=told["text"],
        own=told["logits"][0],
        other=told["logits"][1],
    )


def shorten(text: str) -> str:
    """The text, or its beginning and end where it has more than PROMPT characters."""
    if len(text) <= PROMPT:
        return text
    left_out = len(text) - PROMPT
    return f"{text[: PROMPT // 2]}\n[… {left_out:,} characters …]\n{text[-PROMPT // 2 :]}"

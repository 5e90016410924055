"""The numbers of report.json, held against numbers that were computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
from evaluations import CPU, CUDA, EMULATED, difference, options, output, row

from patcher.evaluation.summary import quantile, summarize

# Two batches of two and one of one, each timed three times: by the medians, 2, 4 and 1 s on the CPU, 1 s each on CUDA.
ROWS = [
    row(0, 0, {"cpu": output(4, 2, 9, 1, exact=True), "cuda": output(4, 1, 1, 1, exact=True)}),
    row(1, 0, {"cpu": output(6, 2, 9, 1), "cuda": output(2, 1, 1, 1)}, differences={"cuda": difference("fault", 2)}),
    row(2, 1, {"cpu": output(8, 4, 4, 4, exact=False), "cuda": output(8, 1, 5, 1, exact=True)}),
    row(3, 1, {"cpu": output(8, 4, 4, 4), "cuda": output(8, 1, 5, 1)}, differences={"cuda": difference("tie", 7)}),
    row(4, 2, {"cpu": output(3, 1, 1, 1), "cuda": output(3, 1, 1, 1)}),
]


def test_every_number() -> None:
    asked = options(6, repeat=3)
    report = summarize(asked, ROWS)
    assert {key: report.pop(key) for key in asked} == asked
    rates = {"median": 0.75, "p10": pytest.approx(0.55), "p90": pytest.approx(0.95)}  # of 1 and 0.5 a second
    assert report == {
        "scenarios_done": 5,
        "complete": False,
        "by_device": {
            "cpu": {
                "scenarios_per_second": rates,
                "tokens_per_second": {"median": 4.5, "p10": pytest.approx(4.1), "p90": pytest.approx(4.9)},  # 5 and 4
                # 1, 2, 2, 4, 4
                "latency_seconds": {"p10": pytest.approx(1.4), "p50": 2, "p90": 4, "max": 4},
                "peak_memory_bytes": 1004,
                "exact_match": {"share": 0.5, "of": 2},
            },
            "cuda": {
                "scenarios_per_second": {"median": 2, "p10": 2, "p90": 2},
                "tokens_per_second": {"median": 11, "p10": pytest.approx(7), "p90": pytest.approx(15)},  # 6 and 16
                "latency_seconds": {"p10": 1, "p50": 1, "p90": 1, "max": 1},
                "peak_memory_bytes": 1004,
                "exact_match": {"share": 1, "of": 2},
            },
        },
        # batch by batch: 2 and 4 times the scenarios; 6 to 5 and 16 to 4 tokens a second
        "ratios": {"cuda": {"scenarios_per_second": 3, "tokens_per_second": pytest.approx(2.6)}},
        "agreement": {
            "cuda": {"share": 0.6, "of": 5, "ties": 1, "faults": 1, "first_difference_positions": [2, 7]},
        },
    }


def test_a_single_batch_counts_however_small_it_is() -> None:
    report = summarize(options(1), ROWS[4:])
    assert report["complete"] is True
    assert report["by_device"]["cpu"]["scenarios_per_second"] == {"median": 1, "p10": 1, "p90": 1}


def test_an_emulated_device_has_no_rates() -> None:
    rows = [
        row(0, 0, {"cpu": output(4, 2.0), "mps": output(4, 0.5, exact=True)}, peak_memory={"cpu": 5, "mps": None}),
    ]
    report = summarize(options(1, devices=[CPU, EMULATED]), rows)
    assert report["by_device"]["mps"] == {
        "scenarios_per_second": None,
        "tokens_per_second": None,
        "latency_seconds": None,
        "peak_memory_bytes": None,
        "exact_match": {"share": 1, "of": 1},
    }
    assert report["by_device"]["cpu"]["scenarios_per_second"]["median"] == 0.5
    assert report["ratios"] == {"mps": None}
    assert report["agreement"]["mps"]["share"] == 1


def test_with_sampling_nothing_is_compared() -> None:
    assert summarize(options(5, seed=1), ROWS)["agreement"] == {"cuda": None}


def test_without_results() -> None:
    report = summarize(options(5), [])
    nothing: dict[str, Any] = dict.fromkeys(report["by_device"]["cpu"])
    assert (report["scenarios_done"], report["complete"]) == (0, False)
    assert report["by_device"] == {"cpu": nothing, "cuda": nothing}
    assert report["ratios"] == report["agreement"] == {"cuda": None}


def test_one_device_has_no_other() -> None:
    report = summarize(options(1, devices=[CUDA]), [row(0, 0, {"cuda": output(4, 0.5)})])
    assert report["ratios"] == report["agreement"] == {}


@pytest.mark.parametrize(("share", "value"), [(0, 1.0), (0.5, 2.5), (0.25, 1.75), (1, 4.0)])
def test_quantiles_lie_between_neighbours(share: float, value: float) -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], share) == value

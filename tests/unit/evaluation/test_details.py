"""What the reports take from single results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from evaluations import CPU, EMULATED, differing, options, output, row, simple_rows

from patcher.evaluation.details import AROUND, PROMPT, SHOWN, Details, read_details
from patcher.evaluation.summary import summarize


def details(rows: list[dict[str, Any]], **changes: Any) -> Details:
    return read_details(summarize(options(len(rows), **changes), rows), iter(rows))


@pytest.mark.parametrize(
    ("texts", "tokens", "marked"),
    [
        pytest.param(("It is Paris.", "It is Rome."), (" Paris", " Rome"), (" Paris", " Rome"), id="with its space"),
        pytest.param(("It is Paris.", "It is Rome."), ("Paris", "Rome"), ("Paris", "Rome"), id="after a common space"),
        pytest.param(("It Paris", "It."), ("Paris", "."), (" Paris", "."), id="decoded without its space"),
        pytest.param(("the cat", "the car"), (" cat", " car"), (" cat", " car"), id="a common beginning"),
        pytest.param(("a", "ab"), ("</s>", "b"), ("", "b"), id="a special token"),
        pytest.param(("ab", "a"), ("b", ""), ("b", ""), id="no token"),
        pytest.param(("ab", "ac"), ("\ufffd", "\ufffd"), ("b", "c"), id="half a character"),
        pytest.param(("", "b"), ("</s>", "b"), ("", "b"), id="at the beginning"),
        pytest.param(("aa", "aa"), ("</s>", ""), ("", ""), id="nothing to see"),
    ],
)
def test_the_first_differing_token_is_found_in_the_text(
    texts: tuple[str, str], tokens: tuple[str, str], marked: tuple[str, str]
) -> None:
    (found,) = details([differing(0, "tie", *texts, tokens=tokens)]).differing
    assert tuple(side.token for side in found.sides) == marked
    assert tuple(side.before + side.token + side.after for side in found.sides) == texts
    assert found.sides[0].before == found.sides[1].before
    assert tuple(side.name for side in found.sides) == tokens


def test_scores_stand_by_device_in_one_order() -> None:
    one = differing(0, "fault")
    one["differences"]["cuda"]["reference"]["logits"] = [9.0, 8.0]
    one["differences"]["cuda"]["other"]["logits"] = [7.0, None]
    (found,) = details([one]).differing
    assert found.scores() == (("cpu", 9.0, 8.0), ("cuda", None, 7.0))


def test_faults_stand_first_and_few_of_many_are_kept() -> None:
    rows = [differing(index, "fault" if index % 5000 == 4999 else "tie") for index in range(10_000)]
    found = details(rows)
    assert (len(found.differing), found.differences) == (SHOWN, 10_000)
    assert [one.id for one in found.differing[:4]] == ["s4999", "s9999", "s0", "s1"]


def test_rows_are_not_held() -> None:
    """Of 10,000 prompts of 10,000 characters, one at a time is in memory, and the few that are shown."""
    import tracemalloc

    def rows() -> Iterator[dict[str, Any]]:
        return (differing(index, "tie", prompt=f"{index:10000}") for index in range(10_000))

    report = summarize(options(10_000), rows())
    tracemalloc.start()
    try:
        read_details(report, rows())
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()


def test_long_texts_are_shortened() -> None:
    texts = "a" * 5000 + "x" + "b" * 5000, "a" * 5000 + "y"
    (found,) = details([differing(0, "tie", *texts, prompt="p" * 5000 + "q" * 5000)]).differing
    one, other = found.sides
    assert (one.before, one.token, one.after) == ("…" + "a" * AROUND, "x", "b" * AROUND + "…")
    assert (other.token, other.after) == ("y", "")
    half = PROMPT // 2
    assert found.prompt == f"{'p' * half}\n[… 8,000 characters …]\n{'q' * half}"


def test_percentiles_of_what_each_scenario_waited() -> None:
    rows = [row(n, n, {"cpu": output(4, n + 1.0, 999, 0), "mps": output(4, 1.0)}) for n in range(101)]
    found = details(rows, devices=[CPU, EMULATED], batch_size=1)
    assert found.percentiles == {"cpu": pytest.approx([n + 1.0 for n in range(101)])}


def test_an_emulated_device_is_called_so() -> None:
    one = differing(0, "tie")
    for key in ("outputs", "differences", "peak_memory"):
        one[key]["mps"] = one[key].pop("cuda")
    (found,) = details([one], devices=[CPU, EMULATED]).differing
    assert [side.device for side in found.sides] == ["cpu", "mps (emulated)"]


def test_nothing_differs() -> None:
    assert details(simple_rows(4))[:2] == ((), 0)
    assert details([]) == ((), 0, {})

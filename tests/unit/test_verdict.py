"""The one sentence on a target, and what ends its defect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from patcher import messages
from patcher.model import Effect, Impact, Result, State, Target
from patcher.verdict import Need, judge, show_range, verification

TARGET = Target(
    site_packages=Path("/srv"),
    dist_info=Path("/srv/transformers-4.45.1.dist-info"),
    version="4.45.1",
    python=Path("/bin/python"),
    torch="2.1.0",
    installer=None,
    pycache_prefix=None,
    reason="",
)
FAILS = Impact(effect=Effect.FAILS, error="IndexError: x", torch="2.1.0", macos="14", cures=("torch 2.9 or newer",))
EDGE_CASES = Impact(effect=Effect.EDGE_CASES, consequence="edge cases are wrong", torch="2.1.0", macos="14")
NONE = Impact(effect=Effect.NONE, torch="2.1.0", macos="14")
ISIN = Result(target=TARGET, patch="isin_mps_friendly", state=State.UNPATCHED, impact=FAILS)
DIRECT = ISIN._replace(patch="direct_isin")
FAILURE = "generate() fails on Apple GPUs here: IndexError: x"
UNKNOWN = "cannot tell whether generate() works on Apple GPUs here"
EDITED = ISIN._replace(state=State.MODIFIED, note=f"It {messages.EDITED}: {messages.RESTARTS}")
NEWER = TARGET._replace(version="5.1.0")


@pytest.mark.parametrize(
    ("results", "need", "sentence"),
    [
        ((ISIN,), Need.PATCH, FAILURE),
        ((ISIN._replace(impact=EDGE_CASES), DIRECT), Need.PATCH, FAILURE),
        ((ISIN._replace(state=State.PATCHED), DIRECT), Need.PATCH, FAILURE),
        ((ISIN._replace(impact=EDGE_CASES),), Need.EDGE_CASES, "generate() works here; edge cases are wrong"),
        ((ISIN._replace(target=NEWER, state=State.ABSENT),), Need.PATCH, FAILURE),
        (
            (ISIN._replace(impact=FAILS._replace(error="ImportError: y")),),
            Need.PATCH,
            "an import fails here: ImportError: y",
        ),
        ((ISIN._replace(impact=NONE),), Need.NONE, "nothing to do here"),
        ((ISIN._replace(impact=None),), Need.NONE, "nothing to do here"),
        ((ISIN._replace(state=State.PATCHED), DIRECT._replace(impact=NONE)), Need.NONE, "patched"),
        ((ISIN._replace(state=State.OUTDATED),), Need.UPDATE, "patched by another version of mps-patcher"),
        (
            (ISIN, DIRECT._replace(state=State.INTERRUPTED)),
            Need.REPAIR,
            "an earlier apply or revert was interrupted here; run either again",
        ),
        (
            (ISIN._replace(state=State.MODIFIED),),
            Need.LOOK,
            "cannot tell whether generate() works on Apple GPUs here: isin_mps_friendly is modified",
        ),
        (
            (ISIN._replace(state=State.MODIFIED), DIRECT._replace(impact=EDGE_CASES)),  # never "works here"
            Need.LOOK,
            "cannot tell whether generate() works on Apple GPUs here: isin_mps_friendly is modified",
        ),
        (
            (ISIN._replace(state=State.ABSENT),),  # 4.45.1 should have it, so apply would not add it
            Need.LOOK,
            "cannot tell whether generate() works on Apple GPUs here: isin_mps_friendly is absent",
        ),
        ((ISIN._replace(state=State.MODIFIED, impact=NONE), DIRECT), Need.LOOK, FAILURE),  # which needs the other
        ((EDITED._replace(impact=NONE), DIRECT), Need.EDITED, FAILURE),
        *(
            ((edited, DIRECT._replace(state=State.PATCHED)), need, f"{UNKNOWN}: isin_mps_friendly is modified")
            for edited, need in (
                (EDITED, Need.EDITED),
                (EDITED._replace(impact=NONE), Need.EDITED),
                (EDITED._replace(impact=NONE, note=f"It {messages.EDITED}, and has no backup"), Need.LOOK),
            )
        ),
    ],
)
def test_the_worst_patch_counts(results: tuple[Result, ...], need: Need, sentence: str) -> None:
    verdict = judge(results)
    assert verdict
    assert (verdict.need, verdict.sentence) == (need, sentence)


def test_nothing_is_said_of_what_could_not_be_read() -> None:
    assert judge((ISIN._replace(state=None),)) is None


def test_a_cure_ends_all_that_fails() -> None:
    impact = FAILS._replace(cures=("torch 2.9 or newer", "macOS 14 or newer"))
    verdict = judge((ISIN, DIRECT._replace(impact=impact)))
    assert verdict
    assert verdict.cures == ("torch 2.9 or newer",)


@pytest.mark.parametrize(
    ("known", "conditions", "assumption"),
    [
        ({"torch": "2.6", "macos": "13"}, "here", None),
        (
            {"torch": "2.6", "macos": "13", "assumed_macos": True},
            "here",
            "assumed: macOS 13; choose another with --macos",
        ),
        (
            {"torch": None, "macos": None},
            "with torch 2.4 - 2.8 on macOS older than 14",
            "assumed: any torch, since none was found here; choose a macOS with --macos",
        ),
        (
            {"torch": None, "macos": "13"},
            "with torch 2.4 - 2.8",
            "assumed: any torch, since none was found here",
        ),
    ],
)
def test_what_is_not_known_is_said(known: dict[str, Any], conditions: str, assumption: str | None) -> None:
    impact = FAILS._replace(torch_range=">=2.4,<2.9", macos_range="<14", **known)
    verdict = judge((ISIN._replace(impact=impact),))
    assert verdict
    assert verdict.sentence == f"generate() fails on Apple GPUs {conditions}: IndexError: x"
    assert verdict.assumption == assumption


@pytest.mark.parametrize(
    ("specifier", "words"),
    [
        ("<2.4", "older than 2.4"),
        (">=2.4", "2.4 or newer"),
        (">=2.4,<2.9", "2.4 - 2.8"),
        (">=2.4,<3.0", "2.4 or newer, but below 3.0"),
    ],
)
def test_a_range_in_words(specifier: str, words: str) -> None:
    assert show_range(specifier) == words


def test_without_torch_or_an_interpreter_the_files_alone_are_proven() -> None:
    assert verification([TARGET]) == ()
    for other in (TARGET._replace(torch=None), TARGET._replace(python=None)):
        assert verification([TARGET, other]) == ("--static",)

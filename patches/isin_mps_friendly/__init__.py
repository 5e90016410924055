"""The membership test of transformers, `isin_mps_friendly`: made right in 4.45 - 5.0, added to releases without it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from patcher.model import FunctionPatch, KnownBody, Need

_HERE = Path(__file__).parent
_BEFORE = SpecifierSet(">=4.38.0.dev0,<4.45.0.dev0", prereleases=True)
_HOLD_IT = SpecifierSet(">=4.45.0.dev0,<5.1.0.dev0", prereleases=True)
_AFTER = SpecifierSet(">=5.1.0.dev0", prereleases=True)


def need(transformers: str, torch: str | None, files: int) -> Need:
    """Whether a target with these versions needs the patch by itself: every release from 4.45 on does.

    The released bodies are wrong on MPS below torch 2.4, and call `torch.isin` from there on, which MPS has in full
    since torch 2.9 only. An installed file outlives the torch beside it, so a torch of today does not spare the patch.
    From 5.1 on there is no such function, and packages that import it fail (coqui-ai/TTS #4406), whatever the torch.
    """
    del files  # there is one
    try:
        version = Version(transformers)
    except InvalidVersion:
        return Need(needed=False, reason=f"{transformers} is not a version, so it cannot be told what it needs")
    if version in _HOLD_IT:
        return Need(needed=True, reason=_reason(transformers, torch))
    if version in _AFTER:
        reason = f"transformers {transformers} has no isin_mps_friendly, which other packages import from it"
        return Need(needed=True, reason=reason)
    calls = "calls torch.isin itself, if at all" if version in _BEFORE else "is older than 4.38"
    reason = f"transformers {transformers} has no isin_mps_friendly (4.45 - 5.0 have), and {calls}"
    return Need(needed=False, reason=reason)


def without(transformers: str) -> bool:
    """Whether that release has no such function (4.38 - 4.44, and 5.1 and later), so that it may be added."""
    try:
        version = Version(transformers)
    except InvalidVersion:
        return False
    return version in _BEFORE or version in _AFTER


def _reason(transformers: str, torch: str | None) -> str:
    function = f"transformers {transformers} calls isin_mps_friendly in generate()"
    try:
        version = Version(torch or "")
    except InvalidVersion:  # no torch, or one that does not say which
        return f"{function}, and its body fails on MPS with torch older than 2.9"
    if version < Version("2.4"):
        return f"torch {torch} has no isin on MPS, and {function}, whose body stands in for it wrongly"
    if version < Version("2.9"):
        return f"torch {torch} has an incomplete isin on MPS, and {function}, whose body relies on it"
    return (
        f"{function}, whose body fails on MPS with torch older than 2.9, and with {torch} if one operand is on the CPU"
    )


PATCH = FunctionPatch(
    name="isin_mps_friendly",
    summary="The membership test that generate() uses: right on MPS for every shape, dtype and torch.",
    links=(
        "https://github.com/huggingface/transformers/issues/33786",
        "https://github.com/huggingface/transformers/pull/34538",
        "https://github.com/pytorch/pytorch/issues/124518",
    ),
    file=PurePosixPath("transformers/pytorch_utils.py"),
    function="isin_mps_friendly",
    replacement=_HERE / "replacement.py",
    known=(
        # Below torch 2.4 on MPS it tiles `elements` by `test_elements.shape[0]`, which a 0-d tensor or an int has not
        KnownBody(
            name="A (transformers 4.45.0 - 4.46.1)",
            digest="aa20aad3e2d09f2b578b117057a309a6712cdabccc801f5b3ed96b7bf85b8059",
        ),
        # The same, after PR 34538 made 0-d into 1-d: still one shape too few, and a warning on every call
        KnownBody(
            name="B (transformers 4.46.2 - 5.0)",
            digest="a8230e1629ffa37614e4a8f55566befd9c1c7da9ded91d68dedcf5e5c6240ea6",
        ),
    ),
    former=(
        KnownBody(
            name="an earlier body of mps-patcher 0.1.0",
            digest="000206cac9180d2eb40c853373c7f030470971fca765221c77a4857ab9b0bfcb",
        ),
        KnownBody(
            name="a longer body of mps-patcher 0.1.0",
            digest="3e32ffce3a49d76bceafffa493f460157eb42cada218293fb46818b37f06cfb0",
        ),
    ),
    without=without,
    contract=_HERE / "contract.py",
    need=need,
)

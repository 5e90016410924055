"""The membership test of transformers 4.45 - 5.0, `isin_mps_friendly`, made right."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from patcher.model import KnownBody, Need, Patch

_HERE = Path(__file__).parent
_HOLD_IT = SpecifierSet(">=4.45.0.dev0,<5.1.0.dev0", prereleases=True)


def need(transformers: str, torch: str | None) -> Need:
    """Whether a target with these versions needs the patch: every release that has the function does.

    The released bodies are wrong on MPS below torch 2.4, and call `torch.isin` from there on, which MPS has in full
    since torch 2.9 only. An installed file outlives the torch beside it, so a torch of today does not spare the patch.
    """
    try:
        has_function = Version(transformers) in _HOLD_IT
    except InvalidVersion:
        return Need(needed=False, reason=f"{transformers} is not a version, so it cannot be told what it needs")
    if not has_function:
        return Need(needed=False, reason=f"transformers {transformers} has no isin_mps_friendly (4.45 - 5.0 have)")
    return Need(needed=True, reason=_reason(transformers, torch))


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


PATCH = Patch(
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
    contract=_HERE / "contract.py",
    need=need,
)

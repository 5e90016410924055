"""The calls of `torch.isin` that transformers makes itself, in 4.38 - 4.44 and from 4.50 on: to `isin_mps_friendly`."""

from __future__ import annotations

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from patcher.model import CallsPatch, KnownBody, Need
from patches.isin_mps_friendly import PATCH as ISIN_MPS_FRIENDLY

_REFUSE = SpecifierSet(">=4.41.0.dev0,<4.44.0.dev0", prereleases=True)


def need(transformers: str, torch: str | None, files: int) -> Need:
    """Whether a target with these versions, and direct calls in so many files, needs the patch.

    MPS has no isin before torch 2.4 and a right one since 2.9. 4.41 - 4.43 refuse on MPS to infer an attention mask,
    whatever the torch.
    """
    name = f"transformers {transformers}"
    if not files:
        return Need(needed=False, reason=f"{name} calls torch.isin directly in no file")
    where = "1 file" if files == 1 else f"{files} files"
    if _refuses(transformers):
        reason = f"{name} refuses to infer an attention mask on MPS, and calls torch.isin directly in {where}"
        return Need(needed=True, reason=reason)
    calls = f"{name} calls it in {where}"
    try:
        version = Version(torch or "")
    except InvalidVersion:  # no torch, or one that does not say which
        return Need(needed=True, reason=f"torch older than 2.9 has no right isin on MPS and {calls}")
    if version < Version("2.4"):
        return Need(needed=True, reason=f"torch {torch} has no isin on MPS and {calls}")
    if version < Version("2.9"):
        return Need(needed=True, reason=f"torch {torch} has an incomplete isin on MPS and {calls}")
    return Need(needed=False, reason=f"torch {torch} has a sound isin on MPS, and {calls}")


def _refuses(transformers: str) -> bool:
    try:
        return Version(transformers) in _REFUSE
    except InvalidVersion:
        return False


PATCH = CallsPatch(
    name="direct_isin",
    summary="Every direct call of torch.isin in transformers goes through isin_mps_friendly.",
    links=(
        "https://github.com/huggingface/transformers/issues/31744",
        "https://github.com/huggingface/transformers/pull/41307",
        "https://github.com/pytorch/pytorch/issues/124518",
    ),
    file=ISIN_MPS_FRIENDLY.file,
    function=ISIN_MPS_FRIENDLY.function,
    need=need,
    requires=(ISIN_MPS_FRIENDLY,),
    callee="torch.isin",
    parameters=("elements", "test_elements"),
    beneath=(ISIN_MPS_FRIENDLY.file.parent / "utils",),
    branches=(
        KnownBody(
            name="the tile chain of EosTokenCriteria (transformers 4.40)",
            digest="ca1dfebbcb0de026ecfa53253dae811d0736711a2de87051b488bb130cb0f686",
        ),
        KnownBody(
            name="the tile chain of EosTokenCriteria (transformers 4.41 - 4.43)",
            digest="81b1243cd2c140c03891b2f5366758c3a1a041479642c5fe31d6ddb708a213b6",
        ),
        KnownBody(
            name="the tile chain of EosTokenCriteria, below torch 2.4 (transformers 4.44)",
            digest="dfc356596cbc0ea9091c942e8d3554934db394bee2b7cd181421e549f77ffaca",
        ),
        KnownBody(
            name="the refusal to infer an attention mask (transformers 4.41 - 4.43)",
            digest="3fb22e6636ef6bb73bc0b51c5db424565270823129d3e534efa0bf4392f51d78",
        ),
        KnownBody(
            name="the refusal to infer an attention mask, below torch 2.4 (transformers 4.44)",
            digest="0bb08c156b0dcdebd8169ad363243f70e65d8acc40e8df147d394903fb9484f0",
        ),
    ),
)

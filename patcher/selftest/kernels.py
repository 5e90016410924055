"""Which operators of aten have an MPS kernel in a release of torch, from the table that scripts/operators.py writes.

The table is made from the released macOS wheels; its head explains its words. `ON_MPS` has what the CPU is asked for in
another way. Nothing here was seen on Apple hardware.
"""

from __future__ import annotations

import functools
import os
from typing import Dict, Iterator, NamedTuple, Optional, Tuple

from .releases import Version

TABLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "kernels.tsv")

ON_MPS: Dict[str, Tuple[str, ...]] = {
    # What the CPU is asked for: what MPS is asked for instead, in all releases.
    # [S] convolution of these sources asks the kernel of its backend; all the others are the CPU's and CUDA's
    "aten::convolution": ("aten::_mps_convolution",),
    "aten::convolution_backward": ("aten::mps_convolution_backward",),
    # [S] at::native::lstm asks _lstm_mps for a tensor on MPS before it thinks of oneDNN
    "aten::mkldnn_rnn_layer": ("aten::_lstm_mps",),
    "aten::mkldnn_rnn_layer_backward": ("aten::lstm_mps_backward",),
    # [B] native_functions.yaml of 2.0 - 2.14: _fused_sdp_choice has no MPS kernel, so attention is made of these, or
    # since 2.5 is _scaled_dot_product_attention_math_for_mps; all have kernels. _for_cpu since 2.3, without it before.
    "aten::_scaled_dot_product_flash_attention": ("aten::bmm", "aten::_softmax"),
    "aten::_scaled_dot_product_flash_attention_backward": ("aten::bmm", "aten::_softmax_backward_data"),
    "aten::_scaled_dot_product_flash_attention_for_cpu": ("aten::bmm", "aten::_softmax"),
    "aten::_scaled_dot_product_flash_attention_for_cpu_backward": ("aten::bmm", "aten::_softmax_backward_data"),
    # [S] since 2.5 in attention, before which that asks for softmax; [I] the rest has kernels
    "aten::_safe_softmax": ("aten::_softmax",),
    # [B] registered for MPS as a whole in some releases, so that MPS is not asked for what it is made of.
    # linalg.svdvals, which asks for _linalg_svd itself, cannot be told from linalg.svd.
    "aten::_linalg_svd": ("aten::linalg_svd",),
    "aten::linalg_lu_factor_ex": ("aten::linalg_lu_factor",),
    "aten::upsample_nearest3d": ("aten::upsample_nearest3d.vec",),
}


class Kernel(NamedTuple):
    """What a release of torch has for an operator on MPS."""

    status: str
    """kernel, composite, explicit, fallback, missing, or unknown, which an operator is too that the release has not."""
    evidence: str
    """A letter that the table's head explains; empty where the release has no such operator."""
    asked: str
    """The operator that an error or warning names, such as "aten::isin.Tensor_Tensor_out"."""


@functools.lru_cache(maxsize=None)
def find_kernel(name: str, overload: str, torch: Version) -> Kernel:
    """Of an operator such as ("aten::isin", "Tensor_Tensor"). A release newer than the table is as the newest in it."""
    found = Kernel("unknown", "", _full_name(name, overload))
    for since, kernel in _history(name, overload):
        if since <= torch:
            found = kernel
    return found


def asked_on_mps(name: str, overload: str) -> Tuple[Tuple[str, str], ...]:
    """The operators, as ("aten::isin", "Tensor_Tensor"), that MPS is asked for where the CPU is asked for this one."""
    if overload or name not in ON_MPS:
        return ((name, overload),)
    return tuple((one, inner) for one, _, inner in (full.partition(".") for full in ON_MPS[name]))


def first_torch(name: str, overload: str) -> Optional[Version]:
    """The release since which the operator always works, if only on the CPU; None if none is known."""
    first = None
    for since, kernel in _history(name, overload):
        if kernel.status == "missing":
            first = None
        elif kernel.status != "unknown":
            first = first or since
    return first


def _history(name: str, overload: str) -> Iterator[Tuple[Version, Kernel]]:
    """Each release from which on something else holds, from the oldest to the newest."""
    operator = _full_name(name, overload)
    for cell in _lines().get(operator, "").split("\t")[1:]:
        since, words, asked = (cell + " ").split(" ")[:3]
        status, evidence = words.split("/")
        if status == "absent":
            status, evidence = "unknown", ""
        major, minor = since.split(".")
        yield (int(major), int(minor)), Kernel(status, evidence, "aten::" + asked if asked else operator)


def _full_name(name: str, overload: str) -> str:
    return name + "." + overload if overload else name


@functools.lru_cache(maxsize=None)
def _lines() -> Dict[str, str]:
    """The table's lines by operator, such as "aten::isin.Tensor_Tensor"."""
    with open(TABLE, encoding="utf-8") as file:
        return {"aten::" + line.split("\t", 1)[0]: line.rstrip("\n") for line in file if not line.startswith("#")}

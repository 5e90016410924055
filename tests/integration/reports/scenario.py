"""What a replayed report consists of."""

from __future__ import annotations

from dataclasses import dataclass

# The messages, as the reports quote them, up to where they differ from build to build.
NO_KERNEL = "NotImplementedError: The operator 'aten::isin.Tensor_Tensor_out' is not currently implemented for the MPS"
NO_SCALAR = "NotImplementedError: The operator 'aten::isin.Tensor_Scalar_out' is not currently implemented for the MPS"
OTHER_DTYPE = "RuntimeError: Expected elements.dtype() == test_elements.dtype() to be true, but got false."
OLD_MACOS = "RuntimeError: isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received"
NO_MASK = "ValueError: Can't infer missing attention mask on `mps` device. Please provide an `attention_mask` or use a"
NO_IMPORT = "ImportError: cannot import name 'isin_mps_friendly' from 'transformers.pytorch_utils'"

# The patches for a transformers that calls torch.isin itself.
BOTH = ("isin_mps_friendly", "direct_isin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A report, and the shortest code that shows it. `code` and `instead` define `run(device)`; see `replay.py`."""

    name: str
    link: str
    said: str
    """What the report says of its releases and its macOS; where it is silent, what was chosen and why."""
    transformers: tuple[str, ...]
    """The releases that it is replayed on."""
    torch: str
    """The torch whose MPS rules hold, and in which transformers is made to believe."""
    macos: str
    patches: tuple[str, ...] = ("isin_mps_friendly",)
    """What `mps-patcher apply` is given; nothing where it can judge from the installed torch."""
    error: str
    """What the report quotes, and what the code must raise before the patch."""
    code: str
    instead: str | None = None
    """The call into transformers that is to be right after the patch, where `code` asks torch, which is not patched."""
    result: object = None
    """What `run` must return after the patch; None: what it returned on the CPU before."""
    real_torch: bool = False
    """Replayed on an installed torch 2.1.0 too, not only on its rules (`make test-seed`)."""

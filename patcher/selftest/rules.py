"""What the MPS backend of a given torch on a given macOS lacks, refuses and gets wrong, as data without torch.

Evidence, after the words of each rule: [B] a string or symbol in the released macOS wheel, [S] PyTorch's source,
[I] inferred from these; #N is an issue or pull request of pytorch/pytorch. Nothing here was seen on Apple hardware.
"""

from __future__ import annotations

from typing import NamedTuple, Optional, Tuple, Type

from .kernels import find_kernel
from .limits import Limit, find_limits
from .releases import (
    NEWEST_TORCH,
    OLDEST_MACOS,
    Version,
    oldest_macos,
    parse_macos,
    parse_version,
    show,
    since,
    usual_macos,
)

NOT_IMPLEMENTED = {
    # [B] torch 2.0 - 2.5
    (2, 0): "The operator '{op}' is not currently implemented for the MPS device. If you want this op to be added in "
    "priority during the prototype phase of this feature, please comment on "
    "https://github.com/pytorch/pytorch/issues/77764. As a temporary fix, you can set the environment variable "
    "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
    "running natively on MPS.",
    # [B] torch 2.6 and later; what follows 'commit hash' differs from build to build
    (2, 6): "The operator '{op}' is not currently implemented for the MPS device. If you want this op to be considered "
    "for addition please comment on https://github.com/pytorch/pytorch/issues/141287 and mention use-case, that "
    "resulted in missing op as well as commit hash. As a temporary fix, you can set the environment variable "
    "`PYTORCH_ENABLE_MPS_FALLBACK=1` to use the CPU as a fallback for this op. WARNING: this will be slower than "
    "running natively on MPS.",
}

FALLBACK = (
    # [S] MPSFallback.mm of torch 2.0 - 2.13, once in a process, with PYTORCH_ENABLE_MPS_FALLBACK=1
    "The operator '{op}' is not currently supported on the MPS backend and will fall back to run on the CPU. "
    "This may have performance implications."
)

FLOAT64 = (
    # [B] all releases
    "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. "
    "Please use float32 instead."
)

OTHER_DTYPE = "Expected elements.dtype() == test_elements.dtype() to be true, but got false."  # [B] torch 2.4 - 2.7


class NoRules(Exception):
    """That torch is older or newer than all that is known, or does not run on that macOS."""


class Refusal(NamedTuple):
    """The exception that the backend raises instead of computing."""

    error: Type[Exception]
    message: str


TWO_DEVICES = Refusal(  # [S]
    RuntimeError, "Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu!"
)

INDEX_ON_MPS = Refusal(  # [S] #69607
    RuntimeError, "indices should be either on cpu or on the same device as the indexed tensor (cpu)"
)


class Rules(NamedTuple):
    """The rules of one torch on one macOS."""

    torch: Version
    macos: Version

    def missing(self, name: str, overload: str) -> Optional[Refusal]:
        """The refusal of an operator that has no kernel, such as ("aten::isin", "Tensor_Tensor")."""
        kernel = find_kernel(name, overload, self.torch)
        return self.not_implemented(kernel.asked) if kernel.status == "missing" else None

    def not_implemented(self, operator: str) -> Refusal:
        """The refusal of an operator without a kernel, such as "aten::isin.Tensor_Tensor_out"."""
        return Refusal(NotImplementedError, since(NOT_IMPLEMENTED, self.torch).format(op=operator))

    def limits(self, name: str, overload: str) -> Tuple[Limit, ...]:
        """What a kernel does not do, for operators such as ("aten::mm", ""). isin has rules of its own."""
        if name == "aten::isin":
            return ()
        found = find_limits(name, overload, self.torch)
        return tuple(limit for limit in found if limit.below is None or self.macos < limit.below)

    def isin(self, elements: str, test_elements: str) -> Optional[Limit]:
        """What keeps the kernel of isin from operands of these dtypes, such as ("int64", "int32")."""
        if self.torch < (2, 8) and elements != test_elements:  # [B] #124896 has the check, #154010 took it away
            return Limit("RuntimeError", "two dtypes", None, OTHER_DTYPE)
        if self.torch < (2, 9) and self.macos < (14, 0) and elements not in ("float32", "float16", "bfloat16"):  # [B]
            message = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0. Received dtype: "
            return Limit("RuntimeError", "integral", (14, 0), message + _CXX_NAMES.get(elements, elements))
        return None

    def convolution(self, ndim: int, *, is_transposed: bool, dtype: str) -> Optional[Limit]:
        """What keeps a convolution from volumes, which have five dimensions. All is [B], and of which case [S]."""
        if ndim < 5:
            return None
        if is_transposed and self.torch < (2, 8):
            return Limit("RuntimeError", "five dimensions", None, "ConvTranspose 3D is not supported on MPS")
        if is_transposed and dtype in ("float16", "bfloat16"):
            message = "ConvTranspose 3D with BF16 or FP16 types is not supported on MPS"
            return Limit("RuntimeError", "five dimensions of " + dtype, None, message)
        if not is_transposed and self.torch < (2, 3):  # #114183
            return Limit("RuntimeError", "five dimensions", None, "Conv3D is not supported on MPS")
        if not is_transposed and self.torch < (2, 9) and self.macos < (13, 2):
            message = "Conv3D is only supported on MPS for MacOS_13_2 or newer"
            return Limit("RuntimeError", "five dimensions", (13, 2), message)
        return None

    def dtype(self, dtype: str) -> Optional[Refusal]:
        """The refusal of a tensor of this dtype."""
        if dtype in ("float64", "complex128"):
            return Refusal(TypeError, FLOAT64)
        if dtype == "bfloat16" and self.torch < (2, 3):  # [B] 2.1 and 2.2, [I] 2.0
            return Refusal(TypeError, "BFloat16 is not supported on MPS")
        if dtype == "bfloat16" and self.torch < (2, 9) and self.macos < (14, 0):  # [B]
            return Refusal(TypeError, "MPS BFloat16 is only supported on MacOS 14 or newer")
        return None

    def dimensions(self, name: str, ndim: int) -> Optional[Refusal]:
        """What stands for the abort of the whole process when `any(dim)` gets more than four dimensions (#136134)."""
        if name == "aten::any" and ndim > 4 and self.torch <= (2, 4):
            return Refusal(
                RuntimeError, "MPS of torch <= 2.4 aborts the process here: any(dim) of %d dimensions" % ndim
            )
        return None


def choose_rules(torch: Optional[str], macos: Optional[str], installed: str) -> Rules:
    """The rules of a torch, else the installed one, on a macOS, else the usual one. Raises NoRules."""
    release = parse_version(torch or installed)
    if torch and release < min(OLDEST_MACOS):
        raise NoRules("torch %s is not known to the emulated device; 2.0 and newer are" % torch)
    oldest, system = oldest_macos(release), parse_macos(macos) if macos else usual_macos(release)
    if torch and release > max(NEWEST_TORCH, parse_version(installed)):
        raise NoRules("torch %s is not known to the emulated device" % torch)
    if system < oldest:
        raise NoRules("torch %s needs macOS %s or newer" % (show(release), show(oldest)))
    return Rules(release, system)


_CXX_NAMES = {
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
}

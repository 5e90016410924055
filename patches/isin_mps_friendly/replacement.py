"""The fixed function as ordinary code: tests import it, the type checker reads it, libcst transplants it.

Where a target has the function, the body alone is transplanted and the signature stays the target's; where it has none,
the whole function is added. So it may name nothing but its own parameters, builtins and `torch`, runs on Python 3.8
(where `X | Y` must stay text) and torch 2.0, and calls itself by the name it has there.
"""

from __future__ import annotations

import torch


def isin_mps_friendly(elements: torch.Tensor, test_elements: "torch.Tensor | int") -> torch.Tensor:
    """
    `torch.isin(elements, test_elements)`, on MPS too, with every torch and macOS.

    On MPS the result is what `torch.isin` gives on the CPU, by operations that MPS has had, and has had right, since
    torch 2.0. Nothing is read back from the device. Besides operands and result this takes less than 64 MiB.

    Args:
        elements (`torch.Tensor`): Input elements, of any shape
        test_elements (`torch.Tensor` or `int`): The elements to check against, of any shape, on MPS or on the CPU

    Returns:
        `torch.Tensor`: A boolean tensor of the shape of `elements`: True for those that are in `test_elements`
    """
    number = not isinstance(test_elements, torch.Tensor)
    if elements.device.type != "mps" and (number or test_elements.device.type != "mps"):
        # Note: don't use named arguments in `torch.isin`, see https://github.com/pytorch/pytorch/issues/126045
        return torch.isin(elements, test_elements)
    alike = not number and elements.dtype == test_elements.dtype and elements.device == test_elements.device
    n, m = elements.numel(), 1 if number else test_elements.numel()
    if (number and elements.dtype == torch.int64) or (alike and m == 1 and test_elements.ndim <= elements.ndim):
        return elements.eq(test_elements)
    # At most 24 MiB at a time: a byte for each comparison, 8 and more for each value that is copied
    pieces = 1 + min(n // 2**12, n * (m + 8) // (3 * 2**23))
    if n == 0 or m == 0 or pieces > 1:
        result = torch.full(elements.shape, False, device="mps")
        longest = elements.ndim and [dim for dim, size in enumerate(elements.shape) if size == max(elements.shape)][-1]
        for piece, part in zip(elements.chunk(pieces, longest), result.chunk(pieces, longest)) if n * m else ():
            part.copy_(isin_mps_friendly(piece, test_elements))
        return result
    if (n + 32) * m > 3 * 2**23:
        return torch.bitwise_or(*[isin_mps_friendly(elements, half) for half in test_elements.squeeze().chunk(2)])
    if not alike:
        # One dtype for `eq`, since MPS promotes in its own way, and not float64, which it lacks: of that, only what the
        # dtype of `elements` holds. A value left on the CPU is copied: MPS reads a view at offset 0 (pytorch #187117)
        tests = torch.tensor(test_elements, device="cpu") if number else test_elements
        kind = torch.empty([0] * (elements.ndim or number or m > 9), dtype=elements.dtype, device="cpu")
        dtype = (kind * torch.empty([0] * tests.ndim, dtype=tests.dtype, device="cpu")).dtype
        dtype, tests = (dtype, tests) if dtype != torch.float64 else (kind.dtype, tests[tests == tests.to(kind.dtype)])
        elements, tests = elements.to("mps", dtype), tests.to(dtype, copy=True)
        return elements.eq(tests.view(())) if tests.numel() == 1 else isin_mps_friendly(elements, tests.to("mps"))
    # Four dimensions: a reshaped view with as many as its memory can abort the process on MPS (pytorch #96153)
    return test_elements.reshape(-1, 1, 1, 1).eq(elements.reshape(-1)).any(0).view(elements.shape)

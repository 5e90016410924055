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

    With no operand on MPS this is `torch.isin`. With one there, the result is what `torch.isin` gives for the same
    operands on the CPU, by operations that MPS has had, and has had right, since torch 2.0. Nothing is read back from
    the device. `test_elements` may be on the CPU: one value of it is passed along, more are copied to the device.
    Besides the result this takes less than 64 MiB.

    Args:
        elements (`torch.Tensor`): Input elements, of any shape
        test_elements (`torch.Tensor` or `int`): The elements to check against, of any shape

    Returns:
        `torch.Tensor`: A boolean tensor of the same shape as `elements` that is True for `elements` in `test_elements`
        and False otherwise
    """
    operands = [operand for operand in (elements, test_elements) if isinstance(operand, torch.Tensor)]
    devices = [operand.device for operand in operands if operand.device.type == "mps"]
    if not devices:
        # Note: don't use named arguments in `torch.isin`, see https://github.com/pytorch/pytorch/issues/126045
        return torch.isin(elements, test_elements)
    device = devices[0]

    if len(operands) == 2:
        elements, tests = operands
        numbers = []
    else:
        # The 0-d tensor that `torch.isin` makes of a number; on the CPU whatever the default device, for its float64
        numbers = [operand for operand in (elements, test_elements) if not isinstance(operand, torch.Tensor)]
        kind = torch.float64 if isinstance(numbers[0], float) else None
        number = torch.tensor(numbers[0], dtype=kind, device="cpu")
        elements, tests = (elements, number) if isinstance(elements, torch.Tensor) else (number, operands[0])
    if elements.numel() == 0 or tests.numel() == 0:
        return torch.full(elements.shape, False, dtype=torch.bool, device=device)

    # For a scalar `torch.isin` sorts from 10 values on instead of comparing, and promotes it as if it were a vector
    sorts = tests.numel() >= 10

    def one(operand: torch.Tensor) -> torch.Tensor:
        return torch.ones([1] if operand.ndim or sorts else [], dtype=operand.dtype, device="cpu")

    dtype = elements.dtype
    if dtype != tests.dtype:
        # `torch.result_type`, which `torch.compile` cannot trace
        if numbers and not sorts:
            dtype = torch.mul(one(operands[0]), numbers[0]).dtype
        else:
            dtype = (one(elements) * one(tests)).dtype

    # MPS has no float64, so an operand of it is on the CPU, and the other one's dtype has to do
    in_float64 = dtype == torch.float64
    if in_float64 and elements.ndim == 0 and elements.device != device:
        return isin_mps_friendly(tests, elements.reshape(1)).view(-1).any(0)
    if in_float64:
        dtype = elements.dtype

    def split(operand: torch.Tensor, size: int) -> "list[torch.Tensor]":
        # Views of at most `size` values each, in order. Whatever the strides, nothing is copied
        if operand.numel() <= size:
            return [operand]
        rows = size * operand.shape[0] // operand.numel()
        parts = torch.split(operand, rows) if rows else torch.unbind(operand)
        return [piece for part in parts for piece in split(part, size)]

    # `torch.compile` cannot trace `storage_offset`. What tells that it traces is `torch._utils`' before torch 2.3
    public = hasattr(torch, "compiler") and hasattr(torch.compiler, "is_compiling")
    tracing = torch.compiler.is_compiling() if public else getattr(torch._utils, "is_compiling", bool)()

    def fresh(operand: torch.Tensor) -> torch.Tensor:
        # MPS has misread views in several releases: compare memory that begins at its buffer and has no gaps
        if operand.dtype == dtype and not tracing and operand.is_contiguous() and operand.storage_offset() == 0:
            return operand
        return operand.to(dtype, copy=True, memory_format=torch.contiguous_format)

    def narrowed(values: torch.Tensor) -> torch.Tensor:
        # What of `dtype` becomes one of these float64 values: at 2**63, up to 512 int64 on either side round to one
        reach = 512 if dtype == torch.int64 else 0
        candidates = values.reshape(-1, 1).to(dtype) + torch.arange(-reach, reach + 1, device="cpu").to(dtype)
        return candidates[candidates.to(torch.float64) == values.reshape(-1, 1)]

    def found_in(piece: torch.Tensor) -> torch.Tensor:
        piece, found = fresh(piece), None
        piece = piece if piece.device == device else piece.to(device)
        for values in split(tests, 2**10 if in_float64 else min(2**20, 2**24 // piece.numel())):
            values = narrowed(values) if in_float64 else fresh(values)
            if values.numel() == 0:
                continue
            if values.numel() == 1:
                match = piece.eq(values.view(()))
            else:
                values = values if values.device == device else values.to(device)
                match = piece.view(-1, 1).eq(values.view(-1)).any(1).view(piece.shape)
            found = match if found is None else found | match
        return torch.full(piece.shape, False, dtype=torch.bool, device=device) if found is None else found

    if elements.numel() <= 2**20:
        return found_in(elements)
    result, start = torch.full((elements.numel(),), False, dtype=torch.bool, device=device), 0
    for piece in split(elements, 2**20):
        result[start : start + piece.numel()] = found_in(piece).view(-1)
        start += piece.numel()
    return result.view(elements.shape)

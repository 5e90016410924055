"""What both templates hold: the fixed function, and what goes through it. Where they import it, its text is put."""

from __future__ import annotations

from typing import Any

import torch

from .replacement import isin_mps_friendly as isin_mps_friendly

torch_isin = torch.isin


def isin(*args: Any, **kwargs: Any) -> torch.Tensor:
    """`torch.isin`, by way of `isin_mps_friendly` where an operand is on MPS.

    All else, and calls with `out=` or with a number as `elements`, goes to torch as before.
    transformers 4.38 - 4.44 and 5.1 or newer call it directly, and so do other packages.
    """
    given = dict(zip(("elements", "test_elements"), args), **kwargs)
    elements, tests = given.get("elements"), given.get("test_elements", given.get("test_element"))
    on_mps = any(isinstance(x, torch.Tensor) and x.device.type == "mps" for x in (elements, tests))
    if not (on_mps and isinstance(elements, torch.Tensor)) or "out" in given:
        return torch_isin(*args, **kwargs)
    found = isin_mps_friendly(elements, tests)
    return found.logical_not() if given.get("invert") else found


def infer_mask_on_cpu(generation_mixin: Any, release: str) -> None:
    """Makes transformers 4.41 - 4.44 infer a missing attention mask for MPS too, on the CPU; they refuse it otherwise.

    Nothing happens in other releases, which do not refuse.
    """
    if release.split(".")[:2] not in (["4", "41"], ["4", "42"], ["4", "43"], ["4", "44"]):
        return
    original = generation_mixin._prepare_attention_mask_for_generation

    def infer(self: Any, inputs: Any, pad_token_id: Any, eos_token_id: Any) -> Any:
        copies = [x.cpu() if isinstance(x, torch.Tensor) else x for x in (inputs, pad_token_id, eos_token_id)]
        return original(self, *copies).to(inputs.device)

    generation_mixin._prepare_attention_mask_for_generation = infer

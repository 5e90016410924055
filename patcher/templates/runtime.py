"""Fixes `generate()` of transformers on Apple GPUs (MPS) in this process, without changing any file.

Put this file beside your script, or anywhere on `sys.path`, and add one line before the script generates:

    import mps_runtime_patch

The line works before and after the imports of torch and transformers (4.38 or newer). From then on
- `isin_mps_friendly`, with which transformers checks which tokens are in a list, is right for every input, in every
  module that imports it by name; releases without that function get it;
- where PyTorch has an MPS device, `torch.isin` uses that function too, also where it was imported by name;
- transformers 4.41 - 4.44 infer a missing attention mask on MPS too.
Results on other devices do not change.

It does not reach functions that a module keeps elsewhere than in a global variable (in a list, as a default argument),
other processes (add the line to their programs), and TorchScript: `torch.jit.script` refuses code that calls
`torch.isin` where that is patched.

PYTORCH_ENABLE_MPS_FALLBACK is set to 1 unless it is already set, so that operators that MPS lacks run on the CPU. torch
reads it when it is imported, so import this before torch.

Printed by `mps-patcher template runtime`. This file does not need mps-patcher.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, Optional

os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")

import torch

from .isin import infer_mask_on_cpu, isin, isin_mps_friendly


def replace_everywhere(old: Any, new: Any) -> None:
    """Puts `new` in the place of `old` in every module that is loaded."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        for name, value in list(names.items()):
            if value is old and names is not globals():  # `torch_isin` of this file stays
                setattr(module, name, new)


def patch_pytorch_utils(module: Any) -> None:
    """Gives transformers.pytorch_utils the fixed function, and all that have imported the old one from there."""
    old = getattr(module, "isin_mps_friendly", None)  # transformers 4.38 - 4.44 and 5.1 or newer have none
    if old is not None:
        replace_everywhere(old, isin_mps_friendly)
    module.isin_mps_friendly = isin_mps_friendly


def patch_generation(module: Any) -> None:
    """Lets GenerationMixin in transformers.generation.utils infer masks."""
    infer_mask_on_cpu(module.GenerationMixin, sys.modules["transformers"].__version__)


PATCHES: Dict[str, Callable[[Any], None]] = {
    "transformers.pytorch_utils": patch_pytorch_utils,
    "transformers.generation.utils": patch_generation,
}


class PatchingFinder:
    """Stands first among the finders of modules: patches a module of PATCHES as soon as it is loaded."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Optional[Any]:
        """What the finders behind this one find, with a loader that also patches."""
        if name not in PATCHES:
            return None
        behind = [one for one in sys.meta_path[sys.meta_path.index(self) + 1 :] if hasattr(one, "find_spec")]
        spec: Any = next(filter(None, (finder.find_spec(name, path, target) for finder in behind)), None)
        if spec is not None:
            load = spec.loader.exec_module

            def load_and_patch(module: Any) -> None:
                load(module)
                PATCHES[name](module)

            spec.loader.exec_module = load_and_patch
        return spec


if torch.backends.mps.is_available():  # elsewhere it is right
    replace_everywhere(torch.isin, isin)
sys.meta_path.insert(0, PatchingFinder())
for name, patch in PATCHES.items():
    if name in sys.modules:
        patch(sys.modules[name])

"""Storages that say that they are on the emulated device, and so the saving, loading and sharing of its tensors.

torch writes where a storage was beside it, and asks `UntypedStorage.mps()` for one there when it loads. Both go through
attributes of that class, so every form of `map_location` works as torch has it.
"""

from __future__ import annotations

from multiprocessing.reduction import ForkingPickler
from typing import Any

import torch

from .operators import DEVICE, EmulatedTensor


def mark(storage: Any) -> Any:
    """The storage, which from now on is on the emulated device for whoever asks it."""
    getattr(storage, "_untyped_storage", storage).is_on_mps = True
    return storage


def install_storages() -> None:
    """From now on storages of emulated tensors say so, and are saved and loaded as such."""
    storage: Any = torch.UntypedStorage
    device = storage.device
    storage.device = property(lambda self: DEVICE if hasattr(self, "is_on_mps") else device.__get__(self))
    storage.mps = _on_mps
    ForkingPickler.register(EmulatedTensor, _share)


def _on_mps(storage: Any) -> Any:
    if hasattr(storage, "is_on_mps"):
        return storage
    made: Any = torch.UntypedStorage
    return mark(made(storage.nbytes()).copy_(storage, False))


def _share(_: EmulatedTensor) -> Any:
    raise RuntimeError("_share_filename_: only available on CPU")  # [S] what torch.multiprocessing says on macOS

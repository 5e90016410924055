"""Generators of random numbers for the emulated device. They draw what the CPU's draw."""

from __future__ import annotations

from typing import Any

import torch

from .operators import DEVICE


def check_generator(generator: Any, device: Any) -> None:
    """Refuses a generator of another device than the one on which something is drawn. torch's default fits both."""
    wanted, found = torch.device(device).type, "mps" if getattr(generator, "is_mps", False) else "cpu"
    if wanted in ("mps", "cpu") and wanted != found and generator is not torch.default_generator:
        raise RuntimeError("Expected a '%s' device type for generator but found '%s'" % (wanted, found))  # [B] [S]


class _IsGenerator(type(torch.Generator)):  # type: ignore[misc]
    """Every generator is one of `torch.Generator`, also those that were made without it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, torch._C.Generator)


class Generator(torch.Generator, metaclass=_IsGenerator):
    """`torch.Generator`, which for device "mps" draws by the CPU's algorithm."""

    is_mps: bool

    def __new__(cls, device: Any = "cpu") -> Any:
        is_mps = torch.device(device).type == "mps"
        made: Any = super().__new__(cls, "cpu" if is_mps else device)  # type: ignore[call-arg]
        made.is_mps = is_mps
        return made

    def __init__(self, device: Any = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it draws."""
        return DEVICE if self.is_mps else super().device

    def clone_state(self) -> Any:
        """Another that draws the same from now on."""
        made = Generator(self.device)
        made.set_state(self.get_state())
        return made


def install_generator() -> None:
    """From now on `torch.Generator` makes those for device "mps" too."""
    module: Any = torch
    module.Generator = Generator

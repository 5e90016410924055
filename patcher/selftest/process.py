"""The emulated device for a whole process: in every thread, and where programs ask whether there is an MPS device."""

from __future__ import annotations

import os
import threading
from typing import Any, Optional

import torch

from . import device, emulated, events
from .operators import DEVICE, State, current_rules, use_rules
from .rules import Version, choose_rules


def emulate_everywhere(torch_version: str, macos: str, told: Optional[str]) -> None:
    """Makes device "mps" the emulated one until the process ends. Whoever asks for torch's version is `told` that."""
    if told:
        device.pretend_version(told)
    use_rules(choose_rules(torch_version, macos, torch_version))
    events.install_events()
    mode: Any = emulated.DeviceMode()
    mode.__enter__()
    _enter_mode_in_new_threads()
    _say_that_it_is_here()
    _exchange_generator()
    _exchange_load_and_save()


def _enter_mode_in_new_threads() -> None:
    """A mode holds in one thread alone."""
    threads: Any = threading.Thread
    start = threads.start

    def started(thread: threading.Thread) -> None:
        run = thread.run

        def run_in_mode() -> None:
            with emulated.DeviceMode():
                run()

        thread.run = run_in_mode  # type: ignore[method-assign]
        start(thread)

    threads.start = started


def _say_that_it_is_here() -> None:
    """What programs ask of torch's modules. Memory is the CPU's, so none of it is the device's."""
    backend: Any = torch.backends.mps
    backend.is_available = backend.is_built = lambda: True
    backend.is_macos_or_newer = lambda major, minor=0: _macos() >= (major, minor)
    backend.is_macos13_or_newer = lambda minor=0: _macos() >= (13, minor)
    module: Any = torch.mps
    generator = torch.default_generator
    module.manual_seed, module.seed = lambda seed: _drop(generator.manual_seed(seed)), lambda: _drop(generator.seed())
    module.get_rng_state = lambda _device=None: generator.get_state()
    module.set_rng_state = lambda state, _device=None: generator.set_state(state)
    module.synchronize = module.empty_cache = lambda: None
    module.set_per_process_memory_fraction = lambda _fraction: None
    module.current_allocated_memory = module.driver_allocated_memory = lambda: 0
    module.recommended_max_memory = lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    module.device_count, module.is_available = lambda: 1, lambda: True
    accelerator: Any = getattr(torch, "accelerator", None)  # since 2.6
    if accelerator:
        accelerator.is_available, accelerator.device_count = lambda: True, lambda: 1
        accelerator.current_accelerator = lambda check_available=False: torch.device("mps")  # noqa: ARG005 - its name
        accelerator.synchronize = lambda _device=None: None


def _drop(_: Any) -> None:
    """Of what torch.mps has no answer."""


def _macos() -> Version:
    return current_rules().macos


class _IsGenerator(type(torch.Generator)):  # type: ignore[misc]
    """Every generator is one of `torch.Generator`, also those that were made without it."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, torch._C.Generator)


def _exchange_generator() -> None:
    real: Any = torch.Generator

    class Generator(real, metaclass=_IsGenerator):
        """One for device "mps" draws from the CPU's algorithm, as the emulated device does."""

        def __new__(cls, device: Any = "cpu") -> Any:
            is_mps = torch.device(device).type == "mps"
            made = super().__new__(cls, "cpu" if is_mps else device)
            made.is_mps = is_mps
            return made

        def __init__(self, device: Any = "cpu") -> None:
            pass

        @property
        def device(self) -> torch.device:
            return DEVICE if self.is_mps else super().device

    module: Any = torch
    module.Generator = Generator


def _exchange_load_and_save() -> None:
    load, save = torch.load, torch.save
    module: Any = torch

    def torch_load(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        is_mps = isinstance(map_location, (str, torch.device)) and torch.device(map_location).type == "mps"
        loaded = load(f, "cpu" if is_mps else map_location, *args, **kwargs)
        return _moved(loaded) if is_mps else loaded

    def torch_save(*args: Any, **kwargs: Any) -> None:
        State.saving = True
        try:
            save(*args, **kwargs)
        finally:
            State.saving = False

    module.load, module.save = torch_load, torch_save


def _moved(value: Any) -> Any:
    """The value with its tensors on the device, whatever usual container they are in."""
    if isinstance(value, (torch.Tensor, torch.nn.Module)):
        return value.to("mps")
    if isinstance(value, dict):
        moved = type(value)()
        moved.update((key, _moved(one)) for key, one in value.items())
        return moved
    return type(value)(map(_moved, value)) if type(value) in (list, tuple, set) else value

"""What torch asks of its MPS backend, answered by the emulated device: its memory, its random state, its events.

These are the functions of C++ that `torch.mps`, `torch.backends.mps` and `torch.accelerator` call. What of them there
is, and what else they check, is thus as in the torch that is installed.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any, Dict

import torch

from .operators import EmulatedTensor, current_rules, refuse
from .rules import Refusal

NO_METAL = Refusal(RuntimeError, "The emulated MPS device has no Metal: it neither compiles nor profiles")


def allocated_bytes() -> int:
    """The bytes of the storages of all emulated tensors that Python knows."""
    with torch._C.DisableTorchFunction():
        tensors = [one for one in gc.get_objects() if type(one) is EmulatedTensor]
        storages = {one.untyped_storage().data_ptr(): one.untyped_storage().nbytes() for one in tensors}
    return sum(storages.values())


def memory_bytes() -> int:
    """The machine's, which on a Mac is the device's too."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def install_backend() -> None:
    """From now on torch finds an MPS backend, and takes it for its accelerator."""
    torch._C._has_mps = True
    for name, function in {**_MPS, **_EVENTS}.items():
        setattr(torch._C, name, function)
    for name, function in _ACCELERATOR.items():
        if hasattr(torch._C, name):
            setattr(torch._C, name, function)
    for asked in (torch.backends.mps.is_available, *map(_asked, ("is_macos_or_newer", "is_macos13_or_newer"))):
        getattr(asked, "cache_clear", _drop)()
    _cast_for_autocast()


def _asked(name: str) -> Any:
    return getattr(torch.backends.mps, name, None)


def _cast_for_autocast() -> None:
    """Within `autocast("mps")` (since 2.5) the CPU's autocast casts: its operators are nearly those of MPS."""
    module: Any = torch
    for name in ("set_autocast_enabled", "set_autocast_dtype"):
        if hasattr(torch, "set_autocast_dtype"):
            setattr(module, name, _of_both(getattr(torch, name)))


def _of_both(setter: Any) -> Any:
    def set_for(*args: Any) -> None:
        setter(*args)
        if args[0] == "mps":
            setter("cpu", *args[1:])

    return set_for


def _drop(*_: Any) -> None:
    """All work is done as soon as it is asked for."""


def _no_metal(*_: Any) -> None:
    refuse(NO_METAL)


def _macos_is(major: int, minor: int = 0) -> bool:
    return current_rules().macos >= (major, minor)


_MPS: Dict[str, Any] = {
    "_mps_is_available": lambda: True,
    "_mps_is_on_macos_or_newer": _macos_is,
    "_mps_is_on_macos_13_or_newer": lambda minor=0: _macos_is(13, minor),
    "_mps_get_default_generator": lambda: torch.default_generator,
    "_mps_get_name": lambda: "an emulated MPS device",
    "_mps_synchronize": _drop,  # the name in 2.0
    "_mps_deviceSynchronize": _drop,
    "_mps_emptyCache": _drop,
    "_mps_setMemoryFraction": _drop,
    "_mps_currentAllocatedMemory": allocated_bytes,
    "_mps_driverAllocatedMemory": allocated_bytes,
    "_mps_recommendedMaxMemory": memory_bytes,
    "_mps_maxBufferLength": memory_bytes,
    "_mps_compileShader": _no_metal,
    "_mps_profilerStartTrace": _no_metal,
    "_mps_profilerStopTrace": _no_metal,
}

_ACCELERATOR: Dict[str, Any] = {
    "_get_accelerator": lambda *_: torch.device("mps"),
    "_accelerator_getAccelerator": lambda: torch.device("mps"),
    "_accelerator_getDeviceIndex": lambda: 0,
    "_accelerator_setDeviceIndex": _drop,
    "_accelerator_exchangeDevice": lambda _: 0,
    "_accelerator_maybeExchangeDevice": lambda _: 0,
    "_accelerator_synchronizeDevice": _drop,
    "_accelerator_isAllocatorInitialized": lambda: False,
}

_times: Dict[int, float] = {}


def _acquire(_timing: bool = False) -> int:
    _times[len(_times) + 1] = 0.0
    return len(_times)


def _record(event: int) -> None:
    _times[event] = time.perf_counter()


_EVENTS: Dict[str, Any] = {
    "_mps_acquireEvent": _acquire,
    "_mps_releaseEvent": _drop,
    "_mps_recordEvent": _record,
    "_mps_waitForEvent": _drop,
    "_mps_synchronizeEvent": _drop,
    "_mps_queryEvent": lambda _: True,
    "_mps_elapsedTimeOfEvents": lambda start, end: (_times[end] - _times[start]) * 1000,
}

"""`torch.Event` on the emulated device, where all work is done as soon as it is asked for."""

from __future__ import annotations

import contextlib
from typing import Any, Iterator

import torch


class EmulatedEvent:
    """An event of the emulated device [S] (#142468 gave MPS the real one): what it stands for has always happened.

    For another device this makes the event of that device. transformers 5.20 and later ask for one while generating.
    It tells nothing of the order in which Metal's queues do their work.
    """

    real: Any = None

    def __new__(cls, device: Any = None, *args: Any, **kwargs: Any) -> Any:
        if device is None or torch.device(device).type != "mps":
            given = (device,) if device is not None else ()
            return cls.real(*given, *args, **kwargs)
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        self.device = torch.device("mps:0")

    def record(self, *_: Any) -> None:
        """Nothing is pending."""

    def wait(self, *_: Any) -> None:
        """Nothing is pending."""

    def synchronize(self) -> None:
        """Nothing is pending."""

    def query(self) -> bool:
        """Whether all is done: always."""
        return True


def install_events() -> None:
    """From now on `torch.Event` makes events for device "mps" too, where this torch has events at all."""
    module: Any = torch
    real = getattr(module, "Event", None)
    if real is not None and real is not EmulatedEvent:
        EmulatedEvent.real, module.Event = real, EmulatedEvent


@contextlib.contextmanager
def emulated_events() -> Iterator[None]:
    """Within: as after `install_events`."""
    module: Any = torch
    before = getattr(module, "Event", None)
    install_events()
    try:
        yield
    finally:
        if before is not None:
            module.Event = before

"""The emulated device for a whole process: in every thread, and where programs ask whether there is an MPS device."""

from __future__ import annotations

import os
import threading
from typing import Any, Optional

from . import backend, device, emulated, events, generators, moving, storages
from .operators import use_rules
from .rules import choose_rules


def emulate_everywhere(torch_version: str, macos: str, told: Optional[str]) -> None:
    """Makes device "mps" the emulated one until the process ends. Whoever asks for torch's version is `told` that."""
    if told:
        device.pretend_version(told)
    use_rules(choose_rules(torch_version, macos, torch_version))
    events.install_events()
    mode: Any = emulated.DeviceMode()
    mode.__enter__()
    _enter_mode_in_new_threads()
    backend.install_backend()
    generators.install_generator()
    storages.install_storages()
    moving.keep_parameters()
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # torch.compile knows no such tensors: functions run as written


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

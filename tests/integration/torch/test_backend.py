"""What torch asks of its MPS backend, answered by the emulated device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

Everywhere = Callable[..., list[str]]


def test_torch_finds_it(everywhere: Everywhere) -> None:
    told = everywhere(
        "mps = torch.backends.mps\n"
        "print(mps.is_available(), mps.is_built(), mps.is_macos13_or_newer())\n"
        "print(torch.mps.synchronize(), torch.mps.empty_cache())\n",
        "2.1",
        "12.3",
    )
    assert told == ["True True False", "None None"]


def test_memory_is_what_its_tensors_hold(everywhere: Everywhere) -> None:
    told = everywhere(
        "size = torch.mps.current_allocated_memory\n"
        "print(size())\n"
        "there = torch.zeros(1000, device='mps')\n"
        "view = there[500:]\n"
        "print(size(), torch.mps.driver_allocated_memory())\n"
        "del there\n"
        "print(size())\n"
        "del view\n"
        "print(size())\n"
        "say(lambda: torch.mps.set_per_process_memory_fraction(0.5),\n"
        "    lambda: torch.mps.set_per_process_memory_fraction(3.0))\n"
    )
    assert told == [
        "0",
        "4000 4000",
        "4000",
        "0",
        "None",
        "ValueError: Invalid fraction value: 3.0. Allowed range: 0~2",
    ]


def test_its_events_and_what_needs_metal(everywhere: Everywhere) -> None:
    no_metal = "RuntimeError: The emulated MPS device has no Metal: it neither compiles nor profiles"
    told = everywhere(
        "from torch.mps.event import Event\n"
        "first, second = Event(enable_timing=True), Event(enable_timing=True)\n"
        "first.record(); second.record(); second.synchronize(); second.wait()\n"
        "print(second.query(), first.elapsed_time(second) >= 0)\n"
        "say(torch.mps.profiler.start)\n"
    )
    assert told == ["True True", no_metal]


@pytest.mark.skipif(not hasattr(torch, "set_autocast_dtype"), reason="this torch has no autocast for MPS")
def test_autocast_casts(everywhere: Everywhere) -> None:
    told = everywhere(
        "layer, one = torch.nn.Linear(2, 2).to('mps'), torch.ones(2, device='mps')\n"
        "with torch.autocast('mps'):\n"
        "    print(layer(one).dtype)\n"
        "with torch.autocast('mps', dtype=torch.bfloat16):\n"
        "    print(layer(one).dtype)\n"
        "print(layer(one).dtype, torch.is_autocast_enabled('cpu'))\n"
    )
    assert told == ["torch.float16", "torch.bfloat16", "torch.float32 False"]


@pytest.mark.skipif(not hasattr(torch, "accelerator"), reason="this torch knows no accelerators")
def test_it_is_the_accelerator(everywhere: Everywhere) -> None:
    told = everywhere(
        "from torch import accelerator\n"
        "print(accelerator.current_accelerator(), accelerator.device_count(), accelerator.is_available())\n"
        "print(accelerator.current_device_index(), accelerator.synchronize(), torch.get_device_module().__name__)\n"
    )
    assert told == ["mps 1 True", "0 None torch.mps"]


def test_a_compiled_function_runs_as_written(everywhere: Everywhere) -> None:
    told = everywhere("print(torch.compile(lambda x: x + 1)(torch.ones(1, device='mps')))\n")
    assert told == ["tensor([2.], device='mps:0')"]

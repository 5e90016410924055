"""The devices of this machine: which there are, how one waits for them, and what memory they took."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import platform
import resource
import subprocess
import sys
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence

import torch

from .failures import Failure

ACCELERATORS = ("cuda", "mps")
"""Best first, where `--devices` names none."""
SELFTEST = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "selftest")


class Device(NamedTuple):
    """One device to run the model on."""

    name: str
    """What torch calls it: `cpu`, `mps` or `cuda`."""
    kind: str
    """As `name`, or `emulated-mps`."""
    label: str
    """What it is, for people."""
    rules: Any = None
    """Of the emulated device."""

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within: device `name` is this device. The emulated one slows torch down, so only its own turn is within."""
        with _selftest("emulated").emulated(self.rules) if self.rules else contextlib.nullcontext():
            yield

    def synchronize(self) -> None:
        """Waits until all that was asked of it is done."""
        if self.kind in ACCELERATORS:
            getattr(torch, self.name).synchronize()

    def peak_memory(self) -> Optional[int]:
        """The most memory, in bytes, that was in use up to now; None for an emulated device.

        CPU: the peak of this process's resident set. CUDA: the peak of what torch allocated. MPS keeps no peak: what
        the driver has allocated at this moment, which includes what torch keeps for later use.
        """
        if self.kind == "cuda":
            return int(torch.cuda.max_memory_allocated())
        if self.kind == "mps":
            return int(torch.mps.driver_allocated_memory())
        if self.kind == "cpu":
            unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        return None


def choose(names: Optional[Sequence[str]]) -> List[Device]:
    """The named devices; without names the CPU and the best accelerator that there is, or the emulated MPS device.

    Raises Failure `no-device` where a named one is not here.
    """
    here = available()
    if names is None:
        best = [here[name] for name in ACCELERATORS if name in here]
        return [here["cpu"], best[0] if best else emulated_device()]
    for name in names:
        if name not in here:
            found = (name.upper() if name != "cpu" else name, torch.__version__, ", ".join(here))
            raise Failure("no-device", "There is no %s device for torch %s on this machine; there is: %s." % found)
    return [here[name] for name in names]


def available() -> Dict[str, Device]:
    """By name, the real devices that this torch can use."""
    found = {"cpu": Device("cpu", "cpu", cpu_name())}
    if torch.cuda.is_available():
        found["cuda"] = Device("cuda", "cuda", torch.cuda.get_device_name())
    if torch.backends.mps.is_available():
        found["mps"] = Device("mps", "mps", "%s GPU, macOS %s" % (cpu_name(), platform.mac_ver()[0]))
    return found


def emulated_device() -> Device:
    """The self-test's device, with the rules of the installed torch on the macOS that is taken where none is named."""
    releases = _selftest("releases")
    torch_release = releases.parse_version(torch.__version__)
    macos = releases.usual_macos(torch_release)
    shown = releases.show(torch_release), releases.show(macos)
    label = "emulated MPS device, with the rules of torch %s on macOS %s" % shown
    return Device("mps", "emulated-mps", label, _selftest("rules").Rules(torch_release, macos))


def cpu_name() -> str:
    """The processor's name as the system has it, or its architecture."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    return platform.machine()


def _selftest(name: str) -> Any:
    """A module of the self-test, which lies beside this folder and has the emulated device."""
    package = "mps_patcher_selftest"
    if package not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            package, os.path.join(SELFTEST, "__init__.py"), submodule_search_locations=[SELFTEST]
        )
        if spec is None or spec.loader is None:
            raise ImportError(SELFTEST)
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])
    return importlib.import_module(package + "." + name)

"""Which device the checks run on: the real MPS where there is one, else ours under chosen rules."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import platform
import sys
from typing import Any, Iterator, NamedTuple, Optional

import torch

from . import emulated
from .releases import show
from .rules import Rules, choose_rules


class Unavailable(Exception):
    """The asked-for device is not here."""


class Device(NamedTuple):
    """What the checks run on. `rules` is None for the real one."""

    kind: str
    torch: str
    macos: str
    rules: Optional[Rules]

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Within: device "mps" is this device."""
        with emulated.emulated(self.rules) if self.rules else contextlib.nullcontext():
            yield

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Within: on the emulated device, reading values back is an error and misreading releases misread."""
        with emulated.strict() if self.rules else contextlib.nullcontext():
            yield

    def has(self, dtype: Any) -> bool:
        """Whether the device has tensors of `dtype`, and compares them. To be asked within `active`."""
        try:
            torch.zeros(1, dtype=dtype, device="mps").eq(0)
        except (TypeError, RuntimeError):  # the latter of uint8 on macOS 12
            return False
        return True


def choose(kind: str, torch_version: Optional[str], macos: Optional[str]) -> Device:
    """The device of a kind (auto, mps, emulated); `torch_version` and `macos` choose the rules of an emulated one.

    Raises:
        Unavailable: the real device was asked for and is not here.
        NoRules: that torch is unknown, or does not run on that macOS.
    """
    torch.set_num_threads(1)  # the models are too small to share out, and the machine may be busy
    real = torch.backends.mps.is_available()
    if kind == "mps" and not real:
        raise Unavailable("PyTorch %s has no MPS device on this machine" % torch.__version__)
    if real and kind != "emulated" and not (torch_version or macos):
        return Device("mps", torch.__version__, platform.mac_ver()[0], None)
    rules = choose_rules(torch_version, macos, torch.__version__)
    return Device("emulated-mps", show(rules.torch), show(rules.macos), rules)


def pretend(version: str) -> Optional[str]:
    """Make transformers believe in torch of this version, such as '2.1'. Why it cannot, in words; None if it can.

    A transformers that cannot be imported at all is no refusal: the checks fail with what it says of itself.
    """
    metadata: Any = importlib.metadata
    installed, real_version = torch.__version__, metadata.version
    pretend_version(version)
    try:
        utils = importlib.import_module("transformers.utils")
    except Exception as error:
        torch.__version__, metadata.version = installed, real_version
        if not _can_import_transformers():
            return None
        # it reached for what only a newer torch has
        return "With torch %s, transformers cannot be made to see torch %s (%s)" % (installed, version, error)
    return None if utils.is_torch_available() else "This transformers does not run with torch %s" % version


def _can_import_transformers() -> bool:
    """Whether it can be imported afresh, after an attempt that left a part of it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]
    try:
        importlib.import_module("transformers.utils")
    except Exception:
        return False
    return True


def pretend_version(version: str) -> None:
    """Make whoever asks for torch's version from now on get this one, such as '2.1'."""
    full = version if version.count(".") > 1 else version + ".0"
    metadata: Any = importlib.metadata
    real_version = metadata.version

    def pretended(name: str) -> Any:
        return full if name == "torch" else real_version(name)

    metadata.version = pretended
    torch.__version__ = torch.torch_version.TorchVersion(full)

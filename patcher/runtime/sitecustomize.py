"""The import hook of `mps-patcher run`. Python runs it as it starts, since its folder is on PYTHONPATH.

Modules of the target's transformers of which a patched file was prepared are loaded from that file, and torch is
followed by after_torch.py. Every Python that inherits PYTHONPATH comes by here, of whatever version and environment: so
this imports next to nothing, and leaves those as they are that do not import from the target.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Optional

SITE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.dirname(SITE)
"""What was prepared: site/ with this file, files/ with the patched ones, and what follows torch."""


class PatchedFinder:
    """Finds what the finders behind it find, and exchanges the loader where a patched file was prepared."""

    def __init__(self, site_packages: str) -> None:
        self.site_packages = site_packages

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Optional[ModuleSpec]":
        """The spec of `torch` and of transformers' modules; None for all others."""
        if name == "transformers" and os.path.exists(os.path.join(FOLDER, "emulation")):
            __import__("torch")  # transformers asks for torch's version before it imports it
        if name == "torch":
            return _with_sequel(_found_by_others(self, name, path, target))
        return self._patched(_found_by_others(self, name, path, target)) if name.startswith("transformers.") else None

    def _patched(self, spec: "Optional[ModuleSpec]") -> "Optional[ModuleSpec]":
        """The spec; its code comes from the prepared file, whose path is what tracebacks and debuggers show.

        `__file__` stays the installed one. Bytecode is kept beside the prepared file.
        """
        origin = os.path.abspath(spec.origin) if spec and spec.origin else ""
        if spec and origin.startswith(self.site_packages + os.sep):
            prepared = os.path.join(FOLDER, "files", origin[len(self.site_packages) + 1 :])
            if os.path.isfile(prepared):
                from importlib.machinery import SourceFileLoader

                spec.loader = SourceFileLoader(spec.name, prepared)
        return spec


def _found_by_others(finder: PatchedFinder, name: str, path: "Any", target: "Any") -> "Optional[ModuleSpec]":
    specs = (other.find_spec(name, path, target) for other in sys.meta_path if other is not finder)
    return next((spec for spec in specs if spec), None)


def _with_sequel(spec: "Optional[ModuleSpec]") -> "Optional[ModuleSpec]":
    """The spec of torch, whose import ends with after_torch.py."""
    if spec and spec.loader:
        loader: "Any" = spec.loader
        execute = loader.exec_module

        def exec_module(module: "ModuleType") -> None:
            execute(module)
            _run_sequel()

        loader.exec_module = exec_module
    return spec


def _run_sequel() -> None:
    import importlib.util

    path = os.path.join(FOLDER, "after_torch.py")
    spec = importlib.util.spec_from_file_location("mps_patcher_after_torch", path)
    if spec and spec.loader:
        module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)


def _run_shadowed() -> None:
    """Runs the sitecustomize that there would be without this one, if there is any."""
    finders = (finder.find_spec("sitecustomize", None) for finder in sys.meta_path)
    spec = next((spec for spec in finders if spec), None)
    if spec and spec.loader:
        from importlib.util import module_from_spec

        module = sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(module)


def _start() -> None:
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != SITE]
    with open(os.path.join(FOLDER, "site-packages"), encoding="utf-8", errors="surrogateescape") as file:
        site_packages = file.read()
    if site_packages in [os.path.abspath(entry) for entry in sys.path]:
        sys.meta_path.insert(0, PatchedFinder(site_packages))
        if "torch" in sys.modules:  # a .pth file imported it
            _run_sequel()


_start()
_run_shadowed()

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
    from typing import Any, List, Optional

SITE = os.path.dirname(os.path.abspath(__file__))
FOLDER = os.path.dirname(SITE)
"""What was prepared: site/ with this file, files/ with the patched ones, and what follows torch."""


class PatchedFinder:
    """Finds what the finders behind it find, and exchanges the loader where a patched file was prepared."""

    def __init__(self, roots: "List[str]") -> None:
        self.roots = roots  # of the target's site-packages, every spelling on sys.path

    def find_spec(self, name: str, path: "Any" = None, target: "Any" = None) -> "Optional[ModuleSpec]":
        """The spec of `torch` and of transformers' modules; None for all others."""
        if name == "transformers" and os.path.exists(os.path.join(FOLDER, "emulation")):
            __import__("torch")  # transformers asks for torch's version before it imports it
        if name == "torch":
            return _with_sequel(_found_behind(self, name, path, target))
        if name == "transformers" or name.startswith("transformers."):
            return self._patched(_found_behind(self, name, path, target))
        return None

    def _patched(self, spec: "Optional[ModuleSpec]") -> "Optional[ModuleSpec]":
        """The spec; its code comes from the prepared file, whose path is what tracebacks and debuggers show.

        `__file__` stays the installed one. Bytecode is kept beside the prepared file; for others none is written.
        """
        origin = os.path.abspath(spec.origin) if spec and spec.origin else ""
        root = next((root for root in self.roots if origin.startswith(root + os.sep)), None)
        if spec and root:
            prepared = os.path.join(FOLDER, "files", origin[len(root) + 1 :])
            if os.path.isfile(prepared):
                from importlib.machinery import SourceFileLoader

                spec.loader = SourceFileLoader(spec.name, prepared)
            elif hasattr(spec.loader, "set_data"):
                loader: "Any" = spec.loader
                loader.set_data = _write_nothing
        return spec


def _write_nothing(*_args: "Any", **_kwargs: "Any") -> None:
    """In the place of a loader's `set_data`, which writes bytecode."""


def _found_behind(finder: PatchedFinder, name: str, path: "Any", target: "Any") -> "Optional[ModuleSpec]":
    """What the finders behind it find. Those before it found nothing, or may be asking just now."""
    return _first_spec(sys.meta_path[sys.meta_path.index(finder) + 1 :], name, path, target)


def _first_spec(finders: "List[Any]", name: str, path: "Any" = None, target: "Any" = None) -> "Optional[ModuleSpec]":
    """As the import system does, without finders of the old protocol."""
    specs = (finder.find_spec(name, path, target) for finder in finders if hasattr(finder, "find_spec"))
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
    spec = _first_spec(sys.meta_path, "sitecustomize")
    if spec and spec.loader:
        from importlib.util import module_from_spec

        module = sys.modules["sitecustomize"] = module_from_spec(spec)
        spec.loader.exec_module(module)


def _start() -> None:
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != SITE]
    with open(os.path.join(FOLDER, "site-packages"), encoding="utf-8", errors="surrogateescape") as file:
        site_packages = file.read()
    real = os.path.realpath(site_packages)
    roots = [os.path.abspath(entry) for entry in sys.path if os.path.realpath(entry) == real]
    if roots:
        sys.meta_path.insert(0, PatchedFinder(roots))
        if "torch" in sys.modules:  # a .pth file imported it
            _run_sequel()


_start()
_run_shadowed()

"""The command line: the program and its commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import cast

import click

from patcher.boundary import Program
from patcher.options import common_options, json_option

_MODULES = {
    "status": "patching",
    "apply": "patching",
    "verify": "patching",
    "revert": "patching",
    "setup": "setting_up",
    "explain": "explaining",
    "doctor": "explaining",
    "run": "running",
    "template": "running",
    "evaluate": "running",
    "help": "general",
    "version": "general",
}
"""In the order of use: the module of `patcher.commands` that has the command."""


class Commands(Mapping[str, click.Command]):
    """The commands by name. A module is loaded when one of its commands is asked for: all others start sooner."""

    def __getitem__(self, name: str) -> click.Command:
        """The command. Raises KeyError where there is none."""
        module = import_module(f"patcher.commands.{_MODULES[name]}")
        return cast(click.Command, getattr(module, f"{name}_command"))

    def __contains__(self, name: object) -> bool:
        """Whether there is such a command; nothing is loaded."""
        return name in _MODULES

    def __iter__(self) -> Iterator[str]:
        """Their names."""
        return iter(_MODULES)

    def __len__(self) -> int:
        """How many there are."""
        return len(_MODULES)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
    commands=cast(MutableMapping[str, click.Command], Commands()),
)
@json_option
@common_options
def program() -> None:
    """Fix generate() of transformers on Apple GPUs: patch the installed source, check the patch, and undo it."""

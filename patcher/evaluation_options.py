"""The options of evaluate, and what they become."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from patcher.evaluation.options import EvaluateOptions
from patcher.model import NotFound, Target
from patcher.options import NonEmptyPath, WholeNumber, common_options
from patcher.targets.find import TargetOptions, current_folder, find_targets

DEVICES = ("cpu", "mps", "cuda")


def _devices(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """`cpu,mps` as its names, each once. Raises click.BadParameter for others."""
    if value is None:
        return None
    names = tuple(value.split(","))
    if unknown := [name for name in names if name not in DEVICES]:
        devices = ", ".join(DEVICES)
        raise click.BadParameter(f"{unknown[0]!r} is not a device. The devices are {devices}, separated by commas.")
    if len(set(names)) < len(names):
        raise click.BadParameter(f"{value!r} names the same device twice.")
    return names


def evaluate_options(function: Callable[..., None]) -> Callable[..., None]:
    """The options of evaluate alone, which become EvaluateOptions, the argument `evaluation`."""

    @functools.wraps(function)
    def collected(*args: Any, **given: Any) -> None:
        settings = {name: given.pop(name) for name in EvaluateOptions._fields}
        settings["dtype"] = "float32" if settings["dtype"] == "auto" else settings["dtype"]
        function(*args, evaluation=EvaluateOptions(**settings), **given)

    path, dtype = NonEmptyPath(path_type=Path), click.Choice(["auto", "float32", "float16", "bfloat16"])
    options = (
        click.option("--model", required=True, metavar="PATH_OR_NAME",
                     help="The folder of a model and its tokenizer, or a model name on the Hub."),
        click.option("--scenarios", required=True, type=path, metavar="FILE",
                     help="JSON lines with id, prompt or messages, and optionally expected."),
        click.option("--devices", metavar="LIST", callback=_devices,
                     help="Such as cpu,mps or cpu,cuda. The others are compared with the first. [default: cpu and the "
                     "best accelerator; if there is none, cpu and an emulated MPS device, which is not timed]"),
        click.option("--max-new-tokens", type=WholeNumber(1), metavar="N", default=64, show_default=True,
                     help="Tokens to generate per scenario, at most."),
        click.option("--batch-size", type=WholeNumber(1), metavar="N", default=1, show_default=True,
                     help="Scenarios per batch."),
        click.option("--dtype", type=dtype, default="auto", show_default=True,
                     help="The dtype of the weights. auto is float32 on every device, so that tokens can be compared."),
        click.option("--warmup", type=WholeNumber(0), metavar="N", default=1, show_default=True,
                     help="Scenarios that each device runs first, not timed."),
        click.option("--repeat", type=WholeNumber(1), metavar="N", default=1, show_default=True,
                     help="Times each batch is run and timed."),
        click.option("--seed", type=WholeNumber(0, 2**31), metavar="N",
                     help="Sample with this seed. [default: greedy search]"),
        click.option("--output", type=path, metavar="DIR", default=Path("mps-patcher-evaluation"),
                     help="The folder for results and reports. [default: mps-patcher-evaluation]"),
        click.option("--resume", is_flag=True, help="Continue the evaluation in the --output folder."),
        click.option("--python", type=path, metavar="PATH",
                     help="The interpreter, or the folder of the environment, to use."),
        click.option("--lock-timeout", type=WholeNumber(0, 86400), metavar="S", default=30, show_default=True,
                     help="Seconds to wait for another mps-patcher that uses the same target or folder."),
        common_options,
    )  # fmt: skip
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), collected)


def find_target(python: Path | None) -> Target:
    """The target of that interpreter, or that which the environment means. Raises PatcherError where there is none."""
    (found,) = find_targets(TargetOptions(python=(python,) if python else ()), os.environ, current_folder())
    if isinstance(found, NotFound):
        raise found.error
    return found

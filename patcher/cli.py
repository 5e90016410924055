"""The command line: the program and its commands."""

from __future__ import annotations

import click

from patcher.boundary import Program
from patcher.commands.explaining import doctor_command, explain_command
from patcher.commands.general import help_command, version_command
from patcher.commands.patching import apply_command, revert_command, status_command, verify_command
from patcher.commands.running import evaluate_command, run_command, template_command
from patcher.options import common_options, json_option


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=False,
)
@json_option
@common_options
def program() -> None:
    """Repairs transformers' membership test on Apple GPUs in the installed source, proves it, and can take it back."""


for command in (
    status_command, apply_command, verify_command, revert_command, explain_command, doctor_command, run_command,
    template_command, evaluate_command, help_command, version_command,
):  # fmt: skip
    program.add_command(command)

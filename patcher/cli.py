"""The command line: the program and its commands."""

from __future__ import annotations

import click

from patcher.boundary import Program
from patcher.commands.explaining import doctor_command, explain_command
from patcher.commands.patching import apply_command, revert_command, status_command, verify_command
from patcher.commands.running import evaluate_command, run_command, template_command
from patcher.options import common_options

EPILOG = """\b
Exit codes:
  0  done, or nothing to do; for verify, everything passed
  1  failed or refused; nothing was changed, or it was put back
  2  the command line is wrong
  3  cannot tell: no transformers, no torch, or not the asked-for device
  4  status --check: a target is not patched, and generate() or an import fails there
Every target is tried; of several codes the first of 1, 3, 4 that occurs counts.
"""


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
    no_args_is_help=False,
)
@common_options
def program() -> None:
    """Repairs transformers' membership test on Apple GPUs in the installed source, proves it, and can take it back."""


for command in (
    status_command, apply_command, verify_command, revert_command, explain_command, doctor_command, run_command,
    template_command, evaluate_command,
):  # fmt: skip
    program.add_command(command)

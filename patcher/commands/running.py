"""run, template and evaluate: they run programs with the patches in memory, or print what does."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import NoReturn

import click

from patcher import progress
from patcher.boundary import echo, notify
from patcher.catalogue import load_catalogue
from patcher.command_options import ProgramCommand, check_run_options, program_words, run_options
from patcher.commands.patching import invocation_of, lock_timeout
from patcher.errors import PatcherError
from patcher.evaluation.options import EvaluateOptions
from patcher.evaluation_options import evaluate_options, find_target
from patcher.help_text import HelpfulCommand
from patcher.options import NonEmptyPath, OutputOptions, Request, common_options, target_options
from patcher.storage.lock import LockTimeout
from patcher.suggest import completed_error
from patcher.template import KINDS, render, write_new


@click.command("run", cls=ProgramCommand)
@run_options
@target_options
def run_command(
    request: Request, emulate: bool, torch: str | None, macos: str | None, unpatched: bool, report: Path | None
) -> NoReturn:
    """Run a program with the patches in memory.

    It runs in the target's interpreter, and no file of the installation changes. -m MODULE and -c CODE work as in
    Python.
    """
    from patcher.run import Emulation, begin_report, emulation_notice, prepare  # only this command needs it

    check_run_options(emulate=emulate, torch=torch, report=report)
    words, target = program_words(), request.target()
    emulation = Emulation(torch=torch, macos=macos) if emulate else None
    try:
        environ = prepare(
            target, request.patches, named=request.named, lock=lock_timeout(request), macos=macos,
            unpatched=unpatched, emulate=emulation, environ=os.environ,
        )  # fmt: skip
        if emulation and report:
            environ |= begin_report(report, target, emulation, words)
    except PatcherError as error:
        raise completed_error(error, target, invocation_of(request)) from error
    if emulation:
        notify(emulation_notice(target, emulation), request.output)
    if report:
        notify(f"The report will be in {report} and {report.with_suffix('.md')}.", request.output)
    replace_process([str(target.python), *words], environ)


def replace_process(command: list[str], environ: dict[str, str]) -> NoReturn:
    """Ends this process as that command, which has its streams, its signals and its exit code."""
    progress.clear()
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    try:
        os.execve(command[0], command, environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        message = f"{command[0]} cannot be started: {error.strerror}."
        raise PatcherError("python-broken", message, "Name a working Python with --python.") from error


@click.command("template", cls=HelpfulCommand)
@click.argument("kind", type=click.Choice(KINDS), default=KINDS[0], required=False)
@click.option("--output", type=NonEmptyPath(path_type=Path), metavar="FILE", help="Write to this new file instead.")
@common_options
@click.pass_obj
def template_command(output_options: OutputOptions, kind: str, output: Path | None) -> None:
    """Print a script to start from.

    The script does not need mps-patcher. It runs on Apple GPUs, on CUDA and on the CPU.

    `script` loads a model and generates. `runtime` is a module for existing scripts to import.
    """
    text = render(kind, load_catalogue())
    if output is not None:
        write_new(text, output)
        text = "" if output_options.quiet else f"Wrote {output}."
    echo(text.removesuffix("\n"), output_options)


@click.command("evaluate", cls=HelpfulCommand)
@evaluate_options
@click.pass_obj
def evaluate_command(
    output: OutputOptions, evaluation: EvaluateOptions, python: Path | None, lock_timeout: int
) -> None:
    """Compare the answers and the speed of a model on the CPU and on GPUs.

    The model runs in the target's own interpreter. If the installation is not patched, it is patched in memory.
    """
    from patcher.evaluation.patched import prepare_interpreter  # only this command needs it
    from patcher.evaluation.progress import choose_progress
    from patcher.evaluation.reports import PAGE
    from patcher.evaluation.session import evaluate
    from patcher.evaluation.table import as_table

    show = functools.partial(notify, output=output)
    lock = LockTimeout(seconds=lock_timeout, notify=show)
    target, terminal = find_target(python), bool(sys.stderr and sys.stderr.isatty())
    patched = prepare_interpreter(target, os.environ, lock)
    progress = choose_progress(show, quiet=output.quiet, terminal=terminal)
    report = evaluate(target, evaluation, patched, lock=lock, progress=progress)
    if not output.quiet:
        echo(as_table(report, evaluation.output), output)
        if not (evaluation.output / PAGE).exists():
            notify(
                f"{PAGE} needs matplotlib: install mps-patcher[evaluate], then repeat the command with --resume.",
                output,
            )

"""The command line: parse, call, render, exit. Only this and the boundary print, and only they end the process."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from patcher.boundary import Program, echo, notify
from patcher.catalogue import load_catalogue
from patcher.errors import PatcherError
from patcher.evaluation.options import EvaluateOptions
from patcher.evaluation_options import evaluate_options, find_target
from patcher.model import Effect, Result, State
from patcher.options import (
    NonEmptyPath,
    OutputOptions,
    ProgramCommand,
    Request,
    backup_option,
    check_run_options,
    check_verify_options,
    common_options,
    macos_option,
    program_words,
    run_options,
    target_options,
    verify_options,
    write_options,
)
from patcher.output import TextStyle, as_json, as_text, diffs, failures
from patcher.storage.lock import LockTimeout
from patcher.template import KINDS, render, write_new

SEVERITY = (1, 3, 4, 0)
"""Exit codes, worst first: a failure outweighs a question left open, and that one a known need to patch."""
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


@program.command("status")
@click.option(
    "--check", is_flag=True, help="Exit 4 if a target is not patched, and generate() or an import fails there."
)
@macos_option
@target_options
def status_command(request: Request, check: bool, macos: str | None) -> None:
    """Say what state each patch is in, and what its defect does here."""
    from patcher import operations  # `run` does without

    results = operations.status(request.targets(), request.patches, lock=lock_timeout(request), macos=macos)
    report_results(request, results, check=check)


@program.command("apply")
@write_options
@backup_option
@macos_option
@target_options
def apply_command(request: Request, **settings: Any) -> None:
    """Apply the patches whose defect has an effect on the target."""
    from patcher import operations

    settings |= {"named": request.named, "lock": lock_timeout(request)}
    results = operations.apply(request.targets(), request.patches, **settings)
    report_results(request, results)


@program.command("verify")
@verify_options
@target_options
def verify_command(
    request: Request, static: bool, device: str | None, torch: str | None, macos: str | None, timeout: int
) -> None:
    """Prove the patch by running it, on MPS or an emulated MPS device.

    It runs in the target's own interpreter: first the function alone, then generate() of small models made in memory.
    """
    check_verify_options(static=static, device=device, torch=torch, macos=macos)
    from patcher.verify import VerifyOptions, verify_targets  # only this command needs it

    options = VerifyOptions(device=device or "auto", torch=torch, macos=macos, static=static, timeout=timeout)
    if not (static or request.output.json) and sys.stderr and sys.stderr.isatty():
        notify("Running the self-test in the target's interpreter; this takes some seconds.", request.output)
    lock = lock_timeout(request)
    results = verify_targets(request.targets(), request.patches, options, named=request.named, lock=lock)
    report_results(request, results)


@program.command("revert")
@write_options
@target_options
def revert_command(request: Request, **settings: Any) -> None:
    """Put back the original bytes; do nothing where none are due."""
    from patcher import operations

    results = operations.revert(request.targets(), request.patches, lock=lock_timeout(request), **settings)
    report_results(request, results)


@program.command("run", cls=ProgramCommand)
@run_options
@target_options
def run_command(request: Request, emulate: bool, torch: str | None, macos: str | None, unpatched: bool) -> NoReturn:
    """Run a program in the target's interpreter with the patches in memory.

    Not one byte of the installation changes. Instead of `-- SCRIPT` it may be -m MODULE or -c CODE, as with Python.
    """
    from patcher.run import Emulation, emulation_notice, prepare  # only this command needs it

    words, target = program_words(), request.target()
    check_run_options(emulate=emulate, torch=torch)
    emulation = Emulation(torch=torch, macos=macos) if emulate else None
    environ = prepare(
        target, request.patches, named=request.named, lock=lock_timeout(request), macos=macos, unpatched=unpatched,
        emulate=emulation, environ=os.environ,
    )  # fmt: skip
    if emulation:
        notify(emulation_notice(target, emulation), request.output)
    replace_process([str(target.python), *words], environ)


def replace_process(command: list[str], environ: dict[str, str]) -> NoReturn:
    """Ends this process as that command, which has its streams, its signals and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    try:
        os.execve(command[0], command, environ)  # noqa: S606 - no shell is wanted
    except OSError as error:
        message = f"{command[0]} cannot be started: {error.strerror}."
        raise PatcherError("python-broken", message, "Name a working Python with --python.") from error


@program.command("template")
@click.argument("kind", type=click.Choice(KINDS), default=KINDS[0], required=False)
@click.option("--output", type=NonEmptyPath(path_type=Path), metavar="FILE", help="Write this new file, instead.")
@common_options
@click.pass_obj
def template_command(output_options: OutputOptions, kind: str, output: Path | None) -> None:
    """Print a script to start from.

    It depends on nothing of mps-patcher, and runs on Apple GPUs, on CUDA and on the CPU.

    \b
    script   loads a model and generates
    runtime  mps_runtime_patch.py, for scripts that exist: they import it
    """
    text = render(kind, load_catalogue())
    if output is not None:
        write_new(text, output)
        text = "" if output_options.quiet else f"Wrote {output}."
    echo(text.removesuffix("\n"), output_options)


@program.command("evaluate")
@evaluate_options
@click.pass_obj
def evaluate_command(
    output: OutputOptions, evaluation: EvaluateOptions, python: Path | None, lock_timeout: int
) -> None:
    """Run a model on each device, and say whether its answers agree and how fast they are.

    It runs in the target's own interpreter, patched in memory if the installation is not.
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
            notify(f"{PAGE} needs matplotlib: install mps-patcher[evaluate], and say --resume to have it.", output)


def lock_timeout(request: Request) -> LockTimeout:
    """How long to wait for another mps-patcher; the user is told of it."""
    return LockTimeout(seconds=request.lock_timeout, notify=functools.partial(notify, output=request.output))


def report_results(request: Request, results: Sequence[Result], *, check: bool = False) -> NoReturn:
    """Tells of the results, and ends the command with its exit code."""
    output, command = request.output, str(request.output.command)
    if command != "status" and not request.named:
        results = relevant(results)
    code = min((exit_code(result, check=check) for result in results), key=SEVERITY.index, default=0)
    if output.json:
        echo(as_json(command, results, ok=code == 0), output)
    else:
        width = terminal_width() if sys.stdout and sys.stdout.isatty() else None
        style = TextStyle(verbose=output.verbose, explicit=request.explicit, width=width)
        echo(diffs(results) if output.quiet else as_text(command, results, style), output)
        echo(failures(results), output, err=True)
    raise click.exceptions.Exit(code)


def terminal_width() -> int:
    """The columns to wrap sentences at."""
    import shutil  # only a terminal needs it

    return min(shutil.get_terminal_size().columns, 110)


def relevant(results: Sequence[Result]) -> tuple[Result, ...]:
    """The results, less those of patches that a target has nothing for and no use for, where it has others."""

    def is_idle(result: Result) -> bool:
        matters = result.impact is not None and result.impact.effect is not Effect.NONE
        return result.state is State.ABSENT and not (matters or result.changed or result.error)

    busy = {result.target for result in results if not is_idle(result)}
    return tuple(result for result in results if not is_idle(result) or result.target not in busy)


def exit_code(result: Result, *, check: bool) -> int:
    """The exit code of one result."""
    if result.error is not None:
        return result.error.exit_code
    if any(test.status == "failed" for test in result.checks):
        return 1
    fails = result.impact is not None and result.impact.effect is Effect.FAILS
    return 4 if check and fails and result.state not in (State.PATCHED, State.OUTDATED) else 0

"""Help: options under headings, examples and exit codes of each command, from 40 columns on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click

from patcher.catalogue import load_catalogue

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_HEADINGS = {
    "Target options": {"--python", "--site-packages", "--under", "--lock-timeout"},
    "Global options": {"--json", "--quiet", "--verbose", "--color", "--version", "--help"},
}
"""Which options stand under which heading; all others are the command's own, under `Options`."""

_REFUSED = (1, "failed or refused; nothing was changed, or all changes were undone")
_USAGE = (2, "the command line is wrong")
_NONE_FOUND = (3, "cannot tell: no transformers was found")
_EXIT_CODES: dict[str, tuple[tuple[int, str], ...]] = {
    "mps-patcher": (
        (0, "done, or nothing to do; for verify, everything passed"),
        _REFUSED,
        _USAGE,
        (3, "cannot tell: transformers, torch or the requested device is missing"),
        (4, "status --check: a target is not patched, and generate() or an import fails there"),
    ),
    "status": (
        (0, "done"),
        (1, "a target was refused"),
        _USAGE,
        _NONE_FOUND,
        (4, "--check: a target is not patched, and generate() or an import fails there"),
    ),
    "apply": ((0, "patched, or nothing to do"), _REFUSED, _USAGE, _NONE_FOUND),
    "verify": (
        (0, "every check passed"),
        (1, "a check failed, or a target was refused"),
        _USAGE,
        (3, "cannot tell: transformers, torch or the requested device is missing"),
    ),
    "revert": ((0, "reverted, or nothing to do"), _REFUSED, _USAGE, _NONE_FOUND),
    "explain": (
        (0, "done"),
        (1, "failed"),
        _USAGE,
        (3, "it is another error, or one that mps-patcher does not know"),
    ),
    "setup": (
        (0, "set up, or removed, or nothing to do"),
        (1, "failed or refused; --check: a target is not set up"),
        _USAGE,
        _NONE_FOUND,
    ),
    "doctor": ((0, "done"), (1, "failed"), _USAGE),
    "run": ((1, "refused; the program was not started"), _USAGE, _NONE_FOUND),
    "template": ((0, "done"), (1, "the file exists, or cannot be written"), _USAGE),
    "evaluate": (
        (0, "done"),
        (1, "failed or refused"),
        _USAGE,
        (3, "cannot tell: transformers, torch or the requested device is missing"),
    ),
}
_NOTES = {
    "mps-patcher": "Every target is tried. The exit code is the first of 1, 3 and 4 that occurs.\n\n"
    "Shell completion, in .zshrc (for .bashrc: bash_source):\n\n"
    '\b\neval "$(_MPS_PATCHER_COMPLETE=zsh_source mps-patcher)"',
    "run": "Once the program runs, its exit code is the exit code.",
}
_EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {
    "mps-patcher": (
        ("mps-patcher status", "Is this environment affected?"),
        ("mps-patcher apply", "Patch transformers."),
        ("mps-patcher verify", "Check the patch by running it."),
        ("mps-patcher revert", "Restore the original files."),
        ("mps-patcher help apply", "The options of a command."),
    ),
    "status": (
        ("mps-patcher status", "The active environment, or the nearest .venv."),
        ("mps-patcher status --python .venv", "Another environment or interpreter."),
        ("mps-patcher status --under . --check", "For CI: exit code 4 if anything below needs a patch."),
        ("mps-patcher status --macos 13", "For a Mac with macOS 13."),
    ),
    "apply": (
        ("mps-patcher apply --dry-run --diff", "Show what would change."),
        ("mps-patcher apply", "Patch transformers."),
        ("mps-patcher apply --python .venv", "In another environment."),
        ("mps-patcher apply --no-backup --python /opt/app", "When building an image."),
    ),
    "verify": (
        ("mps-patcher verify", "On the Apple GPU, or emulated if there is none."),
        ("mps-patcher verify --torch 2.6 --macos 13", "Emulate another torch and macOS."),
        ("mps-patcher verify --static", "Without running torch."),
    ),
    "revert": (
        ("mps-patcher revert", "Restore the original files."),
        ("mps-patcher revert --dry-run --diff", "Show what would change."),
    ),
    "setup": (
        ("mps-patcher setup", "Install the hook."),
        ("mps-patcher setup --check", "For CI: exit code 1 if it is not there."),
        ("mps-patcher setup --remove", "Remove it; the patches stay."),
    ),
    "explain": (
        ("mps-patcher explain 'tuple index out of range'", "What this error means."),
        ("mps-patcher explain", "List the known errors."),
    ),
    "doctor": (("mps-patcher doctor --python .venv", "What to paste into a bug report."),),
    "run": (
        ("mps-patcher run -- generate.py --fast", "A script with its own options."),
        ("mps-patcher run -m pytest tests", "A module, as `python -m` runs it."),
        ("mps-patcher run --emulate --unpatched -- generate.py", "See the error without a Mac."),
    ),
    "template": (
        ("mps-patcher template --output generate.py", "A new script."),
        ("mps-patcher template runtime --output mps_runtime_patch.py", "A module for an existing script."),
    ),
    "evaluate": (
        ("mps-patcher evaluate --model DIR --scenarios FILE", "The CPU and the best accelerator."),
        ("mps-patcher evaluate --model DIR --scenarios FILE --devices cpu,mps", "The CPU and the Apple GPU."),
    ),
}


class HelpFormatter(click.HelpFormatter):
    """click's, for terminals narrower than 50 columns too, where a long first column would leave no room."""

    def __init__(self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None) -> None:
        super().__init__(indent_increment, width, max_width)
        if width is None and self.width == 50:  # click's least
            import shutil

            self.width = max(30, min(50, shutil.get_terminal_size().columns - 2))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Two columns; in a narrow terminal what is long stands on a line of its own."""
        super().write_dl(rows, col_max if self.width > 60 else min(col_max, 4), col_spacing)


class HelpContext(click.Context):
    """A context that formats help so."""

    formatter_class = HelpFormatter


class HelpfulCommand(click.Command):
    """A command whose help has its patches, its options under headings, examples and exit codes."""

    context_class = HelpContext

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the options, each heading a section."""
        sections: dict[str, list[tuple[str, str]]] = {heading: [] for heading in ("Options", *_HEADINGS)}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                sections[_heading(parameter)].append(record)
        _write_section(formatter, "Patches", _patches(self))
        for heading, rows in sections.items():
            _write_section(formatter, heading, rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the examples and the exit codes."""
        name = str(ctx.info_name)
        _write_section(formatter, "Examples", _EXAMPLES.get(name, ()), col_max=40)
        _write_section(formatter, "Exit codes", [(str(code), text) for code, text in _EXIT_CODES.get(name, ())])
        if note := _NOTES.get(name):
            formatter.write_paragraph()
            formatter.write_text(note)


def _heading(option: click.Option) -> str:
    return next((heading for heading, names in _HEADINGS.items() if names & set(option.opts)), "Options")


def _patches(command: click.Command) -> list[tuple[str, str]]:
    takes = any(parameter.name == "names" for parameter in command.params)
    return [(patch.name, patch.summary) for patch in load_catalogue()] if takes else []


def _write_section(
    formatter: click.HelpFormatter, heading: str, rows: Sequence[tuple[str, str]], *, col_max: int = 30
) -> None:
    if rows:
        with formatter.section(heading):
            formatter.write_dl(rows, col_max)


def show_help(context: click.Context, name: str | None) -> str:
    """The help of the program that the context is of, or of its command of that name."""
    program: Any = context.command
    if name is None:
        return str(program.get_help(context))
    _, command, _ = program.resolve_command(context, [name])
    return str(command.get_help(command.context_class(command, info_name=name, parent=context)))


def complete_commands(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The commands for a shell that completes `mps-patcher help`."""
    del parameter
    root = context.find_root()
    return [one for one in root.command.shell_complete(root, incomplete) if not one.value.startswith("-")]

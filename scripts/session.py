"""Runs a session in a new environment, and writes it into README.md and, as a picture, into docs/session.svg."""

from __future__ import annotations

import io
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from terminal_session import BEGIN, COLUMNS, Step, as_markdown, record, session_in

ROOT = Path(__file__).resolve().parent.parent
README, PICTURE = ROOT / "README.md", ROOT / "docs" / "session.svg"
SHOWN = 2
"""How many of the steps the picture shows."""
SVG = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<!-- written by `make session` from a real run -->
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px }}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> None:
    """Runs the session and writes both files."""
    steps = record()
    readme = README.read_text("utf-8")
    README.write_text(readme.replace(BEGIN + session_in(readme), BEGIN + as_markdown(steps)), "utf-8")
    PICTURE.write_text(draw(steps[:SHOWN]), "utf-8")
    print(f"written: the session in {README.name}, {PICTURE.relative_to(ROOT)}")


def draw(steps: list[Step]) -> str:
    """The steps as an SVG picture of a terminal. It loads nothing."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, file=io.StringIO(), width=COLUMNS, force_terminal=True, color_system="truecolor")
    for step in steps:
        console.print(Text(f"$ {step.command}", style="bold"))
        console.print(Text.from_ansi(step.output.rstrip("\n")))
        console.print()
    drawn = console.export_svg(title="~/app", code_format=SVG, unique_id="session")
    return "".join(f"{line.rstrip()}\n" for line in drawn.splitlines())


if __name__ == "__main__":
    main()

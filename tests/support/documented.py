"""What the documents say: their links, and the commands of mps-patcher in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md")])
FENCE = re.compile(r"^( *)```.*?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
OPERATORS = {"&&", "||", "|", ";", "(", ")", "&"}


class Command(NamedTuple):
    """A line of a page that runs mps-patcher."""

    page: str
    line: str
    words: tuple[str, ...]
    """What follows `mps-patcher`, as the shell reads it."""


def commands() -> list[Command]:
    """All of README.md and docs/, each line of a page once, in the order of the pages."""
    pages = [path for path in PAGES if path.name != "CHANGELOG.md"]
    found = (Command(name_of(path), line, words) for path in pages for line in lines_of(path) for words in calls(line))
    return list(dict.fromkeys(found))


def name_of(page: Path) -> str:
    """Its path below the checkout."""
    return str(page.relative_to(ROOT))


def lines_of(page: Path) -> list[str]:
    """The lines of a page that a reader may type: in blocks of code, and code within sentences."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    blocks = [block for _, block in FENCE.findall(text)]
    prose = FENCE.sub("", text)
    lines = [line for block in blocks for line in _typed(block)]
    lines += [line[4:].removeprefix("$ ") for line in prose.splitlines() if re.match(r" {4}(\$ )?mps-patcher ", line)]
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"(?m)^ {4}.*$", "", prose))]
    # Of these two a sentence gives the name, and not what they need
    named = re.compile(r"mps-patcher (run|evaluate)\b(?!.* -- )")
    return lines + [span + " -h" * bool(named.match(span)) for span in spans if span.startswith("mps-patcher ")]


def _typed(block: str) -> list[str]:
    """The lines of a block, or of a session only what stands behind its prompts."""
    lines = block.splitlines()
    prompted = [line[2:] for line in lines if line.startswith("$ ")]
    return prompted or [line.strip() for line in lines]


def calls(line: str) -> list[tuple[str, ...]]:
    """The arguments of each mps-patcher that a line of the shell starts."""
    if "mps-patcher" not in line:
        return []
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:  # no line of a shell
        return []
    return [_arguments(words[place + 1 :]) for place in range(len(words)) if _is_call(words, place)]


def _is_call(words: list[str], place: int) -> bool:
    before = words[place - 1] if place else "&&"
    return Path(words[place]).name == "mps-patcher" and (before in OPERATORS or before.startswith("/opt"))


def _arguments(words: list[str]) -> tuple[str, ...]:
    end = next((place for place, word in enumerate(words) if word in OPERATORS), len(words))
    return tuple(words[:end])


def code_blocks(page: str, heading: str, language: str = "sh") -> list[str]:
    """The blocks of a language under a heading of docs/`page`, of which there is at least one."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    section = re.split(r"(?m)^## ", text.partition(f"\n## {heading}\n")[2])[0]
    found = re.findall(rf"(?ms)^```{language}\n(.*?)^```$", section)
    assert found, heading
    return found


def links_of(page: Path) -> list[str]:
    """Where the links and pictures of a page lead that stay within the checkout."""
    found = re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", page.read_text("utf-8")))
    return [link for link in found if not re.match(r"https?:|mailto:", link)]


def anchors_of(page: Path) -> set[str]:
    """What a link to a heading of a page may name, as GitHub makes it."""
    headings = re.findall(r"(?m)^#+ (.*)$", FENCE.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

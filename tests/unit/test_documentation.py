"""The documents: short, complete, and nothing in them leads nowhere."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest
from click.testing import CliRunner
from documented import PAGES, ROOT, Command, anchors_of, commands, links_of, name_of
from terminal_session import comparable, session_in

from patcher.cli import program

README = (ROOT / "README.md").read_text("utf-8")
each_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 900


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_index_has_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {index.name} <= set(links_of(index))


@pytest.mark.parametrize("command", commands(), ids=lambda command: f"{command.page}: {' '.join(command.words)}")
def test_the_command_line_takes_every_command(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsed by the real one, but not run."""
    for one in program.commands.values():
        monkeypatch.setattr(one, "callback", lambda *_, **__: None)
    result = CliRunner().invoke(program, command.words)
    assert result.exit_code == 0, result.output


def test_the_action_has_the_inputs_that_the_page_gives_it() -> None:
    page = (ROOT / "docs" / "environments.md").read_text("utf-8").partition("\n## GitHub Actions\n")[2]
    declared = (ROOT / "action.yml").read_text("utf-8").partition("\ninputs:\n")[2].partition("\nruns:\n")[0]
    given = re.findall(r"(?m)^    ([a-z-]+): |`([a-z-]+): [^`]+`", page)
    names = {one or other for one, other in given}
    assert {"command", "python"} <= names <= {*re.findall(r"(?m)^  ([a-z-]+):$", declared)}


def test_the_picture_shows_the_beginning_of_the_session() -> None:
    drawn = (ROOT / "docs" / "session.svg").read_text("utf-8")
    texts = re.findall(r'<text class="session-r\d+" x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', drawn)
    ordered = sorted(texts, key=lambda text: (float(text[1]), float(text[0])))
    shown = comparable("".join(unescape(text).replace("\xa0", " ") + " " for _, _, text in ordered))
    session = comparable(session_in(README).removeprefix("```console\n"))
    assert len(shown) > 200
    assert squeezed(session).startswith(squeezed(shown))


def squeezed(text: str) -> str:
    """Without spaces: a picture has one wherever a colour begins."""
    return text.replace(" ", "")

"""What action.yml runs: mps-patcher with the inputs of the action. Its results become annotations and a job summary.

Ends with the exit code of mps-patcher.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

COMMANDS = {"check": ["status", "--check"], "apply": ["apply"]}
OPTIONS = {"INPUT_PYTHON": "--python", "INPUT_SITE_PACKAGES": "--site-packages", "INPUT_MACOS": "--macos"}


def main() -> None:
    """Runs the command, and tells of it."""
    asked = os.environ["INPUT_COMMAND"]
    if asked not in COMMANDS:
        print(annotation("error", f"The input `command` is {asked!r}. It must be check or apply."))
        sys.exit(2)
    options = [word for name, option in OPTIONS.items() if (value := os.environ[name]) for word in (option, value)]
    command = [str(Path(sys.executable).with_name("mps-patcher")), *COMMANDS[asked], *options, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    document = json.loads(done.stdout)
    for level, text in findings(document):
        print(annotation(level, text))
    with Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as summary:
        summary.write(table(document))
    sys.exit(done.returncode)


def findings(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """A level and a text for everything that somebody should look at, and for every change."""
    for holder in (document, *document["results"]):
        if error := holder.get("error"):
            yield "error", f"{error['message']} {error['hint']}"
    for result in document["results"]:
        where = f"transformers {result['target']['version']} in {result['target']['site_packages']}"
        effect = (result["effect"] or {}).get("effect")
        if result["changed"]:
            yield "notice", f"{result['patch']} is patched in {where}."
        elif result["error"] or result["state"] in ("patched", "outdated"):
            continue
        elif effect == "fails":
            remedy = result["note"] if result["state"] == "modified" else "To fix it, run: mps-patcher apply"
            yield "error", f"{where} fails on Apple GPUs: {result['effect']['error']}\n{remedy}"
        elif effect == "edge-cases":
            yield "warning", f"Edge cases of {result['patch']} are wrong on Apple GPUs with {where}."


def annotation(level: str, text: str) -> str:
    """The line that the runner turns into an annotation."""
    for character, escape in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
        text = text.replace(character, escape)
    return f"::{level} title=mps-patcher::{text}"


def table(document: dict[str, Any]) -> str:
    """The results as a table of Markdown; nothing where there are none."""
    if not document["results"]:
        return ""
    rows = ["| transformers | patch | state | on Apple GPUs, while unpatched |", "| --- | --- | --- | --- |"]
    for result in document["results"]:
        effect = result["effect"] or {"effect": None, "error": None}
        cells = (result["target"]["version"], result["patch"], result["state"], effect["error"] or effect["effect"])
        rows.append("| " + " | ".join(str(cell or "").replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(["### mps-patcher", "", *rows, "", ""])


if __name__ == "__main__":
    main()

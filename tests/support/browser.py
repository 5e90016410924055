"""Headless Chromium, without a driver: what a script in a page found is read from the DOM that Chromium dumps.

python tests/support/browser.py    whether a page can be opened here: installs what is missing, and opens one
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr",
    "--virtual-time-budget=2000", "--window-size=1400,1000",
)  # fmt: skip
SCHEMES = {"dark": 0, "light": 1}
"""What Chromium calls a preferred color scheme."""
# A window of Chromium is at least 500 pixels wide; a frame is as narrow as it is told to be.
FRAME = """<!doctype html><meta name="color-scheme" content="light dark"><title>frame</title>
<script>addEventListener("message", event => document.documentElement.dataset.found = event.data);</script>
<iframe src="{page}" style="border: 0; width: {width}px; height: 900px"></iframe>
"""
PROBE = "<script>addEventListener('load', () => parent.postMessage(JSON.stringify(({probe})()), '*'));</script></body>"


class Opened(NamedTuple):
    """A page as it was opened."""

    found: Any
    """What the probe returned."""
    console: list[str]
    """What the page said there, errors of its own among it."""


def find_chromium() -> str | None:
    """Its path, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def install_chromium() -> None:
    """Installs it where it is missing. Exits with a clear word where that cannot be."""
    if find_chromium():
        return
    installer = shutil.which("apt-get")
    if os.geteuid() or not installer:
        sys.exit("error: there is no chromium\nhint: install that, or run this as root on Debian")
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        subprocess.run([installer, "-qq", *command], check=True, env=environ, stdout=sys.stderr)


def open_page(page: str, folder: Path, *, width: int, scheme: str, probe: str) -> Opened:
    """Opens the HTML text at that width and color scheme, and calls the `probe`, a JavaScript function, in it.

    The page may hold no policy that forbids scripts.
    """
    (folder / "page.html").write_text(page.replace("</body>", PROBE.replace("{probe}", probe)), "utf-8")
    frame = folder / "frame.html"
    frame.write_text(FRAME.format(page="page.html", width=width), "utf-8")
    with tempfile.TemporaryDirectory() as profile:
        options = [f"--user-data-dir={profile}", f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}"]
        command = [str(find_chromium()), *OPTIONS, *options, "--dump-dom", frame.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    answer = re.search(r'data-found="([^"]*)"', done.stdout)
    if answer is None:
        raise RuntimeError(f"the page did not answer:\n{done.stderr}")
    return Opened(json.loads(html.unescape(answer[1])), re.findall(r"CONSOLE.*", done.stderr))


def main() -> int:
    """Exit code 0 where a page can be opened, else 1, and why not."""
    try:
        install_chromium()
        with tempfile.TemporaryDirectory() as folder:
            open_page("<body></body>", Path(folder), width=500, scheme="light", probe="() => 1")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        print(f"error: no page can be opened here: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

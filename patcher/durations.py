"""How long something took the last time: a small file in the user's cache, which nothing depends on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from patcher.prepared import cache_folder

MOST = 100
"""Durations that are kept."""


def last_duration(key: Sequence[object], environ: Mapping[str, str]) -> float | None:
    """The seconds that were kept last for `key`; None where nothing is known."""
    try:
        return float(_durations(environ)[repr(key)])
    except (KeyError, TypeError, ValueError):
        return None


def keep_duration(key: Sequence[object], seconds: float, environ: Mapping[str, str]) -> None:
    """Keeps them, if that can be done; root, in another user's home by sudo, leaves nothing there."""
    folder = cache_folder(environ)
    others = {name: value for name, value in _durations(environ).items() if name != repr(key)}
    newest = dict([*others.items(), (repr(key), round(seconds, 1))][-MOST:])
    with suppress(OSError):
        if next(path for path in (folder, *folder.parents) if path.exists()).stat().st_uid != os.geteuid():
            return
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        part = folder / f"durations.json.{os.getpid()}"
        part.write_text(json.dumps(newest), "utf-8")
        part.replace(folder / "durations.json")


def _durations(environ: Mapping[str, str]) -> dict[str, Any]:
    try:
        return {**json.loads((cache_folder(environ) / "durations.json").read_bytes())}
    except (OSError, TypeError, ValueError):
        return {}

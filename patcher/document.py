"""Results as one JSON document for scripts. Prints nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from patcher.errors import PatcherError
from patcher.model import NotFound, Result, Target

SCHEMA = 1
"""Raised when a key changes its meaning or goes; a new key alone does not raise it."""


def as_json(command: str | None, results: Sequence[Result], *, ok: bool, error: PatcherError | None = None) -> str:
    """One document of schema 1. `error` is of the whole run (a wrong command line, a defect); others are in results."""
    document: dict[str, object] = {"schema": SCHEMA, "command": command, "ok": ok}
    document["results"] = [_result(result, verifying=command == "verify") for result in results]
    if error is not None:
        document["error"] = _error(error)
    return json.dumps(document, indent=2)


def _result(result: Result, *, verifying: bool) -> dict[str, object]:
    values: dict[str, object] = {
        "target": _target(result.target),
        "patch": result.patch,
        "file": str(result.file) if result.file else None,
        "state": result.state.value if result.state else None,
        "changed": result.changed,
        "sha256": {"before": result.before, "after": result.after},
        "files": [
            {"path": str(file.path), "sha256": {"before": file.before, "after": file.after}} for file in result.files
        ],
        "need": {"needed": result.need.needed, "reason": result.need.reason} if result.need else None,
        "note": result.note,
        "diff": result.diff,
        "error": _error(result.error) if result.error else None,
    }
    if verifying:
        device = result.device
        values["device"] = {"kind": device.kind, "torch": device.torch, "macos": device.macos} if device else None
        values["checks"] = [
            {"name": check.name, "status": check.status, "detail": check.detail, "seconds": check.seconds}
            for check in result.checks
        ]
    return values


def _target(target: Target | NotFound) -> dict[str, object]:
    return {
        "python": str(target.python) if target.python else None,
        "site_packages": str(target.site_packages) if target.site_packages else None,
        "distribution": "transformers",
        "version": target.version,
        "torch": target.torch if isinstance(target, Target) else None,
        "installer": target.installer if isinstance(target, Target) else None,
        "reason": target.reason if isinstance(target, Target) else None,
    }


def _error(error: PatcherError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}

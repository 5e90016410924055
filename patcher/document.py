"""Results as one JSON document for scripts. Prints nothing."""

from __future__ import annotations

from collections.abc import Sequence

from patcher.errors import PatcherError
from patcher.model import NotFound, Result, Target

SCHEMA = 1
"""Raised when a key of the document changes its meaning or goes; a new key alone does not raise it."""


def as_json(command: str | None, results: Sequence[Result], *, ok: bool, error: PatcherError | None = None) -> str:
    """One document, as output.schema.json has it.

    `error` is of the whole run, such as a wrong command line or a defect; the others are in `results`.
    """
    import json  # only --json needs it

    verifying = command == "verify"
    document: dict[str, object] = {"schema": SCHEMA, "command": command, "ok": ok}
    document["results"] = [_result(result) | (_verification(result) if verifying else {}) for result in results]
    if error is not None:
        document["error"] = _error(error)
    return json.dumps(document, indent=2)


def _result(result: Result) -> dict[str, object]:
    return {
        "target": _target(result.target),
        "patch": result.patch,
        "state": result.state,
        "changed": result.changed,
        "files": [
            {"path": str(file.path), "sha256": {"before": file.before, "after": file.after}} for file in result.files
        ],
        "effect": result.impact._asdict() if result.impact else None,
        "note": result.note,
        "diff": result.diff,
        "error": _error(result.error) if result.error else None,
    }


def _verification(result: Result) -> dict[str, object]:
    return {
        "device": result.device._asdict() if result.device else None,
        "checks": [check._asdict() for check in result.checks],
    }


def _target(target: Target | NotFound) -> dict[str, object]:
    found = target if isinstance(target, Target) else None
    return {
        "python": str(target.python) if target.python else None,
        "site_packages": str(target.site_packages) if target.site_packages else None,
        "distribution": "transformers",
        "version": target.version,
        "torch": found.torch if found else None,
        "installer": found.installer if found else None,
        "reason": found.reason if found else None,
        "shared": found.shared if found else None,
    }


def _error(error: PatcherError) -> dict[str, str]:
    return {"code": error.code, "message": error.message, "hint": error.hint}

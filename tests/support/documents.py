"""What --json prints, held against the schema that ships with the tool and the list of error codes in the docs."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_FILE = ROOT / "patcher" / "output.schema.json"
ERRORS_FILE = ROOT / "docs" / "errors.md"


def read_document(text: str) -> dict[str, Any]:
    """The one document that is all of the text, once it is found to be as promised."""
    document: dict[str, Any] = json.loads(text)
    validator().validate(document)
    errors = [document.get("error"), *(result["error"] for result in document["results"])]
    unknown = {error["code"] for error in errors if error} - documented_codes()
    assert not unknown, f"not in docs/errors.md: {unknown}"
    return document


@cache
def validator() -> Draft202012Validator:
    """The schema, which is itself one."""
    schema = json.loads(SCHEMA_FILE.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@cache
def documented_codes() -> frozenset[str]:
    """The codes of the tables in docs/errors.md."""
    return frozenset(re.findall(r"^\| `([a-z-]+)` \|", ERRORS_FILE.read_text("utf-8"), re.MULTILINE))

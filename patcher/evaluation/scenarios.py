"""The scenarios' file, checked line by line before a model is loaded. Of what it holds only the ids are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from patcher.errors import PatcherError

KEYS = ("id", "prompt", "messages", "expected")
MESSAGE_KEYS = ("role", "content")
BOM = b"\xef\xbb\xbf"
_EXAMPLE = '{"id": "capital", "prompt": "The capital of France is", "expected": "Paris"}'


class ScenarioFile(NamedTuple):
    """A file of which every line is a scenario."""

    path: Path
    """Absolute."""
    sha256: str
    rows: int


class _Wrong(Exception):
    """A line is no scenario; the message says what is wrong, and what was expected."""


def check_scenarios(path: Path) -> ScenarioFile:
    """Reads every line. A file of any size will do: a line is held at a time, and every id.

    A scenario is a JSON object with `id` (a text or an integer, each once), either `prompt` (a text that is not empty)
    or `messages` (a list of objects with the texts `role` and `content`), and perhaps `expected` (a text, or null).
    Blank lines and a byte order mark are skipped; other keys are refused, since they may be misspelt.

    Raises PatcherError: `bad-scenario` with the line's number; `no-scenarios` where the file has none, or is no file.
    """
    digest, seen = sha256(), dict[str, int]()
    for number, line in _lines(path):
        digest.update(line)
        try:
            if (scenario := line.removeprefix(BOM) if number == 1 else line).strip():
                _check_id(_check_line(scenario), number, seen)
        except _Wrong as wrong:
            hint = f"Each line is a JSON object such as {_EXAMPLE}; see docs/evaluation.md."
            raise PatcherError("bad-scenario", f"{path}, line {number}: {wrong}.", hint) from None
    if not seen:
        raise _no_scenarios(f"{path} has no scenarios.")
    return ScenarioFile(path.absolute(), digest.hexdigest(), len(seen))


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with path.open("rb") as file:
            yield from enumerate(file, 1)
    except OSError as error:
        raise _no_scenarios(f"{path} cannot be read: {error.strerror}.") from error


def _no_scenarios(cause: str) -> PatcherError:
    return PatcherError("no-scenarios", cause, "Name a file with one JSON object per line with --scenarios.")


def _check_line(line: bytes) -> dict[str, Any]:
    try:
        scenario = json.loads(line.decode("utf-8").rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise _Wrong(f"byte {error.start + 1} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _Wrong(f"this is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, a nesting of thousands of lists
        raise _Wrong(f"this JSON cannot be read: {error}") from None
    if not isinstance(scenario, dict):
        raise _Wrong(f"expected an object, not {_kind(scenario)}")
    _check_keys(scenario, KEYS, "a scenario")
    _check_question(scenario)
    if scenario.get("expected") is not None:
        _check_text(scenario["expected"], "expected")
    return scenario


def _check_id(scenario: dict[str, Any], number: int, seen: dict[str, int]) -> None:
    if "id" not in scenario:
        raise _Wrong("there is no id; every scenario needs a unique one")
    name = scenario["id"]
    if isinstance(name, bool) or not isinstance(name, (str, int)):
        raise _Wrong(f"id must be a string or an integer, not {_kind(name)}")
    _check_text(str(name), "id", empty=False)
    if str(name) in seen:
        raise _Wrong(f"the id {str(name)!r} is also on line {seen[str(name)]}; ids must be unique")
    seen[str(name)] = number


def _check_question(scenario: dict[str, Any]) -> None:
    given = [key for key in ("prompt", "messages") if scenario.get(key) is not None]
    if len(given) != 1:
        raise _Wrong(f"expected either prompt or messages, but there {'are both' if given else 'is neither'}")
    if given == ["prompt"]:
        _check_text(scenario["prompt"], "prompt", empty=False)
        return
    messages = scenario["messages"]
    if not isinstance(messages, list) or not messages:
        raise _Wrong(f"messages must be a list of at least one message, not {_kind(messages)}")
    for place, message in enumerate(messages, 1):
        _check_message(message, f"message {place}")


def _check_message(message: object, what: str) -> None:
    if not isinstance(message, dict):
        raise _Wrong(f"{what} must be an object, not {_kind(message)}")
    _check_keys(message, MESSAGE_KEYS, what)
    for key in MESSAGE_KEYS:
        if key not in message:
            raise _Wrong(f"{what} has no {key}")
        _check_text(message[key], f"{key} of {what}", empty=key == "content")


def _check_keys(found: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    if unknown := [key for key in found if key not in known]:
        raise _Wrong(f"{what} has no {unknown[0]!r}; its keys are {', '.join(known)}")


def _check_text(value: object, what: str, *, empty: bool = True) -> None:
    if not isinstance(value, str):
        raise _Wrong(f"{what} must be a string, not {_kind(value)}")
    if not (empty or value.strip()):
        raise _Wrong(f"{what} is empty")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise _Wrong(f"{what} contains half of a surrogate pair, which is not a character") from None


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    if value == []:
        return "an empty list"
    return names.get(type(value), "a number")

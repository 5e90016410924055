"""Commands for users to paste: complete, with the targets that they named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from patcher.diff import octal_escaped
from patcher.errors import PatcherError
from patcher.model import NotFound, Result, Target

_COMMAND = re.compile(r"`(mps-patcher (?:status|apply|verify|revert|setup|run)\b[^`]*)`")
_PLACE = re.compile(r"--(?:python|site-packages|under)\b")


class Invocation(NamedTuple):
    """What the user asked."""

    command: str
    names: tuple[str, ...] = ()
    """The patches that were named."""
    place: tuple[str, ...] = ()
    """The target options, as the words of the command line; none where the environment decides."""
    macos: str | None = None
    dry_run: bool = False

    def suggest(self, command: str, *options: str, target: Target | None = None) -> str:
        """Another command for the same patches, and the same targets or that one alone; `setup` is for all patches."""
        names = () if command == "setup" else self.names
        macos = ("--macos", self.macos) if self.macos and command == "apply" else ()
        place = place_of(target) if target and self.place else self.place
        return shell_words(("mps-patcher", command, *names, *options, *macos, *place))


def place_of(target: Target) -> tuple[str, ...]:
    """The option that names this target alone."""
    if target.python:
        return "--python", str(target.python)
    return "--site-packages", str(target.site_packages)


def completed(result: Result, invocation: Invocation) -> Result:
    """The result, with the target in each command of its error's hint, if the user had to name it."""
    if result.error is None or isinstance(result.target, NotFound):
        return result
    return result._replace(error=completed_error(result.error, result.target, invocation))


def completed_error(error: PatcherError, target: Target, invocation: Invocation) -> PatcherError:
    """The error of a target, with the target in each command of its hint, if the user had to name it."""
    if not invocation.place:
        return error
    is_alone = len(invocation.place) == len(("--python", "PATH")) and invocation.place[0] != "--under"
    place = shell_words(invocation.place if is_alone else place_of(target))
    hint = _COMMAND.sub(lambda found: found[0] if _PLACE.search(found[1]) else f"`{found[1]} {place}`", error.hint)
    return type(error)(error.code, error.message, hint)


def shell_words(words: Sequence[str]) -> str:
    """The words as a shell reads them; one that is not printable in the `$'...'` of bash and zsh, as octal bytes."""
    import shlex

    special = chr(92) + chr(39)
    return " ".join(
        shlex.quote(word) if word.isprintable() else f"$'{octal_escaped(word, special=special)}'" for word in words
    )

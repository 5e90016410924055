"""What an error is that somebody met: one from the catalogue's tables, or another. Prints nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple

from patcher.catalogue import load_catalogue
from patcher.errors import CannotTell
from patcher.model import Effect, EffectRow, FunctionPatch, Patch
from patcher.selftest import rules
from patcher.selftest.kernels import find_kernel, first_torch
from patcher.selftest.releases import NEWEST_TORCH, show
from patcher.traceback import Frame, PastedError, read_errors, squeezed, without_colors

FALLBACK_VARIABLE = "PYTORCH_ENABLE_MPS_FALLBACK=1"
_OPERATOR = "The operator '{op}' is not currently implemented for the MPS device"
_EARLIER = "The operator '{op}' is not current implemented for the MPS device"
"""As torch 1.12 and 1.13 spell it."""
_WARNING = rules.FALLBACK.split(" to run on")[0]
"""What it says instead where the variable is set."""
_TELLING = re.compile("isin|mps|test_elements", re.IGNORECASE)
"""What an error of ours has in its text, unless it is one that many programs raise."""
_SHORTEST_PART = 20
"""Letters and digits of an error's text that are enough to know it by."""


class KnownError(NamedTuple):
    """An error's own text, and every row of the catalogue with it, with the patch that the row is of."""

    text: str
    rows: tuple[tuple[Patch, EffectRow], ...]

    @property
    def patches(self) -> tuple[Patch, ...]:
        """The patches that end it, each once."""
        return tuple({patch.name: patch for patch, _ in self.rows}.values())

    @property
    def key(self) -> str:
        """The first sentence of the text without the error's class, squeezed: what follows differs."""
        return squeezed(self.text.partition(": ")[2].split(". ")[0])

    @property
    def is_common(self) -> bool:
        """Whether many other programs raise just the same."""
        return not _TELLING.search(self.text)

    @property
    def raised_as(self) -> str:
        """The error's class."""
        return self.text.partition(":")[0]


class Explanation(NamedTuple):
    """What a pasted error was found to be."""

    error: KnownError
    origin: Frame | None
    """Where it was raised, if the text has a traceback."""
    is_warning: bool = False
    """Whether it was only warned of, and the CPU did the work."""

    @property
    def is_foreign(self) -> bool:
        """Whether another package, or the user's own code, called torch.isin itself."""
        is_call = self.error.raised_as != "ImportError" and re.search("isin|test_elements", self.error.text)
        return bool(self.origin and is_call and not self.origin.is_in("transformers"))

    @property
    def rows(self) -> tuple[EffectRow, ...]:
        """Who has it; where transformers is not concerned, by torch and macOS alone."""
        rows = [row for _, row in self.error.rows]
        if self.is_foreign:
            rows = list({who_has_it(row): row for row in map(_without_transformers, reversed(rows))}.values())
        return tuple(rows)

    @property
    def is_doubtful(self) -> bool:
        """Whether only a traceback can tell that it is this error."""
        return self.error.is_common and self.origin is None


@cache
def known_errors() -> tuple[KnownError, ...]:
    """Every error of the catalogue, in its order; what fails before what only edge cases raise."""
    rows = [(patch, row) for patch in load_catalogue() for row in patch.effects if row.error]
    rows.sort(key=lambda one: list(Effect).index(one[1].effect))
    texts = dict.fromkeys(row.error for _, row in rows if row.error)
    return tuple(KnownError(text, tuple(one for one in rows if one[1].error == text)) for text in texts)


def explain_error(text: str) -> Explanation:
    """What the text, an error or a program's output with its traceback, is about.

    Raises CannotTell: `other-error`: it is one that no patch is about; `unknown-error`: it may be anything.
    """
    text = without_colors(text)
    errors = read_errors(text)
    for pasted in errors:
        known = _known(pasted.text)
        if known and (not known.is_common or _function_in(pasted) or len(errors) == 1):
            return Explanation(known, pasted.origin, _without_operator(_WARNING) in squeezed(pasted.text))
    if quoted := _quoted(text):
        return Explanation(quoted, None)
    last = errors[0]
    if patch := _function_in(last):
        row = next(row for row in patch.effects if row.error is None)
        return Explanation(KnownError(last.last_line, ((patch, row),)), last.origin)
    raise _other_error(text, is_alone=not last.frames) or (_elsewhere(last) if _known(last.text) else _unknown(text))


def _known(text: str) -> KnownError | None:
    """The known error in the text; of several the last."""
    searched = squeezed(text)
    for other in (_EARLIER, _WARNING):
        searched = searched.replace(_without_operator(other), _without_operator(_OPERATOR))
    found = [(searched.rfind(one.key), one) for one in known_errors()]
    place, error = max(found, key=lambda one: one[0])
    return error if place >= 0 else None


def _without_operator(sentence: str) -> str:
    """What follows the operator's name, squeezed."""
    return squeezed(sentence.partition("{op}")[2])


def _quoted(text: str) -> KnownError | None:
    """The known error of which the text is a part."""
    part = squeezed(re.sub(r"^\W*[\w.]*(error|exception):\s", "", text, flags=re.IGNORECASE))
    found = [one for one in known_errors() if len(part) >= _SHORTEST_PART and part in one.key]
    return found[0] if len(found) == 1 else None


def _unknown(text: str) -> CannotTell:
    hint = "If its traceback shows torch.isin on MPS, please report it, with the output of `mps-patcher doctor`."
    if re.fullmatch(r"\W*(torch\W)?isin(_mps_friendly)?\W*", text):
        hint = "Pass the error itself, or its traceback. `mps-patcher explain` alone lists the errors that it knows."
    return CannotTell("unknown-error", "mps-patcher does not know this error.", hint)


def _function_in(pasted: PastedError) -> FunctionPatch | None:
    """The patch of the function of transformers that raised it, if one did."""
    frame = pasted.origin
    for patch in load_catalogue():
        if frame and isinstance(patch, FunctionPatch) and frame.is_file(str(patch.file)):
            return patch if frame.function == patch.function else None
    return None


def _elsewhere(pasted: PastedError) -> CannotTell:
    patch = next(patch for patch in load_catalogue() if isinstance(patch, FunctionPatch))
    message = f"Many programs raise this error. Here it does not come from {patch.function} in {patch.file}."
    frame = pasted.origin or pasted.frames[-1]  # the error alone, without frames, is explained
    return CannotTell("other-error", message, f"mps-patcher does not fix it. Look at {frame.place}.")


def _other_error(text: str, *, is_alone: bool) -> CannotTell | None:
    """An error of MPS that no patch is about, with what helps; or a warning, where it is alone, without a traceback."""
    line = " ".join(text.split())
    for sentence in (_OPERATOR, _EARLIER, _WARNING):
        if found := re.findall(re.escape(sentence).replace(re.escape("{op}"), "([^']+)"), line):
            message = f"The MPS device has no operator {found[-1]} in this torch; mps-patcher does not fix that."
            hint = _FALLS_BACK if sentence == _WARNING else _FALL_BACK
            return CannotTell("other-error", message, f"{hint} {_who_has(found[-1])}")
    for part, cause, hint in (*_OTHER_ERRORS, *(_WARNINGS if is_alone else ())):
        if squeezed(part) in squeezed(line):
            return CannotTell("other-error", f"{cause}; mps-patcher does not fix that.", hint)
    return None


def _who_has(operator: str) -> str:
    """Which torch has an operator on MPS, such as `aten::linalg_qr.out`, in a sentence."""
    name, _, overload = operator.partition(".")
    if since := first_torch(name, overload):
        return f"torch {show(since)} and newer have it."
    if find_kernel(name, overload, NEWEST_TORCH).status == "missing":
        return f"torch {show(NEWEST_TORCH)} does not have it either."
    return "A newer torch may have it."


_FALL_BACK = f"Set {FALLBACK_VARIABLE}: the CPU then computes it, which is slower."
_FALLS_BACK = "It runs on the CPU, which works but is slower."
_BFLOAT16 = (
    "On MPS bfloat16 needs torch 2.3 and macOS 14",
    "Load the model in float16 or float32, or upgrade torch and macOS.",
)
_NO_MASK = (
    "transformers cannot tell which tokens are padding",
    "Pass the attention_mask that the tokenizer returns to generate().",
)
_OTHER_ERRORS = (
    (
        rules.FLOAT64.split(" as ")[0],
        "MPS has no float64",
        "Convert the data to float32 before moving it to the device.",
    ),
    ("BFloat16 is not supported on MPS", *_BFLOAT16),
    ("MPS BFloat16 is only supported on MacOS 14 or newer", *_BFLOAT16),
    (
        "MPS backend out of memory",
        "The model or its inputs do not fit into the memory that MPS may use",
        "Load the model in float16, or use a smaller batch, a shorter prompt or a smaller model.",
    ),
)
"""A part of the text of each, what it means, and what helps."""
_WARNINGS = (
    ("The attention mask is not set and cannot be inferred", *_NO_MASK),
    ("The attention mask and the pad token id were not set", *_NO_MASK),
)


def who_has_it(row: EffectRow) -> str:
    """Where a row holds, such as `transformers 4.45 - 4.46.1; torch older than 2.4`."""
    named = (("transformers", row.transformers), ("torch", row.torch), ("macOS", row.macos))
    parts = [f"{name} {releases(specifiers)}" for name, specifiers in named if specifiers]
    installed = re.fullmatch(r"([\w-]+)(\W.*)", row.installed)
    return "; ".join([*parts, *([f"{installed[1]} {releases(installed[2])}"] if installed else [])])


def releases(specifiers: str) -> str:
    """A version specifier of the catalogue in words: `>=4.40,<4.41 || >=5.1` as `4.40, or 5.1 or newer`."""
    spans = list(map(_span_in_words, specifiers.split("||")))
    comma = "," if len(spans) > 2 or " or " in spans[-1] else ""
    return spans[0] if len(spans) == 1 else f"{', '.join(spans[:-1])}{comma} or {spans[-1]}"


def united(specifiers: Iterable[str]) -> str:
    """The catalogue's specifiers as one, in which spans that touch are one span; empty if one of them matches all."""
    texts = [span for one in specifiers for span in one.split("||")]
    merged: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for since, before in sorted((_bound(text, ">=", 0), _bound(text, "<", 10**6)) for text in texts):
        if merged and since <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], before))
        else:
            merged.append((since, before))
    return " || ".join(_as_specifier(*span) for span in merged)


def _bound(specifier: str, operator: str, default: int) -> tuple[int, ...]:
    found = re.search(rf"{operator}([\d.]+)", specifier)
    return tuple(map(int, found[1].split("."))) if found else (default,)


def _as_specifier(since: tuple[int, ...], before: tuple[int, ...]) -> str:
    bounds = ((">=", since, 0), ("<", before, 10**6))
    return ",".join(
        operator + ".".join(map(str, bound)) for operator, bound, open_end in bounds if bound != (open_end,)
    )


def _span_in_words(specifier: str) -> str:
    found = re.fullmatch(r"\s*(?:>=([\d.]+))?,?(?:<([\d.]+))?\s*", specifier)
    since, before = found.groups() if found else (None, None)
    if since and before:
        last = _release_before(before)
        return since if last == since else f"{since} - {last}"
    return f"{since} or newer" if since else f"older than {before}"


def _release_before(version: str) -> str:
    """4.44 for 4.45, 4.46.1 for 4.46.2: the last component is never 0 in the catalogue."""
    front, _, last = version.rpartition(".")
    return f"{front}.{int(last) - 1}"


def _without_transformers(row: EffectRow) -> EffectRow:
    cures = tuple(cure for cure in row.cures if not cure.startswith("transformers"))
    return row._replace(transformers="", effect=Effect.EDGE_CASES, cures=cures)


def links(error: KnownError) -> Iterator[str]:
    """What to read about it, each link once."""
    yield from dict.fromkeys(link for patch in error.patches for link in patch.links)

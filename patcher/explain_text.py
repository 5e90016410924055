"""What `explain` found, as text for people. Prints nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from patcher.explain import FALLBACK_VARIABLE, Explanation, KnownError, links, united, who_has_it
from patcher.model import Effect, EffectRow
from patcher.terminal import wrap

_FALLBACK = {
    "NotImplementedError": "avoids it too, but is slower: the CPU then computes this.",
    "RuntimeError": "does not help: MPS has this operator, but refuses these inputs.",
}
"""What the variable does about an error of this class, if it comes from torch.isin."""


def as_explanation(found: Explanation, width: int | None) -> str:
    """The error, who has it, and what ends it; sentences wrapped at `width` columns, or not at all."""
    paragraphs = [
        [_wrapped(found.error.text, width)],
        *([_wrapped(text, width, "  ")] for text in _warnings(found)),
        *_conditions(found, width),
        list(_cures(found, width)),
        ["  More about it:", *(f"    {link}" for link in links(found.error))],
    ]
    return "\n\n".join("\n".join(lines) for lines in paragraphs)


def as_list(errors: Sequence[KnownError], width: int | None) -> str:
    """The known errors, and how to ask for one."""
    lines = [_wrapped(error.text, width, "  ", "    ") for error in errors]
    usage = (
        "Paste one of them:    mps-patcher explain 'IndexError: tuple index out of range'",
        "or pipe a traceback:  python app.py 2>&1 | mps-patcher explain",
    )
    return "\n".join(["mps-patcher knows these errors:", "", *lines, "", *usage])


def _warnings(found: Explanation) -> Iterator[str]:
    patch = found.error.patches[0]
    if found.is_doubtful:
        yield (
            f"Many programs raise this. It is the error of transformers only if its traceback ends in "
            f"{patch.function}, in {patch.file}. To be sure, pipe in the whole traceback."
        )
    if found.is_warning:
        yield (
            f"With {FALLBACK_VARIABLE}, as here, it is only a warning: the CPU computes this, which works but is "
            "slower. `mps-patcher apply` avoids that."
        )
    if found.is_foreign and found.origin:
        yield (
            f"It was raised by {found.origin.place}, which calls torch.isin itself. `mps-patcher apply` changes "
            "only transformers; `mps-patcher run` fixes torch.isin for the whole program."
        )


def _conditions(found: Explanation, width: int | None) -> Iterator[list[str]]:
    for words, effects in _headings(found):
        rows = _merged(row for row in found.rows if row.effect in effects)
        if rows:
            yield [f"  {words}", *(line for row in rows for line in _row(row, width))]


def _headings(found: Explanation) -> Iterator[tuple[str, tuple[Effect, ...]]]:
    if found.is_foreign:
        yield "torch.isin raises it on Apple GPUs with:", tuple(Effect)
    elif found.error.raised_as == "ImportError":
        yield "An import raises it with:", tuple(Effect)
    else:
        yield "generate() raises it on Apple GPUs with:", (Effect.FAILS,)
        yield "Some models and inputs raise it on Apple GPUs with:", (Effect.EDGE_CASES,)


def _merged(rows: Iterable[EffectRow]) -> list[EffectRow]:
    """The rows, as one where they differ in the releases of transformers alone."""
    found: dict[EffectRow, list[str]] = {}
    for row in rows:
        found.setdefault(row._replace(transformers=""), []).append(row.transformers)
    return [row._replace(transformers=united(specifiers)) for row, specifiers in found.items()]


def _row(row: EffectRow, width: int | None) -> Iterator[str]:
    is_open = (row.error or "").startswith("ImportError") and not row.installed
    importing = "; any other package that imports it" if is_open else ""
    yield _wrapped(f"{who_has_it(row)}{importing}", width, "    ", "      ")
    if row.cures:
        yield _wrapped(f"other cures: {', or '.join(row.cures)}", width, "      ")


def _cures(found: Explanation, width: int | None) -> Iterator[str]:
    if found.is_foreign:
        yield "  To fix it:  mps-patcher run -- SCRIPT"
    else:
        yield "  To fix it:  mps-patcher apply"
        yield _wrapped("`mps-patcher status` says whether your installation needs it.", width, "  ")
    if (words := _FALLBACK.get(found.error.raised_as)) and not found.is_warning:
        yield _wrapped(f"{FALLBACK_VARIABLE} {words}", width, "  ")


def _wrapped(text: str, width: int | None, indent: str = "", hanging: str | None = None) -> str:
    """The text between its indentation and `width`; `hanging` is the indentation of the lines after the first."""
    hanging = indent if hanging is None else hanging
    first, *others = wrap(text, width and width - max(len(indent), len(hanging)))
    return "\n".join([indent + first, *(hanging + line for line in others)])

"""Many targets as a table."""

from __future__ import annotations

from pathlib import Path

import pytest

from patcher.errors import PatcherError
from patcher.messages import EDITED
from patcher.model import Effect, Impact, NotFound, Result, State, Target
from patcher.output import as_text
from patcher.suggest import Invocation
from patcher.terminal import TextStyle

UNDER = ("--under", "/srv")


def target(path: str, version: str = "4.45.1", torch: str | None = "2.1.0", **facts: Path) -> Target:
    site = Path(path)
    return Target(
        site_packages=site,
        dist_info=site / f"transformers-{version}.dist-info",
        version=version,
        python=facts.get("python"),
        torch=torch,
        installer="pip",
        pycache_prefix=None,
        reason="it lies below /srv",
    )


def result(place: Target | NotFound, state: State | None, effect: Effect = Effect.FAILS, **facts: object) -> Result:
    patch = "isin_mps_friendly"
    return Result(target=place, patch=patch, state=state, impact=Impact(effect=effect))._replace(**facts)  # type: ignore[arg-type]


ONE = target("/srv/one/.venv/lib/python3.11/site-packages", python=Path("/srv/one/.venv/bin/python"))
TWO = target("/srv/two/app", "5.24.0", None)
BROKEN = NotFound(None, Path("/srv/three"), PatcherError("no-metadata", "It has none.", "Reinstall it."))
RESULTS = (
    result(ONE, State.PATCHED, changed=True),
    result(TWO, State.UNPATCHED, Effect.EDGE_CASES)._replace(error=PatcherError("locked", "In use.", "Wait.")),
    Result(target=BROKEN, patch=None, state=None, error=BROKEN.error),
)


def lines(command: str = "apply", results: tuple[Result, ...] = RESULTS, **style: int) -> list[str]:
    text = as_text(Invocation(command, place=UNDER), results, TextStyle(**style))  # type: ignore[arg-type]
    return [line.replace("\033[1m", "").replace("\033[0m", "") for line in text.splitlines()]


def plain(text: str) -> str:
    for code in ("1", "2", "31", "32", "33", "0"):
        text = text.replace(f"\033[{code}m", "")
    return text


def test_a_line_for_each_and_the_counts() -> None:
    assert [plain(line) for line in lines()][:6] == [
        "transformers  torch  effect      state      result               environment",
        "4.45.1        2.1.0  fails       patched    patched              /srv/one/.venv",
        "5.24.0        -      edge-cases  unpatched  failed: locked       /srv/two/app",
        "-             -      -           unknown    failed: no-metadata  /srv/three",
        "",
        "1 target patched, 2 failed.",
    ]


def test_a_status_without_errors_has_no_result() -> None:
    shown = [plain(line) for line in lines("status", (*RESULTS[:1], result(TWO, State.UNPATCHED)))]
    assert shown[:3] == [
        "transformers  torch  effect  state      environment",
        "4.45.1        2.1.0  fails   patched    /srv/one/.venv",
        "5.24.0        -      fails   unpatched  /srv/two/app",
    ]


def test_on_a_terminal_a_path_is_whole_and_below_where_it_is_too_long() -> None:
    long = target("/srv/" + "a/" * 40 + "site-packages")
    shown = [plain(line) for line in lines("apply", (*RESULTS, result(long, State.PATCHED)), width=80)]
    assert f"  {long.site_packages}" in shown
    assert [line for line in shown if len(line) > 80] == [f"  {long.site_packages}"]


def test_on_a_terminal_a_path_is_one_from_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    near = target(str(tmp_path / "near" / "site-packages"))
    monkeypatch.chdir(tmp_path)
    both = (result(near, State.PATCHED), RESULTS[0])
    assert any(line.endswith("  near/site-packages") for line in lines("status", both, width=80))
    assert any(line.endswith(f"  {near.site_packages}") for line in lines("status", both))


@pytest.mark.parametrize(
    ("command", "count", "place", "verbose", "is_table"),
    [
        ("status", 9, (), False, True),
        ("status", 8, (), False, False),
        ("status", 2, UNDER, False, True),
        ("status", 1, UNDER, False, False),
        ("status", 9, UNDER, True, False),
        ("verify", 9, UNDER, False, False),
    ],
)
def test_when_it_is_one(command: str, count: int, place: tuple[str, ...], verbose: bool, is_table: bool) -> None:
    results = [result(target(f"/srv/{number}"), State.PATCHED) for number in range(count)]
    text = as_text(Invocation(command, place=place), results, TextStyle(verbose))
    assert ("environment" in text.splitlines()[0]) == is_table


def test_a_diff_is_shown_with_its_target() -> None:
    both = (RESULTS[0]._replace(diff="-a\n+b\n"), RESULTS[1])
    assert "+b" in plain("\n".join(lines("apply", both)))


def test_the_worst_state_of_the_patches_that_matter() -> None:
    idle = result(ONE, State.MODIFIED, Effect.NONE, patch="direct_isin")
    shown = lines("status", (*(RESULTS[0], idle), result(TWO, State.UNPATCHED)))
    assert plain(shown[1]).split() == ["4.45.1", "2.1.0", "fails", "patched", "/srv/one/.venv"]


def test_what_was_edited_since_it_was_patched_is_not_called_patched() -> None:
    edited = result(ONE, State.MODIFIED, Effect.NONE, patch="direct_isin", note=f"x {EDITED}")
    told = lines("status", (result(ONE, State.PATCHED, Effect.EDGE_CASES), edited, result(TWO, State.PATCHED)))
    (line,) = (plain(line) for line in told if line.endswith("one/.venv"))
    assert line.split()[2:4] == ["edge-cases", "modified"]

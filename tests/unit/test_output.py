"""Results as text and as JSON."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from documents import read_document, validator

from patcher import output
from patcher.document import as_json
from patcher.errors import CannotTell, PatcherError
from patcher.model import ChangedFile, Check, Device, Effect, Impact, NotFound, Result, State, Target
from patcher.suggest import Invocation
from patcher.terminal import TextStyle

SITE = Path("/srv/venv/lib/python3.11/site-packages")
FILE = SITE / "transformers" / "pytorch_utils.py"
TARGET = Target(
    site_packages=SITE,
    dist_info=SITE / "transformers-4.45.1.dist-info",
    version="4.45.1",
    python=Path("/srv/venv/bin/python"),
    torch="2.1.0",
    installer="pip",
    pycache_prefix=None,
    reason="VIRTUAL_ENV is set to /srv/venv",
)
OTHER = TARGET._replace(site_packages=Path("/img/site-packages"), python=None, torch=None, installer=None, reason="")
NOWHERE = NotFound(
    python=Path("/usr/bin/python3"),
    site_packages=None,
    error=CannotTell("no-transformers", "There is no transformers.", "Name\nanother."),
)
FAILS = Impact(
    effect=Effect.FAILS,
    error="IndexError: tuple index out of range",
    cures=("transformers 4.46.2 or newer", "torch 2.9 or newer (needs macOS 14)"),
    torch_range="<2.4",
    torch="2.1.0",
    macos="12.3",
    assumed_macos=True,
)
EDGE_CASES = Impact(
    effect=Effect.EDGE_CASES, consequence="edge cases of isin_mps_friendly are wrong", torch="2.1.0", macos="14.5"
)
NONE = Impact(effect=Effect.NONE, torch="2.1.0", macos="14.5")
FOUND = Result(
    target=TARGET,
    patch="isin_mps_friendly",
    state=State.UNPATCHED,
    files=(ChangedFile(path=FILE, before="a" * 64, after="b" * 64),),
    impact=FAILS,
)
REFUSED = FOUND._replace(
    state=State.MODIFIED, error=PatcherError("unknown-body", "The body is not known.", "See --diff.")
)
MISSED = Result(target=NOWHERE, patch=None, state=None, error=NOWHERE.error)
EMULATED = Device(kind="emulated-mps", torch="2.1", macos="13")
PASSED = Check(name="source", status="passed", detail="holds our body", seconds=0.25)
FAILED = Check(name="contract", status="failed", detail="3 cases differ\nIndexError: tuple index", seconds=12.5)
SKIPPED = Check(name="generate", status="skipped", detail="no torch", seconds=0.0)
PLAIN = TextStyle()


def plain(text: str) -> str:
    return re.sub(r"\033\[\d+m", "", text)


def text(command: str, *results: Result, style: TextStyle = PLAIN, place: tuple[str, ...] = ()) -> str:
    return plain(output.as_text(Invocation(command, place=place), results, style))


def document(command: str | None, *results: Result, error: PatcherError | None = None) -> dict[str, Any]:
    ok = not error and not any(result.error for result in results)
    return read_document(as_json(command, results, ok=ok, error=error))


def test_the_document_has_every_key_of_the_schema() -> None:
    assert document("status", FOUND) == {
        "schema": 1,
        "command": "status",
        "ok": True,
        "results": [
            {
                "target": {
                    "python": "/srv/venv/bin/python",
                    "site_packages": str(SITE),
                    "distribution": "transformers",
                    "version": "4.45.1",
                    "torch": "2.1.0",
                    "installer": "pip",
                    "reason": "VIRTUAL_ENV is set to /srv/venv",
                    "shared": None,
                },
                "patch": "isin_mps_friendly",
                "state": "unpatched",
                "changed": False,
                "files": [{"path": str(FILE), "sha256": {"before": "a" * 64, "after": "b" * 64}}],
                "effect": {
                    "effect": "fails",
                    "error": "IndexError: tuple index out of range",
                    "consequence": None,
                    "cures": ["transformers 4.46.2 or newer", "torch 2.9 or newer (needs macOS 14)"],
                    "torch_range": "<2.4",
                    "macos_range": "",
                    "torch": "2.1.0",
                    "macos": "12.3",
                    "assumed_macos": True,
                },
                "note": None,
                "diff": None,
                "error": None,
            }
        ],
    }


def test_verify_adds_the_device_and_the_checks() -> None:
    (told,) = document("verify", FOUND._replace(device=EMULATED, checks=(PASSED,)))["results"]
    assert told["device"] == {"kind": "emulated-mps", "torch": "2.1", "macos": "13"}
    assert told["checks"] == [{"name": "source", "status": "passed", "detail": "holds our body", "seconds": 0.25}]
    (missed,) = document("verify", MISSED)["results"]
    assert (missed["device"], missed["checks"]) == (None, [])


def test_a_place_without_a_target_has_the_same_keys() -> None:
    found, missed = document("status", FOUND._replace(impact=None), MISSED)["results"]
    assert missed.keys() == found.keys()
    assert missed["target"].keys() == found["target"].keys()
    assert missed["target"]["python"] == "/usr/bin/python3"
    assert (missed["patch"], missed["state"], missed["files"], missed["effect"]) == (None, None, [], None)
    assert missed["error"] == {
        "code": "no-transformers",
        "message": "There is no transformers.",
        "hint": "Name\\nanother.",
    }


def test_an_error_of_the_whole_run_stands_beside_the_results() -> None:
    told = document(None, error=PatcherError("usage", "No such option.", "Look at -h."))
    assert told["error"] == {"code": "usage", "message": "No such option.", "hint": "Look at -h."}
    assert (told["ok"], told["results"]) == (False, [])


def test_a_path_that_is_no_unicode_still_gives_a_document() -> None:
    odd = FOUND._replace(files=(FOUND.files[0]._replace(path=Path("/srv/\udcff/pytorch_utils.py")),))
    assert as_json("status", [odd], ok=True).isascii()
    assert document("status", odd)


def _with(path: str, value: object) -> dict[str, Any]:
    """A good document of verify with another value at a path such as `results.0.patch`; `...` takes the key away."""
    changed = deepcopy(document("verify", FOUND._replace(device=EMULATED, checks=(PASSED,))))
    *folders, last = path.split(".")
    at: Any = changed
    for folder in folders:
        at = at[int(folder)] if folder.isdigit() else at[folder]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("new", 1),
        ("schema", 2),
        ("command", "install"),
        ("command", "status"),  # which has no device and no checks
        ("error", {"code": "odd", "message": "Odd."}),
        ("results.0.sha256", {}),
        ("results.0.checks", ...),
        ("results.0.effect", ...),
        ("results.0.state", "broken"),
        ("results.0.target.home", "/"),
        ("results.0.files.0.path", ...),
        ("results.0.files.0.sha256.before", "A" * 64),
        ("results.0.effect.effect", "maybe"),
        ("results.0.effect.needed", True),
        ("results.0.error", {"code": "Odd Code", "message": "Odd.", "hint": "Be even."}),
        ("results.0.device.kind", "emulated"),
        ("results.0.checks.0.status", "ok"),
    ],
)
def test_the_schema_is_strict(path: str, value: object) -> None:
    assert not validator().is_valid(_with(path, value))


def test_status_begins_with_the_verdict() -> None:
    other = FOUND._replace(patch="direct_isin", state=State.ABSENT, impact=NONE, note="no direct call of torch.isin")
    assert text("status", FOUND._replace(note="the released function"), other) == (
        "transformers 4.45.1, torch 2.1.0, installed by pip\n"
        f"  {SITE} (VIRTUAL_ENV is set to /srv/venv)\n"
        "\n"
        "  generate() fails on Apple GPUs here: IndexError: tuple index out of range\n"
        "  (assumed: macOS 12.3; choose another with --macos)\n"
        "\n"
        "  To fix it:  mps-patcher apply\n"
        "          or  upgrade to transformers 4.46.2 or newer\n"
        "          or  upgrade to torch 2.9 or newer (needs macOS 14)\n"
        "\n"
        "  isin_mps_friendly  unpatched  the released function\n"
        "  direct_isin        absent     no direct call of torch.isin\n"
        "\n"
        "The target needs a patch. Run: mps-patcher apply"
    )


@pytest.mark.parametrize("command", ["apply", "verify", "revert"])
def test_only_status_judges(command: str) -> None:
    assert "generate()" not in text(command, FOUND._replace(changed=True))


def test_the_reason_is_not_what_the_user_has_just_said() -> None:
    for reason, shown in (
        ("--python names .venv", f"  {SITE}"),
        ("it lies below /srv", f"  {SITE}"),
        ("/srv/venv is the nearest .venv", f"  {SITE} (the nearest .venv)"),
        ("--python names .venv; others may share it", f"  {SITE} (others may share it)"),
    ):
        assert shown in text("status", FOUND._replace(target=TARGET._replace(reason=reason))).splitlines()


def test_what_has_no_effect_takes_one_short_line() -> None:
    idle = FOUND._replace(patch="direct_isin", impact=NONE, note="20 direct calls of torch.isin in 11 files")
    assert "  direct_isin  unpatched  not needed here" in text("status", idle).splitlines()


def test_what_was_reverted_is_called_so() -> None:
    told = text("revert", FOUND._replace(state=State.ABSENT, changed=True, note="restored utils.py"))
    assert "  isin_mps_friendly  reverted  restored utils.py" in told.splitlines()


def test_a_target_without_torch_or_installer_says_so() -> None:
    assert text("status", FOUND._replace(target=OTHER)).startswith("transformers 4.45.1, no torch beside it\n  /img")


def test_targets_are_set_apart_and_patches_of_one_share_a_headline() -> None:
    assert text("status", FOUND, FOUND._replace(target=OTHER)).count("\n\ntransformers 4.45.1") == 1
    told = text("status", FOUND, FOUND._replace(patch="another", state=None))
    assert told.count("transformers 4.45.1, torch") == 1
    assert "\n  another            unknown" in told


def test_a_command_names_the_target_where_the_user_did() -> None:
    assert "To fix it:  mps-patcher apply --python venv\n" in text("status", FOUND, place=("--python", "venv"))
    told = text("status", FOUND, FOUND._replace(target=OTHER), place=("--site-packages", "/a"))
    assert "To fix it:  mps-patcher apply --python /srv/venv/bin/python\n" in told
    assert "To fix it:  mps-patcher apply --site-packages /img/site-packages\n" in told
    assert told.endswith("2 of 2 targets need a patch. Run: mps-patcher apply --site-packages /a")
    odd = OTHER._replace(site_packages=Path("/img/a\nb'c d"))
    told = text("status", FOUND._replace(target=odd), place=("--site-packages", str(odd.site_packages)))
    assert told.endswith("Run: mps-patcher apply --site-packages $'/img/a\\012b\\047c d'")
    assert "  /img/a\\nb'c d" in told.splitlines()


def test_a_refusal_suggests_nothing_but_its_hint() -> None:
    told = text("apply", REFUSED)
    assert "mps-patcher" not in told
    assert "  isin_mps_friendly  modified  see the error" in told.splitlines()
    assert plain(output.failures([REFUSED])) == "error: The body is not known.\nhint: See --diff."


def test_of_several_targets_each_failure_says_where() -> None:
    again = REFUSED._replace(patch="direct_isin")
    first, _, third, _ = plain(output.failures([REFUSED, again, MISSED, FOUND])).splitlines()
    assert first == f"error: {SITE}: The body is not known."
    assert third == "error: There is no transformers."


def test_a_place_without_a_target_is_only_among_the_failures() -> None:
    assert text("status", MISSED) == ""


def test_checks_are_aligned_and_the_rest_of_a_detail_stands_below_it() -> None:
    told = text("verify", FOUND._replace(checks=(PASSED, FAILED, SKIPPED), device=EMULATED)).splitlines()
    at = told.index("  passed   source      0.25 s  holds our body")
    assert told[at + 1 : at + 4] == [
        "  failed   contract   12.50 s  3 cases differ",
        "                               IndexError: tuple index",
        "  skipped  generate            no torch",
    ]


def test_a_check_without_a_detail_is_a_line_all_the_same() -> None:
    told = text("verify", FOUND._replace(checks=(PASSED._replace(detail=""),))).splitlines()
    assert "  passed   source      0.25 s" in told


@pytest.mark.parametrize(
    ("checks", "conclusion"),
    [
        ((PASSED,), "1 check passed, on"),
        ((PASSED, PASSED._replace(name="bytecode")), "2 checks passed, on"),
        ((PASSED, FAILED, SKIPPED), "1 failed, 1 passed, 1 skipped, on"),
    ],
)
def test_the_conclusion_says_what_was_tested_on_what(checks: tuple[Check, ...], conclusion: str) -> None:
    told = text("verify", FOUND._replace(checks=checks, device=EMULATED))
    words = "an emulated MPS device with the rules of torch 2.1 on macOS 13; no Apple GPU was used."
    assert f"  {conclusion} {words}" in told.splitlines()


def test_a_real_device_is_not_called_emulated() -> None:
    told = text("verify", FOUND._replace(checks=(PASSED,), device=EMULATED._replace(kind="mps", macos="14.5")))
    assert "1 check passed, on this machine's Apple GPU, with torch 2.1 on macOS 14.5." in told
    assert "emulated" not in told


def test_a_device_of_a_kind_that_is_not_known_is_never_called_real() -> None:
    assert "emulated" in output.tested_on(EMULATED._replace(kind="other"))


def test_without_a_device_nothing_was_run() -> None:
    told = text("verify", FOUND._replace(checks=(PASSED, SKIPPED)))
    assert "1 passed, 1 skipped; only files were checked." in told


def test_verbose_adds_the_files_and_their_digests() -> None:
    told = text("apply", FOUND, style=TextStyle(verbose=True)).splitlines()
    assert {f"    file   {FILE}", f"    before sha256 {'a' * 64}", f"    after  sha256 {'b' * 64}"} <= set(told)


def test_a_diff_is_shown_whole_and_alone_where_nothing_else_is_wanted() -> None:
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n same\n"
    result = FOUND._replace(diff=diff)
    assert f"\n\n{diff.rstrip()}\n\n" in text("apply", result)
    assert plain(output.diffs([result, FOUND])) == diff.rstrip()
    colored = [line.partition("m")[0] for line in output.diffs([result]).splitlines()]
    assert colored == ["\033[31", "\033[32", "\033[34", "\033[31", "\033[32", " sa"]


def test_a_source_gives_a_terminal_no_orders_by_its_diff() -> None:
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n-old\x1b]0;title\x07\x9b2J\n+new\tand\fon\r\n"
    shown = plain(output.diffs([FOUND._replace(diff=diff)]))
    assert shown == "--- a\n+++ b\n@@ -1 +1 @@\n-old\\x1b]0;title\\x07\\x9b2J\n+new\tand\fon\r"


def test_patches_of_a_target_share_the_checks_that_are_not_of_their_own_files() -> None:
    bytecode = PASSED._replace(name="bytecode")
    other = FOUND._replace(patch="direct_isin", checks=(PASSED._replace(detail="5 files"), bytecode))
    told = text("verify", FOUND._replace(checks=(PASSED, bytecode)), other)
    assert [line.split()[1] for line in told.splitlines() if line.startswith("  passed")] == [
        "source",
        "source",
        "bytecode",
    ]
    assert "  3 checks passed; " in told


@pytest.mark.parametrize("width", [40, 60, 80])
@pytest.mark.parametrize("command", ["status", "apply", "verify", "revert"])
def test_a_terminal_gets_no_line_that_it_has_to_break(command: str, width: int) -> None:
    long = FOUND._replace(
        note="word " * 40, changed=True, checks=(FAILED,) if command == "verify" else (), device=EMULATED
    )
    missed = FOUND._replace(target=OTHER._replace(site_packages=Path("/img")), error=REFUSED.error)
    found = long._replace(target=TARGET._replace(site_packages=Path("/srv")))
    lines = text(command, found, missed, style=TextStyle(width=width)).splitlines()
    assert max(map(len, lines)) <= width
    assert max(map(len, text(command, long).splitlines())) >= (200 if command != "verify" else 90)


def test_paths_and_commands_are_not_broken() -> None:
    odd = TARGET._replace(site_packages=Path("/srv/my own env/lib/python3.11/site-packages"))
    told = text("status", FOUND._replace(target=odd), style=TextStyle(width=40), place=("--python", "my own env/bin"))
    assert f"  {odd.site_packages}" in told.splitlines()
    assert "  To fix it:  mps-patcher apply --python 'my own env/bin'" in told.splitlines()
    error = PatcherError("odd", f"{odd.site_packages}/transformers is gone.", "Run `mps-patcher apply --force` again.")
    lines = plain(output.failure(error, at=odd, width=30)).splitlines()
    assert lines == [
        f"error: {odd.site_packages}/transformers",
        "       is gone.",
        "hint: Run",
        "      `mps-patcher apply --force`",
        "      again.",
    ]
    assert plain(output.failure(error)).splitlines() == [f"error: {error.message}", f"hint: {error.hint}"]


@pytest.mark.parametrize("width", [None, 40])
def test_a_command_at_the_end_of_a_hint_can_be_pasted(width: int | None) -> None:
    command = "rm -r '/srv/my app/transformers-4.44.2.dist-info' && uv cache clean transformers"
    error = PatcherError("several-distributions", "Two.", f"Remove the other, which nothing else needs: {command}")
    lines = plain(output.failure(error, width=width)).splitlines()
    assert lines[-1].strip() == (command if width else f"hint: {error.hint}")


def test_setup_is_offered_where_an_interpreter_can_run_it() -> None:
    changed = FOUND._replace(changed=True, state=State.PATCHED)
    told = text("apply", changed, place=("--python", ".venv"))
    assert told.endswith("run apply again after it, or once:\n  mps-patcher setup --python .venv")
    image = changed._replace(target=TARGET._replace(python=None))
    assert text("apply", image).endswith("run apply again after it.")


def test_an_empty_line_of_a_detail_stays() -> None:
    empty = FOUND._replace(checks=(PASSED._replace(detail="one\n\ntwo"),))
    for width in (70, None):
        told = text("verify", empty, style=TextStyle(width=width)).splitlines()
        at = told.index("  passed   source      0.25 s  one")
        assert told[at + 1 : at + 3] == ["", " " * 31 + "two"]

"""Results as text and as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from patcher import document, report
from patcher.errors import CannotTell, PatcherError
from patcher.model import Check, Device, Need, NotFound, Result, State, Target, Touched

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
OTHER = replace(TARGET, site_packages=Path("/img/site-packages"), python=None, torch=None, installer=None, reason="")
NOWHERE = NotFound(
    python=Path("/usr/bin/python3"),
    site_packages=None,
    error=CannotTell("no-transformers", "There is no transformers.", "Name\nanother."),
)
NEED = Need(needed=True, reason="torch 2.1.0 has no isin on MPS")
FOUND = Result(
    target=TARGET,
    patch="isin_mps_friendly",
    file=FILE,
    state=State.UNPATCHED,
    before="a" * 64,
    files=(Touched(path=FILE, before="a" * 64, after="b" * 64),),
    need=NEED,
)
REFUSED = replace(
    FOUND, state=State.MODIFIED, error=PatcherError("unknown-body", "The body is not known.", "See --diff.")
)
MISSED = Result(target=NOWHERE, patch=None, file=None, state=None, error=NOWHERE.error)
EMULATED = Device(kind="emulated-mps", torch="2.1", macos="13")
PASSED = Check(name="source", status="passed", detail="holds our body", seconds=0.25)
FAILED = Check(name="contract", status="failed", detail="3 cases differ\nIndexError: tuple index", seconds=12.5)
SKIPPED = Check(name="generate", status="skipped", detail="no torch", seconds=0.0)
PLAIN = report.Style()


def plain(text: str) -> str:
    return re.sub(r"\033\[\d+m", "", text)


def text(command: str, *results: Result, style: report.Style = PLAIN) -> str:
    return plain(report.as_text(command, results, style))


def test_the_document_has_every_key_of_the_schema() -> None:
    told = json.loads(document.as_json("status", [FOUND], ok=True))
    assert told == {
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
                },
                "patch": "isin_mps_friendly",
                "file": str(FILE),
                "state": "unpatched",
                "changed": False,
                "sha256": {"before": "a" * 64, "after": None},
                "files": [{"path": str(FILE), "sha256": {"before": "a" * 64, "after": "b" * 64}}],
                "need": {"needed": True, "reason": "torch 2.1.0 has no isin on MPS"},
                "note": None,
                "diff": None,
                "error": None,
            }
        ],
    }


def test_verify_adds_the_device_and_the_checks() -> None:
    result = replace(FOUND, device=EMULATED, checks=(PASSED,))
    told = json.loads(document.as_json("verify", [result], ok=True))["results"][0]
    assert told["device"] == {"kind": "emulated-mps", "torch": "2.1", "macos": "13"}
    assert told["checks"] == [{"name": "source", "status": "passed", "detail": "holds our body", "seconds": 0.25}]


def test_an_unverified_target_has_no_device_and_no_checks() -> None:
    told = json.loads(document.as_json("verify", [MISSED], ok=False))["results"][0]
    assert (told["device"], told["checks"]) == (None, [])


def test_a_place_without_a_target_has_the_same_keys() -> None:
    found, missed = json.loads(document.as_json("status", [FOUND, MISSED], ok=False))["results"]
    assert missed.keys() == found.keys()
    assert missed["target"].keys() == found["target"].keys()
    assert missed["target"]["python"] == "/usr/bin/python3"
    assert missed["file"] is None
    assert missed["error"] == {
        "code": "no-transformers",
        "message": "There is no transformers.",
        "hint": "Name\\nanother.",
    }


def test_a_target_without_an_interpreter() -> None:
    told = document.as_json("status", [replace(FOUND, target=OTHER)], ok=True)
    assert json.loads(told)["results"][0]["target"]["python"] is None
    assert len(told.splitlines()) > 10  # for people to read, too


def test_an_error_of_the_whole_run_stands_beside_the_results() -> None:
    error = PatcherError("usage", "No such option.", "Look at -h.")
    told = json.loads(document.as_json(None, (), ok=False, error=error))
    assert told["error"] == {"code": "usage", "message": "No such option.", "hint": "Look at -h."}
    assert told["results"] == []


def test_a_path_that_is_no_unicode_still_gives_a_document() -> None:
    odd = replace(FOUND, file=Path("/srv/\udcff/pytorch_utils.py"))
    assert document.as_json("status", [odd], ok=True).isascii()


def test_status_says_what_is_there_and_what_to_do() -> None:
    assert text("status", FOUND) == (
        "transformers 4.45.1, torch 2.1.0, installed by pip\n"
        f"  in {SITE}\n"
        "  chosen because VIRTUAL_ENV is set to /srv/venv\n"
        "\n"
        "  isin_mps_friendly: unpatched\n"
        "    needed, because torch 2.1.0 has no isin on MPS\n"
        "    next: mps-patcher apply"
    )


def test_what_is_not_needed_is_said_not_to_be() -> None:
    told = text("status", replace(FOUND, need=Need(needed=False, reason="torch 2.4 has it")))
    assert "    not needed, because torch 2.4 has it" in told.splitlines()


def test_a_target_without_torch_or_installer_says_so() -> None:
    assert text("status", replace(FOUND, target=OTHER)).startswith("transformers 4.45.1, no torch\n  in /img")


def test_targets_are_set_apart() -> None:
    told = text("status", FOUND, replace(FOUND, target=OTHER))
    assert told.count("\n\ntransformers 4.45.1") == 1


def test_patches_of_one_target_share_a_headline() -> None:
    told = text("status", FOUND, replace(FOUND, patch="another", state=None))
    assert told.count("transformers 4.45.1") == 1
    assert "\n\n  another: refused" in told


@pytest.mark.parametrize(
    ("command", "state", "changed", "needed", "follower"),
    [
        ("status", State.UNPATCHED, False, True, "apply"),
        ("status", State.UNPATCHED, False, False, None),
        ("status", State.PATCHED, False, True, "verify"),
        ("status", State.INTERRUPTED, False, True, "apply"),
        ("status", State.MODIFIED, False, True, None),
        ("status", State.ABSENT, False, False, None),
        ("apply", State.PATCHED, True, True, "verify"),
        ("apply", State.PATCHED, False, True, None),
        ("verify", State.UNPATCHED, False, True, "apply"),
        ("verify", State.PATCHED, False, True, None),
        ("revert", State.UNPATCHED, True, True, None),
    ],
)
def test_the_next_command(command: str, state: State, changed: bool, needed: bool, follower: str | None) -> None:
    told = text(command, replace(FOUND, state=state, changed=changed, need=replace(NEED, needed=needed)))
    assert re.findall(r"next: mps-patcher (\w+)", told) == ([follower] if follower else [])


def test_the_next_command_names_the_target_where_the_user_did() -> None:
    style = report.Style(explicit=True)
    assert "apply --python /srv/venv/bin/python" in text("status", FOUND, style=style)
    assert "apply --site-packages /img/site-packages" in text("status", replace(FOUND, target=OTHER), style=style)


def test_a_refusal_suggests_nothing_but_its_hint() -> None:
    assert "next:" not in text("apply", REFUSED)
    assert "next:" not in text("apply", replace(REFUSED, state=State.UNPATCHED))
    assert plain(report.failures([REFUSED])) == "error: The body is not known.\nhint: See --diff."


def test_of_several_targets_each_failure_says_where() -> None:
    first, _, third, _ = plain(report.failures([REFUSED, MISSED, FOUND])).splitlines()
    assert first == f"error: {SITE}: The body is not known."
    assert third == "error: There is no transformers."


def test_a_place_without_a_target_is_only_among_the_failures() -> None:
    assert text("status", MISSED) == ""


def test_checks_are_aligned_and_the_rest_of_a_detail_stands_below_it() -> None:
    told = text("verify", replace(FOUND, checks=(PASSED, FAILED, SKIPPED), device=EMULATED)).splitlines()
    at = told.index("    passed   source      0.25 s  holds our body")
    assert told[at + 1 : at + 4] == [
        "    failed   contract   12.50 s  3 cases differ",
        "                                 IndexError: tuple index",
        "    skipped  generate            no torch",
    ]


def test_a_check_without_a_detail_is_a_line_all_the_same() -> None:
    told = text("verify", replace(FOUND, checks=(replace(PASSED, detail=""),))).splitlines()
    assert "    passed   source    0.25 s" in told


@pytest.mark.parametrize(
    ("checks", "conclusion"),
    [
        ((PASSED,), "1 check passed, on"),
        ((PASSED, PASSED), "2 checks passed, on"),
        ((PASSED, FAILED, SKIPPED), "1 of 3 checks failed, 1 skipped, on"),
    ],
)
def test_the_conclusion_says_what_was_tested_on_what(checks: tuple[Check, ...], conclusion: str) -> None:
    told = text("verify", replace(FOUND, checks=checks, device=EMULATED))
    words = "an emulated MPS device with the rules of torch 2.1 on macOS 13; no Apple GPU was used."
    assert f"    {conclusion} {words}" in told.splitlines()


def test_a_real_device_is_not_called_emulated() -> None:
    told = text("verify", replace(FOUND, checks=(PASSED,), device=replace(EMULATED, kind="mps", macos="14.5")))
    assert "1 check passed, on this machine's Apple GPU, with torch 2.1 on macOS 14.5." in told
    assert "emulated" not in told


def test_a_device_of_a_kind_that_is_not_known_is_never_called_real() -> None:
    assert "emulated" in report.tested_on(replace(EMULATED, kind="other"))


def test_without_a_device_nothing_was_run() -> None:
    told = text("verify", replace(FOUND, checks=(PASSED, SKIPPED)))
    assert "1 check passed, 1 skipped, from the files alone; neither torch nor transformers was run." in told


def test_verbose_adds_the_file_and_its_digests() -> None:
    told = text("apply", FOUND, style=report.Style(verbose=True))
    assert f"file   {FILE}" in told
    assert f"before sha256 {'a' * 64}" in told
    assert f"after  sha256 {'b' * 64}" in told


def test_a_diff_is_shown_whole_and_alone_where_nothing_else_is_wanted() -> None:
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n-old\n+new\n same\n"
    result = replace(FOUND, diff=diff)
    assert text("apply", result).endswith(f"\n\n{diff.rstrip()}")
    assert plain(report.diffs([result, FOUND])) == diff.rstrip()
    colored = [line.partition("m")[0] for line in report.diffs([result]).splitlines()]
    assert colored == ["\033[31", "\033[32", "\033[34", "\033[31", "\033[32", " sa"]


def test_a_source_gives_a_terminal_no_orders_by_its_diff() -> None:
    diff = "--- a\n+++ b\n@@ -1 +1 @@\n-old\x1b]0;title\x07\x9b2J\n+new\tand\fon\r\n"
    shown = plain(report.diffs([replace(FOUND, diff=diff)]))
    assert shown == "--- a\n+++ b\n@@ -1 +1 @@\n-old\\x1b]0;title\\x07\\x9b2J\n+new\tand\fon\r"


def test_sentences_are_wrapped_to_a_terminal_and_never_elsewhere() -> None:
    long = replace(FOUND, note="word " * 40)
    assert max(map(len, text("apply", long, style=report.Style(width=60)).splitlines()[4:])) <= 60
    assert max(map(len, text("apply", long).splitlines())) >= 200
    path = f"/{'long-name' * 20}"
    told = text("apply", replace(FOUND, note=f"It is in {path} now."), style=report.Style(width=60)).splitlines()
    assert f"    {path}" in told  # one that is broken could not be copied
    empty = replace(FOUND, checks=(replace(PASSED, detail="one\n\ntwo"),))
    for width in (60, None):
        told = text("verify", empty, style=report.Style(width=width)).splitlines()
        at = told.index("    passed   source    0.25 s  one")
        assert [line.rstrip() for line in told[at + 1 : at + 3]] == ["", " " * 31 + "two"]

"""examples/ansible on hosts of ours, by ansible-core over OpenSSH. Each test goes on where the one before it ended."""

from __future__ import annotations

import subprocess
from typing import Any

import fleet
import pytest

from patcher.cli import program

from .conftest import EXAMPLE, HEALTHY, INSTALL, PIP, RELEASES, Control

pytestmark = pytest.mark.fleet

PATCHABLE = {*HEALTHY, "outdated", "several"}
SOURCE = "/srv/app/lib/python3.11/site-packages/transformers/pytorch_utils.py"


@pytest.fixture(scope="module")
def installed(control: Control) -> dict[str, str]:
    """The digests of all environments before the first play."""
    return control.digests()


def states(facts: dict[str, Any]) -> set[str]:
    """Of the patches that have something to do."""
    return {result["state"] for result in facts["results"]} - {"absent"}


def changing(changed: dict[str, int]) -> set[str]:
    """The hosts of which something is said to be changed."""
    return {host for host, count in changed.items() if count}


def test_the_role_is_as_ansible_lint_wants_it() -> None:
    command = [str(fleet.ansible() / "ansible-lint"), "--offline", "--strict", "--profile", "production", "."]
    done = subprocess.run(command, cwd=EXAMPLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_check_mode_without_the_tool_says_that_it_cannot_tell(control: Control, installed: dict[str, str]) -> None:
    done = control.play("--check")
    assert done.code == 0
    assert changing(done.changed) == {*RELEASES}
    assert done.output.count("check mode cannot tell") == len(RELEASES)
    assert control.hosts["a"].run("ls /opt") == ""
    assert control.digests() == installed


def test_checked_installs_the_tool_and_leaves_facts(control: Control, installed: dict[str, str]) -> None:
    done = control.play(mps_patcher_state="checked")
    assert done.failed == {"broken"}
    assert "transformers-4.46.1.dist-info has no METADATA" in done.message("broken")
    assert "Reinstall transformers 4.46.1: /srv/app/bin/python -m pip install" in done.message("broken")
    assert control.digests() == installed
    facts = control.facts()
    for name in {*HEALTHY, "several", "readonly"}:
        assert states(facts[name]) == {"unpatched"}, name
        assert RELEASES[name] in {result["target"]["version"] for result in facts[name]["results"]}
    assert states(facts["outdated"]) == {"outdated"}
    # 4.38 has edge cases only, where no torch says more; the file of `broken` cannot be told.
    assert {name for name, one in facts.items() if not one["needs_patch"]} == {"a", "outdated", "broken"}
    assert {result["target"]["version"] for result in facts["several"]["results"]} == {"4.44.2", "4.45.1"}
    assert facts["broken"]["results"][0]["error"]["code"] == "no-metadata"


def test_check_mode_names_those_that_apply_then_changes(control: Control, installed: dict[str, str]) -> None:
    foretold = control.play("--check")
    assert control.digests() == installed
    done = control.play()
    assert changing(foretold.changed) == changing(done.changed) == PATCHABLE
    assert foretold.failed == done.failed == {"broken", "readonly"}
    for ended in (foretold, done):
        assert "read-only file system" in ended.message("readonly")
        assert "Mount it writable" in ended.message("readonly")
        assert "Restart the programs that have transformers loaded" in ended.output
    now = control.digests()
    assert {host for host in now if now[host] != installed[host]} == PATCHABLE
    facts = control.facts()
    assert {(name, facts[name]["needs_patch"], *states(facts[name])) for name in PATCHABLE} == {
        (name, False, "patched") for name in PATCHABLE
    }


def test_apply_again_changes_nothing(control: Control) -> None:
    before = control.digests()
    assert changing(control.play("--check").changed) == set()
    again = control.play()
    assert changing(again.changed) == set()
    assert "Restart the programs" not in again.output
    assert again.failed == {"broken", "readonly"}
    assert control.digests() == before


def test_after_a_reinstall_those_hosts_are_patched_again(control: Control) -> None:
    before = control.digests()
    for name in ("c", "d", "h"):
        control.hosts[name].run(f"{PIP} {INSTALL} --no-deps --force-reinstall transformers=={RELEASES[name]}")
    healthy = ":".join(HEALTHY)
    assert changing(control.play("--check", limit=healthy).changed) == {"c", "d", "h"}
    assert control.facts()["c"]["needs_patch"]
    done = control.play(limit=healthy)
    assert (done.code, changing(done.changed)) == (0, {"c", "d", "h"})
    assert states(control.facts()["c"]) == {"patched"}
    assert control.digests() == before


def test_a_verification_that_fails_is_told(control: Control) -> None:
    done = control.play(limit="d", mps_patcher_verify="full")
    assert done.failed == {"d"}
    assert "torch" in done.message("d")
    control.hosts["d"].run(f"echo >> {SOURCE}")
    edited = control.play(limit="d")
    assert edited.failed == {"d"}
    assert "edited" in edited.message("d")
    control.hosts["d"].run(f"sed -i '$ d' {SOURCE}")
    assert control.play(limit="d").failed == set()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"mps_patcher_python": "python3.99"}, "python3.99 on this host does not run"),
        ({"mps_patcher_python": "/opt/python3.9"}, "/opt/python3.9 on this host is 3.9"),
        ({"mps_patcher_state": "applied"}, "value of mps_patcher_state must be one of: patched, reverted, checked"),
        ({"mps_patcher_targets": [{"pyton": "/srv/app"}]}, "mps_patcher_targets.pyton"),
        ({"mps_patcher_targets": [{"under": "/nowhere"}]}, "/nowhere"),
        ({"mps_patcher_targets": []}, "mps_patcher_targets names no target"),
    ],
)
def test_what_is_wrong_is_told_in_words(control: Control, variables: dict[str, Any], expected: str) -> None:
    control.hosts["a"].run("printf '#!/bin/sh\necho 3.9\n' > /opt/python3.9 && chmod +x /opt/python3.9")
    done = control.play(limit="a", **variables)
    assert done.failed == {"a"}
    assert expected in done.message("a")
    assert done.changed["a"] == 0


@pytest.mark.skipif("setup" not in program.commands, reason="this mps-patcher has no setup")
def test_the_hook_is_set_up_and_removed(control: Control) -> None:
    def count(*words: str, hook: bool) -> int:
        done = control.play(*words, limit="e", mps_patcher_hook=hook)
        assert done.code == 0
        return done.changed["e"]

    host = control.hosts["e"]
    assert control.play(limit="e").code == 0  # patched, so that what is counted is the hook
    assert [count(*words, hook=True) for words in (["--check"], [], ["--check"], [])] == [1, 1, 0, 0]
    host.run(
        f"{PIP} {INSTALL} --no-deps --force-reinstall transformers=={RELEASES['e']} && /srv/app/bin/python -c pass"
    )
    assert count("--check", hook=True) == 0, "the hook has patched it again"
    assert [count(*words, hook=False) for words in (["--check"], [], ["--check"], [])] == [1, 1, 0, 0]


def test_revert_puts_back_every_byte(control: Control, installed: dict[str, str]) -> None:
    hosts = ":".join(PATCHABLE)
    patched = control.digests()
    foretold = control.play("--check", limit=hosts, mps_patcher_state="reverted")
    assert changing(foretold.changed) == PATCHABLE
    assert control.digests() == patched
    done = control.play(limit=hosts, mps_patcher_state="reverted")
    assert (done.code, changing(done.changed)) == (0, PATCHABLE)
    assert control.digests() == installed | {"outdated": installed["readonly"]}  # it has the same release
    assert changing(control.play(limit=hosts, mps_patcher_state="reverted").changed) == set()
    assert control.facts()["b"]["needs_patch"]

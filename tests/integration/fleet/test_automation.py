"""The recipes of docs/automation.md for many machines, on hosts of ours: plain ssh, and Jamf's without Jamf."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from documented import code_blocks
from fleet import Fleet, Host

from .conftest import INSTALL, PIP

pytestmark = pytest.mark.fleet

REINSTALL = f"{PIP} {INSTALL} --no-deps --force-reinstall transformers==4.45.1"


@pytest.fixture(scope="module")
def pair(started: Fleet) -> list[Host]:
    """Two hosts whose pip finds mps-patcher by itself, and whose python3 is found in PATH."""
    hosts = [started.start(name) for name in ("one", "two")]
    for host in hosts:
        host.run(f"printf '[global]\nno-index = true\nfind-links = /srv/wheels\n' > /etc/pip.conf && {REINSTALL}")
    return hosts


def test_plain_ssh(pair: list[Host], tmp_path: Path) -> None:
    fleet = pair[0].fleet
    names = "".join(f"Host {host.name}\n HostName 127.0.0.1\n Port {host.port}\n User root\n" for host in pair)
    (tmp_path / "config").write_text(names)
    (tmp_path / "bin").mkdir()
    options = " ".join(fleet.ssh_options()).replace("-F none", f"-F {tmp_path / 'config'}")
    (tmp_path / "bin" / "ssh").write_text(f'#!/bin/sh\nexec /usr/bin/ssh {options} "$@"\n')
    (tmp_path / "bin" / "ssh").chmod(0o755)
    (tmp_path / "hosts.txt").write_text("one /srv/app\ntwo /srv/none\n")
    (script,) = code_blocks("automation.md", "Plain ssh")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.splitlines()[:2]) == (1, ["one: done", "two: failed"])
    assert "    error: /srv/none" in done.stdout
    assert "patched" in pair[0].run("/opt/mps-patcher/bin/mps-patcher status --python /srv/app")


def test_jamf(pair: list[Host]) -> None:
    policy, attribute = code_blocks("automation.md", "Jamf")
    host = pair[1]
    attribute = attribute.replace("/Users/Shared", "/srv")
    for name, script in (("policy", policy), ("attribute", attribute)):
        host.run(f"cat > /opt/{name} <<'END_OF_SCRIPT'\n{script}END_OF_SCRIPT\nchmod +x /opt/{name}")
    assert host.run("/opt/attribute") == "<result>cannot tell</result>\n"
    assert "parameter 4" in host.run("/opt/policy / host user", check=False)
    assert "patched" in host.run("/opt/policy / host user /srv /usr/bin/python3")
    assert host.run("/opt/attribute") == "<result>no patch is missing</result>\n"
    host.run(REINSTALL)
    assert host.run("/opt/attribute") == "<result>a patch is missing</result>\n"
    host.run("/opt/policy / host user /srv /usr/bin/python3")
    assert host.run("/opt/attribute") == "<result>no patch is missing</result>\n"

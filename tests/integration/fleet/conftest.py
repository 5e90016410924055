"""Twelve hosts with transformers of several releases, and what plays examples/ansible on them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import fleet
import images
import pytest
import torch_env
from fleet import Fleet, Host

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "ansible"
HEALTHY = dict(
    zip("abcdefgh", ("4.38.2", "4.41.2", "4.44.2", "4.45.1", "4.46.1", "4.57.6", "5.0.0", "5.24.0"), strict=True)
)
"""Each has one release in /srv/app."""
RELEASES = {**HEALTHY, "outdated": "4.45.1", "several": "4.45.1", "broken": "4.46.1", "readonly": "4.45.1"}
PIP = "/srv/app/bin/python -m pip"
INSTALL = "install --quiet --no-index --no-compile --root-user-action=ignore --find-links /srv/wheels"
EARLIER = r"""
python3 -m venv --without-pip /opt/earlier
PIP --python /opt/earlier/bin/python INSTALL mps-patcher
cd /opt/earlier/lib/python3.11/site-packages/patcher/patches/isin_mps_friendly
sed -i 's/^def isin_mps_friendly(.*/&\n    earlier = True/' replacement.py
grep -q earlier replacement.py
/opt/earlier/bin/mps-patcher apply --python /srv/app
rm -r /opt/earlier
""".replace("PIP", PIP).replace("INSTALL", INSTALL)
"""Patches with a tool whose replacement had another body, and removes that tool."""
WRONG = {
    "broken": "rm /srv/app/lib/python3.11/site-packages/transformers-*.dist-info/METADATA",
    "readonly": "mount --bind /srv/app /srv/app && mount -o remount,bind,ro /srv/app",
    "several": "python3 -m venv --without-pip /srv/apps &&"
    f" {PIP} --python /srv/apps/bin/python {INSTALL} --no-deps transformers==4.44.2",
    "outdated": EARLIER,
}
"""What makes a host special."""
RECAP = re.compile(r"(?m)^(\S+) +: ok=\d+ +changed=(\d+) +unreachable=(\d+) +failed=(\d+) ")


class Ended(NamedTuple):
    """What a play came to."""

    code: int
    output: str
    changed: dict[str, int]
    """How many tasks changed something, by host."""
    failed: set[str]

    def message(self, host: str) -> str:
        """What the play says of a host's failure."""
        found = re.search(rf"(?ms)^fatal: \[{host}\]: FAILED! => (.*?)^\S", self.output)
        return found[1] if found else ""


class Control(NamedTuple):
    """A control node: the hosts, and a folder with its inventory and its cache of facts."""

    hosts: dict[str, Host]
    folder: Path
    environ: dict[str, str]

    def play(self, *words: str, limit: str = "all", **variables: Any) -> Ended:
        """Plays site.yml; `limit` says on which hosts."""
        given = ["-e", json.dumps(variables), "--limit", limit, *words]
        return self.ansible("ansible-playbook", str(EXAMPLE / "site.yml"), *given)

    def ansible(self, *command: str) -> Ended:
        """One command of Ansible's, on the inventory."""
        name, *words = command
        done = subprocess.run(
            [str(fleet.ansible() / name), "-i", str(self.folder / "inventory.json"), *words],
            env=self.environ, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        print(done.stdout)
        recap = RECAP.findall(done.stdout)
        assert not any(int(unreachable) for _, _, unreachable, _ in recap), done.stdout
        changed = {host: int(changed) for host, changed, _, _ in recap}
        return Ended(done.returncode, done.stdout, changed, {host for host, _, _, failed in recap if int(failed)})

    def facts(self) -> dict[str, Any]:
        """What the role left about each host, as another play finds it in the cache."""
        said = self.ansible("ansible", "all", "-m", "ansible.builtin.debug", "-a", "var=mps_patcher_facts").output
        starts = re.finditer(r"(?m)^(\S+) \| SUCCESS => ", said)
        found = {start[1]: json.JSONDecoder().raw_decode(said, start.end())[0] for start in starts}
        return {host: one["mps_patcher_facts"] for host, one in found.items()}

    def digests(self) -> dict[str, str]:
        """Of every host, digests of all that lies in its environments, bytecode of other packages aside."""
        script = "cd /srv && find app* -type f -not -path '*/__pycache__/*' -exec sha256sum {} + | sort -k 2"
        with ThreadPoolExecutor(4) as pool:
            return dict(zip(self.hosts, pool.map(lambda host: host.run(script), self.hosts.values()), strict=True))


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """No host yet, but what they are made of: an empty environment in /srv/app, and wheels."""
    images.install_tools(fleet.TOOLS)
    made = Fleet(tmp_path_factory.mktemp("fleet") / "hosts")
    wheels = made.base / "srv" / "wheels"
    torch_env.call([*torch_env.pip(sys.executable), "wheel", "--no-deps", "-w", str(wheels), str(ROOT)])
    (tool,) = wheels.glob("mps_patcher-*.whl")
    images.download([str(tool)], wheels)
    for release in {*RELEASES.values()}:
        shutil.copy(torch_env.wheel(release), wheels)
    torch_env.call(["chroot", str(made.base), "python3", "-m", "venv", "/srv/app"])
    yield made
    made.close()
    shutil.rmtree(made.folder)


@pytest.fixture(scope="session")
def control(started: Fleet, tmp_path_factory: pytest.TempPathFactory) -> Control:
    """The twelve hosts: eight in order, one patched by an earlier state of the tool, one with two environments, one
    whose METADATA is gone, one that is read-only."""
    with ThreadPoolExecutor(4) as pool:
        hosts = dict(zip(RELEASES, pool.map(lambda name: prepared(started, name), RELEASES), strict=True))
    folder = tmp_path_factory.mktemp("control")
    (folder / "inventory.json").write_text(json.dumps({"all": {"hosts": inventory(started, hosts)}}))
    (folder / "ansible.cfg").touch()
    return Control(hosts, folder, environment(started, folder))


def prepared(started: Fleet, name: str) -> Host:
    """A host with its transformers, and what is wrong with it."""
    host = started.start(name)
    host.run(f"set -e; {PIP} {INSTALL} --no-deps transformers=={RELEASES[name]}; {WRONG.get(name, '')}")
    return host


def inventory(started: Fleet, hosts: dict[str, Host]) -> dict[str, dict[str, Any]]:
    """How each host is reached, and which transformers is meant there."""
    wheel = next((started.base / "srv" / "wheels").glob("mps_patcher-*.whl"))
    common = {
        "ansible_host": "127.0.0.1",
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "mps_patcher_wheel": str(wheel),
        "mps_patcher_pip_args": ["--no-index", "--find-links", "/srv/wheels"],
    }
    targets = {name: [{"under": "/srv"}] if name == "several" else [{"python": "/srv/app"}] for name in hosts}
    return {
        name: {**common, "ansible_port": host.port, "mps_patcher_targets": targets[name]}
        for name, host in hosts.items()
    }


def environment(started: Fleet, folder: Path) -> dict[str, str]:
    """Ansible's settings: none of the user's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return kept | {
        "ANSIBLE_CONFIG": str(folder / "ansible.cfg"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
        "ANSIBLE_FORKS": "12",
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "true",
        "ANSIBLE_SSH_ARGS": " ".join([*started.ssh_options(), "-oControlMaster=auto", "-oControlPersist=60s"]),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_CACHE_PLUGIN_CONNECTION": str(folder / "facts"),
        "LC_ALL": "C.UTF-8",
    }

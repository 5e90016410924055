"""Hosts reached by SSH: each a Debian with a root, processes and a name of its own, under a real sshd on loopback.

No container engine: an overlay over one common Debian, and OpenSSH's daemon in namespaces of its own. A host that is
stopped leaves neither a process, nor a mount, nor a file.

    python tests/support/fleet.py    whether such a host can be started here: installs what is missing, and starts one
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import images
import torch_env

TOOLS = ("mmdebstrap", "ssh")
PACKAGES = (*images.PACKAGES, "mount", "openssh-server")
ANSIBLE = ("ansible-core>=2.19,<2.22", "ansible-lint==26.10.1")  # what a linter finds changes with its version
START_SECONDS = 30
START = """\
set -eu
base=$1 folder=$2 key=$3 name=$4 port=$5
mount -t tmpfs tmpfs "$folder"
mkdir -p "$folder/upper/etc/ssh" "$folder/work" "$folder/root"
cp "$key" "$folder/upper/etc/ssh/host_key"
mount -t overlay overlay -o "lowerdir=$base,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
mount -t proc proc "$folder/root/proc"
hostname "$name"
exec chroot "$folder/root" /usr/sbin/sshd -D -e -f /dev/null -h /etc/ssh/host_key -o ListenAddress=127.0.0.1:"$port" \\
    -o PidFile=none -o UsePAM=no -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no \\
    -o Subsystem='sftp internal-sftp'
"""
"""What a host writes lies in memory, and is gone with it."""


class Fleet:
    """Hosts that share a folder, a key of the user's and a list of the known hosts' keys."""

    def __init__(self, folder: Path) -> None:
        self.base, self.key, self.known_hosts = folder / "base", folder / "key", folder / "known_hosts"
        self.folder, self.hosts = folder, dict[str, Host]()
        self.base.mkdir(parents=True)
        archive = images.base_archive("bookworm-ssh", PACKAGES)
        torch_env.call(["tar", "-C", str(self.base), "-xf", str(archive)])
        for name in ("run/sshd", "root/.ssh"):
            (self.base / name).mkdir(mode=0o700)
        make_key(self.key)
        shutil.copy(self.key.with_suffix(".pub"), self.base / "root" / ".ssh" / "authorized_keys")

    def start(self, name: str) -> Host:
        """A new host, which answers."""
        host = self.hosts[name] = Host(self, name)
        host.wait()
        return host

    def ssh_options(self) -> list[str]:
        """What makes ssh use these keys, whatever else the user has."""
        files = [f"UserKnownHostsFile={self.known_hosts}", f"IdentityFile={self.key}", "IdentitiesOnly=yes"]
        strict = ["StrictHostKeyChecking=yes", "BatchMode=yes", "IdentityAgent=none", "ForwardAgent=no"]
        return ["-F", "none", *(f"-o{option}" for option in (*files, *strict))]

    def close(self) -> None:
        """Stops all hosts."""
        for host in self.hosts.values():
            host.stop()


class Host:
    """One of them. Only its own processes see its files."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name, self.port = fleet, name, free_port()
        folder, key = fleet.folder / "hosts" / name, fleet.folder / "keys" / name
        folder.mkdir(parents=True)
        key.parent.mkdir(exist_ok=True)
        make_key(key)
        with fleet.known_hosts.open("a") as known:
            known.write(f"[127.0.0.1]:{self.port} {key.with_suffix('.pub').read_text()}")
        self.log = key.with_suffix(".log")
        with self.log.open("wb") as log:
            alone = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child", "bash", "-c", START, "start"]
            words = [str(fleet.base), str(folder), str(key), name, str(self.port)]
            self.process = subprocess.Popen([*alone, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def wait(self) -> None:
        """Returns once its daemon listens. Raises RuntimeError with its log where it does not come to that."""
        end = time.monotonic() + START_SECONDS
        while "Server listening" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the host {self.name} did not start:\n{self.log.read_text()}")
            time.sleep(0.05)

    def run(self, script: str, *, check: bool = True) -> str:
        """What a script of the shell's says there, errors too."""
        command = ["ssh", *self.fleet.ssh_options(), "-p", str(self.port), "root@127.0.0.1", script]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"{self.name}: {script!r} ended with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def stop(self) -> None:
        """Ends all its processes, and with the last one its mounts."""
        self.process.kill()  # unshare ignores SIGTERM; its child is killed with it
        self.process.wait()


def make_key(path: Path) -> None:
    """A pair of keys without a passphrase."""
    torch_env.call(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)])


def free_port() -> int:
    """One that nobody listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


def ansible() -> Path:
    """The bin folder of an environment with ansible-core and ansible-lint, made once for all checkouts."""
    key = sha256(repr((ANSIBLE, sys.version_info[:2])).encode()).hexdigest()[:8]
    folder = torch_env.cache() / "envs" / f"ansible-{key}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            torch_env.call([sys.executable, "-m", "venv", str(folder)], lock.fileno())
            torch_env.call([*torch_env.pip(folder / "bin" / "python"), "install", *ANSIBLE], lock.fileno())
            (folder / "complete").touch()
    return folder / "bin"


def main() -> int:
    """Exit code 0 where a host can be started and reached, else 1, and why not."""
    if os.geteuid():
        print("error: hosts of their own roots can only be made by root", file=sys.stderr)
        return 1
    try:
        images.install_tools(TOOLS)
        with tempfile.TemporaryDirectory() as folder:
            fleet = Fleet(Path(folder) / "fleet")
            try:
                fleet.start("probe").run("true")
            finally:
                fleet.close()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"error: no host can be started here: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

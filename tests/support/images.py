"""Real images, built and run by podman: without a daemon, without a registry, as root on Debian.

Three settings make it work where there is no systemd and cgroups are of both versions: limits that a container may
have, runc as the runtime, no journal. The base image is Debian 12 with python3, made by mmdebstrap from the machine's
own mirror.

    python tests/support/images.py    whether images can be built here: installs what is missing, builds and runs one
"""

from __future__ import annotations

import gzip
import io
import json
import os
import pwd
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch_env

TOOLS = ("podman", "runc", "mmdebstrap")
CONF = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
[engine]
runtime = "runc"
events_logger = "none"
"""
PACKAGES = ("python3", "python3-venv", "dash", "coreutils")
BASE = "localhost/base:1"
BOOKWORM = "3.11"
"""The Python of Debian 12."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one entry of a layer is."""

    path: str
    mode: int
    mtime: int
    owner: tuple[int, int]
    is_folder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer as a registry would get it."""

    size: int
    """In bytes, compressed."""
    members: tuple[Member, ...]
    files: dict[str, bytes]

    def names(self) -> set[str]:
        """The paths of all that is no folder."""
        return {member.path for member in self.members if not member.is_folder}


def install_tools(tools: Sequence[str] = TOOLS) -> None:
    """Installs what is missing. Exits with a clear word where that cannot be."""
    missing, installer = [name for name in tools if not shutil.which(name)], shutil.which("apt-get")
    if not missing:
        return
    if os.geteuid() or not installer:
        sys.exit(f"error: there is no {', '.join(missing)}\nhint: install that, or run this as root on Debian 12")
    environ = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "--yes", "--no-install-recommends", *missing]):
        subprocess.run([installer, "-qq", *command], check=True, env=environ, stdout=sys.stderr)


def rootless_user() -> pwd.struct_passwd | None:
    """A user of this machine to whom /etc/subuid and /etc/subgid give users for containers."""
    given = [{line.partition(":")[0] for line in _lines(Path(name))} for name in ("/etc/subuid", "/etc/subgid")]
    return next(
        (user for user in pwd.getpwall() if user.pw_uid and all(user.pw_name in names for names in given)), None
    )


def base_archive(name: str = "bookworm-python3", packages: Sequence[str] = PACKAGES) -> Path:
    """A tar of Debian 12 with python3, or with other packages, made once for all checkouts."""
    archive = torch_env.cache() / "images" / f"{name}.tar"
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        made = archive.with_suffix(f".{os.getpid()}")
        words = ["--quiet", "--mode=root", "--variant=apt", f"--include={','.join(packages)}", "--format=tar"]
        command = [shutil.which("mmdebstrap") or "mmdebstrap", *words, "bookworm", str(made)]
        environ = os.environ | {"SOURCE_DATE_EPOCH": "0"}
        subprocess.run(command, check=True, env=environ, stdout=sys.stderr)
        made.rename(archive)
    return archive


def download(requirements: Sequence[str], folder: Path) -> None:
    """Wheels for the base image's Python, with all that they need."""
    platforms = [f"--platform={name}" for name in PLATFORMS]
    python = ["--only-binary=:all:", "--implementation=cp", f"--python-version={BOOKWORM}", *platforms]
    torch_env.call([*torch_env.pip(sys.executable), "download", *python, "-d", str(folder), *requirements])


class Engine:
    """podman, and buildah, with a store of their own; for root, or rootless for a `user` who then owns `folder`."""

    def __init__(self, folder: Path, user: pwd.struct_passwd | None = None) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "containers.conf").write_text(CONF)
        self.environ = os.environ | {"CONTAINERS_CONF": str(folder / "containers.conf")}
        self.identity: dict[str, object] = {}
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
            self.environ |= {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
            self.identity = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def podman(self, *words: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One command. What it said, of both outputs together, is its `stdout`."""
        return self._call("podman", *words, check=check)

    def _call(self, tool: str, *words: str | Path, check: bool) -> subprocess.CompletedProcess[str]:
        stores = ["--root", str(self.folder / "store"), "--runroot", str(self.folder / "run")]
        command = [tool, *stores, "--storage-driver", "overlay", *map(str, words)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        done = subprocess.run(  # type: ignore[call-overload]
            command, cwd=self.folder, env=self.environ, text=True, check=False, **pipes, **self.identity
        )
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}")
        return done  # type: ignore[no-any-return]

    def import_base(self) -> None:
        """The image that all others are built on."""
        context = self.folder / "base"
        context.mkdir()
        shutil.copyfile(base_archive(), context / "base.tar")
        (context / "Containerfile").write_text("FROM scratch\nADD base.tar /\n")
        self.podman("build", "--timestamp=0", "-t", BASE, context)
        shutil.rmtree(context)

    def build(
        self,
        context: Path,
        tag: str,
        *,
        target: str | None = None,
        timestamp: int | None = 0,
        cached: bool = False,
        arguments: Mapping[str, str] | None = None,
        builder: str = "podman",
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Builds an image by podman or buildah, offline; with a `timestamp` no time in it is later."""
        given = [f"--build-arg={name}={value}" for name, value in {"BASE": BASE, **(arguments or {})}.items()]
        options = ["--pull=never", "--network=none", "--layers", *([] if cached else ["--no-cache"])]
        options += [f"--timestamp={timestamp}"] if timestamp is not None else []
        options += [f"--target={target}"] if target else []
        return self._call(builder, "build", *given, *options, "-t", tag, context, check=check)

    def run(self, tag: str, *command: str, options: Sequence[str] = (), check: bool = True) -> str:
        """What the command says in the image, on a read-only root and without a network."""
        return self.podman(
            "run", "--rm", "--pull=never", "--read-only", "--network=none", *options, tag, *command, check=check
        ).stdout

    def inspect(self, tag: str, template: str) -> str:
        """One fact of an image."""
        return self.podman("image", "inspect", "--format", template, tag).stdout.strip()

    def layers(self, tag: str) -> list[Layer | None]:
        """The layers of an image from the lowest on; None in the place of those above 1 MB.

        They are read as they are stored: a registry gets them compressed, which takes a hundred times as long.
        """
        archive = self.folder / "image.tar"
        archive.unlink(missing_ok=True)
        self.podman("save", "--quiet", "--format=docker-archive", f"--output={archive}", tag)
        with tarfile.open(archive) as opened:
            (manifest,) = json.loads(_content(opened, "manifest.json"))
            layers = [opened.getmember(name) for name in manifest["Layers"]]
            found = [_layer(_content(opened, one.name)) if one.size < 10**6 else None for one in layers]
        archive.unlink()
        return found

    def close(self) -> None:
        """Removes every image and container."""
        self.podman("rmi", "--all", "--force", check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def main() -> int:
    """Exit code 0 where images can be built and run, else 1, and why not."""
    try:
        install_tools()
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine(Path(folder) / "podman")
            try:
                engine.import_base()
                engine.run(BASE, "true")
            finally:
                engine.close()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        print(f"error: no image can be built or run here: {error}", file=sys.stderr)
        return 1
    return 0


def _lines(file: Path) -> list[str]:
    return file.read_text("utf-8").splitlines() if file.exists() else []


def _content(opened: tarfile.TarFile, name: str) -> bytes:
    found = opened.extractfile(name)
    if found is None:
        raise RuntimeError(f"{name} is no file")
    return found.read()


def _layer(data: bytes) -> Layer:
    members, files = [], {}
    with tarfile.open(fileobj=io.BytesIO(data)) as opened:
        for entry in opened:
            members.append(
                Member(
                    path=entry.name,
                    mode=stat.S_IMODE(entry.mode),
                    mtime=int(entry.mtime),
                    owner=(entry.uid, entry.gid),
                    is_folder=entry.isdir(),
                )
            )
            if entry.isfile() and not Path(entry.name).name.startswith(".wh."):
                files[entry.name] = _content(opened, entry.name)
    return Layer(size=len(gzip.compress(data)), members=tuple(members), files=files)


if __name__ == "__main__":
    sys.exit(main())

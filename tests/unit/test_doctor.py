"""What `doctor` says of a machine, of its targets and of other packages, and what it never says."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner
from documents import read_document
from torch_env import wheel

from patcher import cli
from patcher.callers import Kind, find_other_packages
from patcher.catalogue import load_catalogue
from patcher.doctor import without_home
from patcher.targets import interpreter

ROOT = Path(__file__).resolve().parents[2]
COPY = """\
import torch
def isin(a, b):
    if a.device.type == "mps":
        return a == b
    return torch.isin(a, b)
"""
USER = pwd.getpwuid(os.getuid()).pw_name


def doctor(*words: object, **environ: str) -> str:
    """What it prints, as a process of its own."""
    command = [sys.executable, "-m", "patcher", "doctor", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **environ}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def add_package(site_packages: Path, source: str, name: str = "user") -> None:
    """Installs a package of one module that needs torch."""
    dist_info = site_packages / f"{name}-1.0.dist-info"
    dist_info.mkdir()
    (dist_info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\nRequires-Dist: torch (>=2)\n")
    (dist_info / "RECORD").write_text(f"{name}.py,sha256=x,1\n{name}-1.0.dist-info/METADATA,,\n")
    (site_packages / f"{name}.py").write_text(source)


def add_torch(site_packages: Path, source: str) -> None:
    """Installs what calls itself torch 2.1.0."""
    (site_packages / "torch").mkdir()
    (site_packages / "torch" / "__init__.py").write_text(source)
    (site_packages / "torch-2.1.0.dist-info").mkdir()
    (site_packages / "torch-2.1.0.dist-info" / "METADATA").write_text("Name: torch\nVersion: 2.1.0\n")


@pytest.fixture
def venv(tmp_path: Path, unpacked: Callable[..., Path]) -> Path:
    """An environment with a few files of transformers 4.45.1, in a home folder; its site-packages."""
    home = tmp_path / "home"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home / "app" / ".venv")], check=True)
    (site_packages,) = home.glob("app/.venv/lib/python*/site-packages")
    for entry in unpacked().iterdir():
        entry.rename(site_packages / entry.name)
    return site_packages


class TestOtherPackages:
    @pytest.mark.parametrize(
        ("project", "version", "files", "kinds"),
        [
            ("trl", "1.16.0", 10, {Kind.CALL: 10}),
            ("sentence-transformers", "6.2.0", 2, {Kind.CALL: 3}),
            ("coqui-tts", "0.27.5", 1, {Kind.IMPORT: 1}),
            ("coqui-tts", "0.28.0", 1, {Kind.COPY: 1, Kind.CALL: 1}),
        ],
    )
    def test_released_ones(
        self, project: str, version: str, files: int, kinds: dict[Kind, int], tmp_path: Path
    ) -> None:
        with ZipFile(wheel(version, project)) as archive:
            archive.extractall(tmp_path)
        (found,) = find_other_packages((tmp_path,), load_catalogue())
        assert (found.name, found.version, len({use.path for use in found.uses})) == (project, version, files)
        assert Counter(use.kind for use in found.uses) == kinds
        for use in found.uses:
            line = (tmp_path / use.path).read_text("utf-8").splitlines()[use.line - 1]
            assert "isin" in line

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("import torch\ntorch.isin(a, b)", ["line 2: calls torch.isin"]),
            ("import torch as t\nf = t.isin", ["line 2: calls torch.isin"]),
            ("from torch import isin", ["line 1: imports torch.isin by name"]),
            ("from transformers.pytorch_utils import isin_mps_friendly as isin",
             ["line 1: imports isin_mps_friendly from transformers"]),
            ("def isin_mps_friendly(a, b):\n    return a == b", ["line 1: has a copy of isin_mps_friendly"]),
            (COPY, ["line 2: has a copy of isin_mps_friendly", "line 5: calls torch.isin"]),
            ("import numpy as np\nnp.isin(a, b)", []),
            ("import torch\nimport pandas\npandas.isin(a, b)", []),
            ("from .torch import isin", []),
            ("from numpy import isin", []),
            ("'torch.isin'  # torch.isin", []),
            ("import torch\ntorch.isin(", []),
        ],
    )  # fmt: skip
    def test_what_is_a_use(self, source: str, said: list[str], tmp_path: Path) -> None:
        add_package(tmp_path, source)
        found = find_other_packages((tmp_path,), load_catalogue())
        assert [f"line {use.line}: {use.what}" for package in found for use in package.uses] == said

    def test_of_two_on_the_path_the_first_counts(self, tmp_path: Path) -> None:
        for number, folder in enumerate((tmp_path / "one", tmp_path / "other")):
            folder.mkdir()
            add_package(folder, "\n" * number + "from torch import isin")
        found = find_other_packages((tmp_path / "none", tmp_path / "other", tmp_path / "one"), load_catalogue())
        assert [use.line for package in found for use in package.uses] == [2]

    def test_what_does_not_know_torch_is_not_read(self, tmp_path: Path) -> None:
        add_package(tmp_path, "import torch\ntorch.isin(a, b)")
        (tmp_path / "user-1.0.dist-info" / "METADATA").write_text("Name: user\nVersion: 1.0\n")
        assert find_other_packages((tmp_path,), load_catalogue()) == ()


class TestTarget:
    def test_with_real_torch(self, torch_env: Path) -> None:
        said = doctor("--python", torch_env)
        assert "- transformers 4.45.1, torch 2.13.0" in said
        assert f"  - Python {sys.version_info[0]}." in said
        assert " reports MPS: built no, available no\n" in said or " reports MPS: built yes" in said
        assert "unpatched; edge cases of isin_mps_friendly are wrong, such as operands on two devices\n" in said

    def test_without_torch(self, venv: Path) -> None:
        said = doctor("--python", venv.parents[2])
        assert "- transformers 4.45.1, no torch found" in said
        assert "of MPS" not in said
        assert "  - isin_mps_friendly: unpatched; fails with IndexError: tuple index out of range\n" in said
        assert "  - direct_isin: absent\n" in said
        assert "  - other packages that call torch.isin: none found\n" in said

    def test_what_is_patched(self, venv: Path) -> None:
        apply = [sys.executable, "-m", "patcher", "apply", "--python", str(venv.parents[2])]
        subprocess.run(apply, check=True, capture_output=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert "  - isin_mps_friendly: patched\n" in doctor("--python", venv.parents[2])
        with (venv / "transformers" / "pytorch_utils.py").open("a") as file:
            file.write("# mine\n")
        said = doctor("--python", venv.parents[2])
        assert "  - isin_mps_friendly: modified; what it does here cannot be told\n" in said

    def test_a_torch_that_cannot_be_imported(self, venv: Path) -> None:
        add_torch(venv, "raise OSError('dlopen(/Users/jane/lib.dylib)\\nno such file')")
        said = doctor("--python", venv.parents[2])
        assert "  - torch cannot be imported: OSError: dlopen(~/lib.dylib)\\nno such file\n" in said

    def test_a_torch_that_ends_the_process(self, venv: Path) -> None:
        add_torch(venv, "import os\nos.kill(os.getpid(), 11)")
        said = doctor("--python", venv.parents[2])
        assert "could not be asked:" in said
        assert "the interpreter was killed by SIGSEGV" in said
        assert "  - isin_mps_friendly: unpatched" in said

    def test_a_torch_that_takes_forever(self, venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add_torch(venv, "import time\ntime.sleep(3600)")
        monkeypatch.setattr(interpreter, "TORCH_TIMEOUT", 1.0)
        result = CliRunner().invoke(cli.program, ["doctor", "--python", str(venv.parents[2])])
        assert result.exit_code == 0
        assert "not finished after 1 s" in result.stdout

    def test_nothing_is_changed(self, venv: Path, tree: Callable[[Path], object]) -> None:
        add_torch(venv, "raise ImportError")
        before = tree(venv)
        doctor("--python", venv.parents[2])
        assert tree(venv) == before

    def test_other_packages_and_what_helps(self, venv: Path) -> None:
        add_torch(venv, "")
        add_package(venv, "from torch import isin")
        helps = "  - for calls of torch.isin: `mps-patcher run -- SCRIPT`; `mps-patcher apply` does not change them\n"
        said = doctor("--site-packages", venv)
        assert "    - user 1.0\n      - `user.py`, line 1: imports torch.isin by name\n" in said
        assert helps in said
        metadata = venv / "torch-2.1.0.dist-info" / "METADATA"
        metadata.write_text("Name: torch\nVersion: 2.9.1\n")
        said = doctor("--site-packages", venv)
        assert "  - torch.isin of torch 2.9.1 has no known error on MPS\n" in said
        assert helps not in said

    def test_no_transformers_is_told_as_that(self, tmp_path: Path) -> None:
        said = doctor("--site-packages", tmp_path)
        assert "\n- no target: There is no transformers in " in said


class TestPrivacy:
    def test_nothing_of_the_user_is_in_it(self, venv: Path) -> None:
        home = venv.parents[4]
        add_torch(venv, f"raise OSError({str(venv)!r})")
        add_package(venv, "from torch import isin")
        said = doctor("--python", venv.parents[2], HOME=str(home), HF_TOKEN="hf_secret", PYTORCH_MPS_X="secret")  # noqa: S106
        assert "`~/app/.venv/lib/python" in said
        assert "OSError: ~/app/.venv/lib/python" in said
        assert str(home) not in said
        assert "secret" not in said
        assert f"/{USER}/" not in said

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("in `/Users/jane/app`", "in `~/app`"),
            ("/home/jane", "~"),
            ("dlopen('/Users/jane/x', 2), /Users/jane: no", "dlopen('~/x', 2), ~: no"),
            ("/opt/app/users", "/opt/app/users"),
            (f"/data/{USER}/app /data/{USER}", "/data/USER/app /data/USER"),
            (f"/data/{USER}s/app", f"/data/{USER}s/app"),
        ],
    )
    def test_home_folders_and_the_users_name(self, text: str, said: str) -> None:
        assert without_home(text) == said


def test_there_is_no_json() -> None:
    result = CliRunner().invoke(cli.program, ["doctor", "--json"])
    assert result.exit_code == 2
    assert read_document(result.stdout)["error"]["code"] == "usage"

"""Finding what the options name: one test a layout, and what several options together give."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from patcher.errors import PatcherError
from patcher.locate import targets
from patcher.model import NotFound, Target

INFO = "transformers-4.45.1.dist-info"


def test_an_interpreter_as_named(venv: Any, install: Any, look: Any, cwd: Path) -> None:
    env = venv()
    install(env.site_packages, torch="2.1.0")
    (found,) = look(python=[Path("../env/bin/python")])
    folder = env.site_packages.stat()
    assert found == Target(
        site_packages=env.site_packages,
        dist_info=env.site_packages / INFO,
        version="4.45.1",
        python=cwd / "../env/bin/python",
        torch="2.1.0",
        installer="pip",
        pycache_prefix=None,
        reason="--python names ../env/bin/python",
        identity=(folder.st_dev, folder.st_ino),
    )
    assert found.python.is_symlink()


def test_a_bare_name_is_looked_up_on_path(venv: Any, install: Any, look: Any, cwd: Path) -> None:
    env = venv()
    install(env.site_packages)
    (found,) = look(python=[Path("python")], PATH=f"{env.prefix / 'bin'}")
    assert found.python == env.python
    (missing,) = look(python=[Path("python")], PATH="")
    assert (missing.error.code, missing.python) == ("python-not-found", cwd / "python")
    (cwd / "python").symlink_to(env.python)  # a file here comes before PATH, for the option takes a path
    (found,) = look(python=[Path("python")], PATH=f"{env.prefix / 'bin'}")
    assert found.python == cwd / "python"


def test_a_folder_runs_nothing(install: Any, look: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "image" / "lib" / "python3.8" / "site-packages", torch="2.2.2")
    python = tmp_path / "image" / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    python.chmod(0o755)
    (found,) = look(site_packages=[folder])
    assert (found.python, found.torch, found.version, found.site_packages) == (None, "2.2.2", "4.45.1", folder)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("inside", ["", "usr/local/", "venv/"])
def test_a_prefix_is_not_guessed_but_hinted_at(install: Any, look: Any, tmp_path: Path, inside: str) -> None:
    folder = install(tmp_path / "image" / f"{inside}lib/python3.12/site-packages")
    (found,) = look(site_packages=[tmp_path / "image"])
    assert (found.error.code, found.error.exit_code) == ("no-transformers", 3)
    assert found.error.hint == f"Did you mean --site-packages {folder}?"


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_a_real_install(venv: Any, look: Any, wheels: Callable[[str], Path], tmp_path: Path, tool: str) -> None:
    env = venv("an environment of Ænne")
    python = [sys.executable, "-m"]
    pip = [*python, "pip", "--python", str(env.python), "install", "--no-compile", "--no-index"]
    uv = [*python, "uv", "pip", "install", "--offline", "--python", str(env.python), "--cache-dir", str(tmp_path / "c")]
    subprocess.run([*(pip if tool == "pip" else uv), "-q", "--no-deps", str(wheels("4.45.1"))], check=True)
    (found,) = look(python=[env.python])
    assert (found.version, found.installer, found.site_packages) == ("4.45.1", tool, env.site_packages)
    (again,) = look(under=[tmp_path])
    assert (again.python, again.site_packages) == (env.python, env.site_packages), "uv's cache is no target"


def test_the_user_site(look: Any, wheels: Callable[[str], Path], tmp_path: Path) -> None:
    base = Path(sys.base_prefix) / "bin" / "python3"
    environ = {**os.environ, "PYTHONUSERBASE": str(tmp_path / "user"), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
    pip = [sys.executable, "-m", "pip", "--python", str(base), "install", "--user", "--no-deps", "--no-compile"]
    wheel = str(wheels("4.45.1"))
    subprocess.run([*pip, "-q", "--no-index", "--ignore-installed", wheel], check=True, env=environ)
    (found,) = look(python=[base], PYTHONUSERBASE=tmp_path / "user")
    assert isinstance(found, Target)
    assert tmp_path / "user" in found.site_packages.parents


def test_a_target_folder_on_pythonpath(venv: Any, install: Any, look: Any, cwd: Path) -> None:
    env = venv()
    install(env.site_packages, transformers=False, torch="2.3.1")
    folder = install(cwd / "lib")
    (found,) = look(python=[env.python], PYTHONPATH="lib")
    assert (found.site_packages, found.torch, found.python) == (folder, "2.3.1", env.python)


def test_conda(whole: Any, install: Any, look: Any) -> None:
    install(whole.site_packages)
    (whole.prefix / "conda-meta").mkdir()
    (whole.site_packages / INFO / "INSTALLER").write_text("conda")
    egg = whole.site_packages / "torch-2.1.2-py3.11.egg-info"  # as conda's pytorch packages have it
    egg.mkdir()
    (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.2\n")
    (found,) = look(CONDA_PREFIX=whole.prefix)
    assert (found.site_packages, found.installer, found.torch) == (whole.site_packages, "conda", "2.1.2")
    assert (found.python, found.reason) == (whole.python, f"CONDA_PREFIX is set to {whole.prefix}")


@pytest.mark.parametrize("where", ["base", "venv"])
def test_system_site_packages(whole: Any, venv: Any, install: Any, look: Any, where: str) -> None:
    """transformers in the base and torch in the virtual environment, or the other way round."""
    env = venv("env", "--system-site-packages", base=whole.python)
    here, there = (whole, env) if where == "base" else (env, whole)
    install(here.site_packages)
    install(there.site_packages, transformers=False, torch="2.4.0")
    (found,) = look(python=[env.python])
    assert (found.site_packages, found.torch, found.python) == (here.site_packages, "2.4.0", env.python)


def test_the_bytecode_prefix(venv: Any, install: Any, look: Any, cwd: Path) -> None:
    env = venv()
    install(env.site_packages)
    (found,) = look(python=[env.python], PYTHONPYCACHEPREFIX="caches")
    assert found.pycache_prefix == cwd / "caches"


def test_everything_below(venv: Any, install: Any, look: Any, tmp_path: Path) -> None:
    top = tmp_path / "many"
    top.mkdir()
    for name, torch in (("one", "2.1.0"), ("two", None)):
        install(venv(name, parent=top).site_packages, torch=torch)
    install(top / "vendored")
    (top / "link").symlink_to(top / "one")
    install(venv("empty", parent=top).site_packages, transformers=False, torch="2.0.0")
    found = look(under=[top])
    assert [(one.python, one.torch) for one in found] == [
        (top / "one" / "bin" / "python", "2.1.0"),
        (top / "two" / "bin" / "python", None),
        (None, None),
    ]
    assert found[2].site_packages == top / "vendored"
    assert found[0].reason == f"it lies below {top}"


@pytest.mark.parametrize("script", ["exit 1", 'exec {other} "$@"'], ids=["does not run", "is another one's"])
def test_an_interpreter_that_does_not_fit(venv: Any, install: Any, look: Any, script: str) -> None:
    env, other = venv("env"), venv("other")
    install(env.site_packages)
    install(other.site_packages)
    env.python.unlink()
    env.python.write_text(f"#!/bin/sh\n{script.format(other=other.python)}\n")
    env.python.chmod(0o755)
    (found,) = look(under=[env.prefix])
    assert (found.site_packages, found.python) == (env.site_packages, None)


def test_a_folder_of_another_layout_has_no_interpreter_of_its_own(
    venv: Any, install: Any, look: Any, alarm: Path
) -> None:
    """Debian's dist-packages, say: the Python beside it need not be the one that imports from there, and is not run."""
    env = venv("env")
    (env.site_packages / "sitecustomize.py").write_text(f"open({str(alarm)!r}, 'a').write('started')\n")
    folders = [install(env.prefix / name) for name in ("lib/python3/dist-packages", "share/python3.11/site-packages")]
    assert [(one.site_packages, one.python) for one in look(under=[env.prefix])] == [(one, None) for one in folders]


def test_a_current_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "cwd", gone)
    with pytest.raises(PatcherError) as caught:
        targets.here()
    assert caught.value.code == "no-current-folder"
    assert caught.value.message == "The current folder is gone, or cannot be told: No such file or directory."


def test_a_broken_install_in_a_named_folder_is_told_with_its_version(install: Any, look: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "site-packages")
    (folder / INFO / "METADATA").unlink()
    (found,) = look(site_packages=[folder])
    assert (found.error.code, found.site_packages, found.version) == ("broken-metadata", folder, "4.45.1")


def test_nothing_below(look: Any, tmp_path: Path) -> None:
    (empty,) = look(under=[tmp_path])
    assert (empty.error.code, empty.error.exit_code, empty.site_packages) == ("no-transformers", 3, tmp_path)
    assert empty.error.message == f"There is no transformers installed below {tmp_path} (it lies below {tmp_path})."
    (missing,) = look(under=[tmp_path / "missing"])
    assert (missing.error.code, missing.error.exit_code) == ("unreadable-folder", 1)


def test_what_could_not_be_searched_is_told(install: Any, look: Any, tmp_path: Path, monkeypatch: Any) -> None:
    install(tmp_path / "top" / "a")
    (tmp_path / "top" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: Any) -> Any:  # root, who runs the tests in containers, may read all
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found, unread = look(under=[tmp_path / "top"])
    assert isinstance(found, Target)
    assert (unread.error.code, unread.error.exit_code) == ("unreadable-folder", 3)
    assert "locked" in unread.error.message


def test_a_broken_install_below_is_told(install: Any, look: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "top" / "a")
    (folder / INFO / "METADATA").unlink()
    (found,) = look(under=[tmp_path / "top"])
    assert (found.error.code, found.site_packages, found.version) == ("broken-metadata", folder, "4.45.1")


def test_options_add_up_and_one_install_is_one_target(venv: Any, install: Any, look: Any, tmp_path: Path) -> None:
    first, second, bare, hollow = venv("first"), venv("second"), venv("bare"), venv("hollow")
    install(first.site_packages)
    install(second.site_packages)
    (tmp_path / "alias").symlink_to(first.prefix)
    found = look(
        python=[second.python, bare.python, hollow.python, bare.python, tmp_path / "alias" / "bin" / "python"],
        site_packages=[second.site_packages, first.site_packages],
        under=[first.prefix, tmp_path],
    )
    assert [one.python for one in found] == [
        second.python,
        bare.python,
        hollow.python,
        tmp_path / "alias" / "bin" / "python",
    ]
    assert [isinstance(one, NotFound) for one in found] == [False, True, True, False]


def test_a_finding_with_an_interpreter_wins(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    install(env.site_packages)
    (found,) = look(site_packages=[env.site_packages], under=[env.prefix])
    assert found.python == env.python


def test_a_zip_on_pythonpath(venv: Any, install: Any, look: Any, tmp_path: Path) -> None:
    folder, archive = install(tmp_path / "unpacked"), tmp_path / "all.zip"
    with ZipFile(archive, "w") as file:
        for path in folder.rglob("*.py"):
            file.write(path, path.relative_to(folder))
    (found,) = look(python=[venv().python], PYTHONPATH=archive)
    assert found.error.code == "in-zip"
    assert str(archive) in found.error.message


def test_one_folder_in_two_spellings_is_one_target(install: Any, look: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """As where upper and lower case do not count, which no path tells; a link further up stands in for that."""
    folder = install(tmp_path / "lib" / "site-packages")
    (tmp_path / "LIB").symlink_to(tmp_path / "lib")
    monkeypatch.setattr(os.path, "realpath", str)
    (found,) = look(site_packages=[folder, tmp_path / "LIB" / "site-packages"])
    assert found.site_packages == folder

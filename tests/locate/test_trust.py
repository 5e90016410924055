"""Which interpreters root starts of its own accord: only those in which nobody else had a hand."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patcher.locate import trust
from patcher.model import NotFound, Target

OTHER = 12345
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root is asked, and only root can give files away")


@pytest.fixture
def env(tmp_path: Path) -> Path:
    """What `python -m venv env` leaves, its interpreter linked as most are, beside the base that it comes from."""
    base, made, site = tmp_path / "base=x", tmp_path / "env", tmp_path / "env/lib/python3.11/site-packages"
    for folder in (base / "bin", base / "lib" / "python3.11", made / "bin", site):
        folder.mkdir(parents=True)
    (base / "bin" / "python3").touch(0o755)
    (made / "bin" / "python").symlink_to(Path("../../base=x/bin/python3"))
    (site / "some.pth").touch(0o644)
    (made / "pyvenv.cfg").write_bytes(b"prompt = \xff\nversion = 3.11\nHome = " + os.fsencode(base / "bin") + b"\n")
    for path in (tmp_path, *tmp_path.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o022)
    return made


def stranger(env: Path) -> Path | None:
    return trust.stranger(env / "bin" / "python", env / "lib" / "python3.11" / "site-packages")


def give(path: Path) -> None:
    os.chown(path, OTHER, OTHER, follow_symlinks=False)


HANDS = (
    "",
    "env",
    "env/bin",
    "env/bin/python",
    "env/pyvenv.cfg",
    "env/lib",
    "env/lib/python3.11",
    "env/lib/python3.11/site-packages",
    "env/lib/python3.11/site-packages/some.pth",
    "base=x",
    "base=x/bin",
    "base=x/bin/python3",
    "base=x/lib",
    "base=x/lib/python3.11",
)


def test_what_is_roots_alone(env: Path) -> None:
    assert stranger(env) is None


@pytest.mark.parametrize("name", HANDS)
def test_of_another_owner(env: Path, name: str) -> None:
    give(env.parent / name)
    assert stranger(env) == env.parent / name


@pytest.mark.parametrize("bit", [0o020, 0o002], ids=["group", "all"])
@pytest.mark.parametrize("name", [name for name in HANDS if name != "env/bin/python"])  # a link has no mode of its own
def test_written_by_others(env: Path, name: str, bit: int) -> None:
    path = env.parent / name
    path.chmod(path.stat().st_mode | bit)
    assert stranger(env) == path


@pytest.mark.parametrize(("name", "found"), [("", None), ("env/lib/python3.11/site-packages", "itself")])
def test_a_sticky_folder_may_be_passed_but_not_be_the_end(env: Path, name: str, found: str | None) -> None:
    """In it nobody can exchange what is another's, but anybody can add a `.pth` file."""
    path = env.parent / name
    path.chmod(0o1777)
    assert stranger(env) == (path if found else None)


def test_a_standard_library_that_only_pyvenv_cfg_leads_to(env: Path) -> None:
    """As where the interpreter is a copy."""
    (env / "bin" / "python").unlink()
    shutil.copy(env.parent / "base=x" / "bin" / "python3", env / "bin" / "python")
    give(env.parent / "base=x" / "lib" / "python3.11")
    assert stranger(env) == env.parent / "base=x" / "lib" / "python3.11"


def test_a_standard_library_that_only_the_link_leads_to(env: Path) -> None:
    (env / "pyvenv.cfg").unlink()
    give(env.parent / "base=x" / "lib" / "python3.11")
    assert stranger(env) == env.parent / "base=x" / "lib" / "python3.11"


def test_what_is_not_there_is_nobodys(env: Path) -> None:
    (env / "bin" / "python").unlink()
    assert stranger(env) == env / "bin" / "python"


def test_links_in_a_ring_come_to_an_end(env: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        (env.parent / name).symlink_to(env.parent / other)
    (env / "bin" / "python").unlink()
    (env / "bin" / "python").symlink_to(env.parent / "a" / "python")
    assert stranger(env) in (env.parent / "a" / "python", env.parent / "b" / "python")


def test_a_link_on_the_way_is_looked_at_and_followed(env: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir(0o755)
    (env / "lib").rename(tmp_path / "far" / "lib")
    (env / "lib").symlink_to(tmp_path / "far" / "lib")
    assert stranger(env) is None
    give(env / "lib")
    assert stranger(env) == env / "lib"
    os.chown(env / "lib", 0, 0, follow_symlinks=False)
    give(tmp_path / "far")
    assert stranger(env) == tmp_path / "far"


@pytest.fixture
def nearest(venv: Any, install: Any, cwd: Path, tmp_path: Path, monkeypatch: Any) -> Path:
    """A .venv with transformers in the current folder; the tool itself has none beside it."""
    monkeypatch.setattr("sys.executable", str(venv("tool").python))
    install(venv(".venv", parent=cwd).site_packages, torch="2.1.0")
    for path in (tmp_path, *tmp_path.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & ~0o022)
    return cwd / ".venv"


def _site(env: Path) -> Path:
    (site,) = env.glob("lib/python*/site-packages")
    return site


@pytest.fixture(params=["nearest", "under"])
def sought(request: Any, look: Any) -> Callable[[Path], Target | NotFound]:
    """Finds the one target of an environment that nobody named: as the nearest one, or with --under."""

    def find(env: Path) -> Target | NotFound:
        (found,) = look(PATH="") if request.param == "nearest" else look(under=[env], PATH="")
        assert isinstance(found, (Target, NotFound))
        return found

    return find


def test_root_starts_what_is_its_own(nearest: Path, sought: Any) -> None:
    if stray := trust.stranger(nearest / "bin" / "python", _site(nearest)):
        pytest.skip(f"the Python of this machine is not root's alone: {stray}")
    found = sought(nearest)
    assert (found.site_packages, found.python) == (_site(nearest), nearest / "bin" / "python")


def test_root_does_not_start_what_another_made(nearest: Path, sought: Any, alarm: Path) -> None:
    (_site(nearest) / "evil.pth").write_text(f"import pathlib; pathlib.Path({str(alarm)!r}).touch()\n")
    give(_site(nearest))
    found = sought(nearest)
    assert (found.site_packages, found.python, found.torch) == (_site(nearest), None, "2.1.0")
    told = f"its interpreter was not started by root, because {_site(nearest)} is not root's alone"
    assert found.reason.endswith(told)


def test_of_several_folders_the_strange_one_is_told(nearest: Path, look: Any, install: Any) -> None:
    site = _site(nearest)
    other = install(nearest / "lib" / "python3.99" / "site-packages")
    other.parent.chmod(0o755)
    give(other)
    (found,) = look(PATH="")
    expected = site if trust.stranger(nearest / "bin" / "python", site) else other
    assert (found.site_packages, found.python) == (expected, None)


def test_an_environment_without_folders(nearest: Path, look: Any) -> None:
    shutil.rmtree(nearest / "lib")
    (found,) = look(PATH="")
    assert isinstance(found, NotFound)
    assert (found.error.code, found.python, found.site_packages) == ("no-transformers", None, nearest)
    shutil.rmtree(nearest / "bin")
    (found,) = look(PATH="")
    assert (found.error.code, found.python) == ("python-not-found", nearest / "bin" / "python")

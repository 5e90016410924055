"""Finding what the options name, or what the environment means: one test a layout, and what several give together."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from patcher.errors import PatcherError
from patcher.model import NotFound, Target
from patcher.targets.find import TargetOptions, current_folder, default_interpreter, find_targets
from patcher.targets.search import folders_below

INFO = "transformers-4.45.1.dist-info"


class TestPython:
    """--python."""

    def test_an_interpreter_as_named(self, venv: Any, install: Any, look: Any, cwd: Path) -> None:
        env = venv()
        install(env.site_packages, torch="2.1.0")
        (found,) = look(python=[Path("../env/bin/python")])
        assert found == Target(
            site_packages=env.site_packages,
            dist_info=env.site_packages / INFO,
            version="4.45.1",
            python=cwd / "../env/bin/python",
            torch="2.1.0",
            installer="pip",
            pycache_prefix=None,
            reason="--python names ../env/bin/python",
            search_path=found.search_path,
            shared=None,
        )
        assert found.python.is_symlink()
        assert found.site_packages in found.search_path

    def test_the_folder_of_an_environment(self, venv: Any, install: Any, look: Any, cwd: Path) -> None:
        env = venv(".venv", parent=cwd)
        install(env.site_packages)
        (found,) = look(python=[Path(".venv")])
        assert (found.python, found.version) == (env.python, "4.45.1")
        assert found.reason == "--python names .venv"
        (missing,) = look(python=[cwd])
        assert (missing.python, missing.error.code) == (cwd / "bin" / "python", "python-not-found")
        assert missing.error.hint == f"Did you mean --python {cwd / '.venv'}?"

    def test_a_bare_name_is_looked_up_on_path(self, venv: Any, install: Any, look: Any, cwd: Path) -> None:
        env = venv()
        install(env.site_packages)
        (found,) = look(python=[Path("python")], PATH=f"{env.prefix / 'bin'}")
        assert found.python == env.python
        (missing,) = look(python=[Path("python")], PATH="")
        assert (missing.error.code, missing.python) == ("python-not-found", cwd / "python")
        (cwd / "python").symlink_to(env.python)  # a file here comes before PATH, for the option takes a path
        (found,) = look(python=[Path("python")], PATH=f"{env.prefix / 'bin'}")
        assert found.python == cwd / "python"

    @pytest.mark.parametrize("tool", ["pip", "uv"])
    def test_a_real_install(self, venv: Any, look: Any, wheels: Any, tmp_path: Path, tool: str) -> None:
        env = venv("an environment of Ænne")
        python = [sys.executable, "-m"]
        pip = [*python, "pip", "--python", str(env.python), "install", "--no-compile", "--no-index"]
        uv = [*python, "uv", "pip", "install", "--offline", "--python", str(env.python), "--cache-dir", tmp_path / "c"]
        subprocess.run([*(pip if tool == "pip" else uv), "-q", "--no-deps", str(wheels("4.45.1"))], check=True)
        (found,) = look(python=[env.python])
        assert (found.version, found.installer, found.site_packages) == ("4.45.1", tool, env.site_packages)
        (again,) = look(under=[tmp_path])
        assert (again.python, again.site_packages) == (env.python, env.site_packages), "uv's cache is no target"

    def test_conda(self, whole: Any, install: Any, look: Any) -> None:
        install(whole.site_packages)
        (whole.site_packages / INFO / "INSTALLER").write_text("conda")
        egg = whole.site_packages / "torch-2.1.2-py3.11.egg-info"  # as conda's pytorch packages have it
        egg.mkdir()
        (egg / "PKG-INFO").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.2\n")
        (found,) = look(CONDA_PREFIX=whole.prefix)
        assert (found.site_packages, found.installer, found.torch) == (whole.site_packages, "conda", "2.1.2")
        assert (found.python, found.reason) == (whole.python, f"CONDA_PREFIX is set to {whole.prefix}")

    def test_the_bytecode_prefix(self, venv: Any, install: Any, look: Any, cwd: Path) -> None:
        env = venv()
        install(env.site_packages)
        (found,) = look(python=[env.python], PYTHONPYCACHEPREFIX="caches")
        assert found.pycache_prefix == cwd / "caches"


class TestShared:
    """What other environments may share is said to be."""

    def said(self, found: Target, prefix: Path) -> bool:
        return found.shared == f"it lies outside {prefix}"

    @pytest.mark.parametrize("where", ["base", "venv"])
    def test_system_site_packages(self, whole: Any, venv: Any, install: Any, look: Any, where: str) -> None:
        """transformers in the base and torch in the virtual environment, or the other way round."""
        env = venv("env", "--system-site-packages", base=whole.python)
        here, there = (whole, env) if where == "base" else (env, whole)
        install(here.site_packages)
        install(there.site_packages, transformers=False, torch="2.4.0")
        (found,) = look(python=[env.python])
        assert (found.site_packages, found.torch, found.python) == (here.site_packages, "2.4.0", env.python)
        assert self.said(found, env.prefix) == (where == "base")

    def test_a_target_folder_on_pythonpath(self, venv: Any, install: Any, look: Any, cwd: Path) -> None:
        env = venv()
        install(env.site_packages, transformers=False, torch="2.3.1")
        folder = install(cwd / "lib")
        (found,) = look(python=[env.python], PYTHONPATH="lib")
        assert (found.site_packages, found.torch, found.python) == (folder, "2.3.1", env.python)
        assert self.said(found, env.prefix)

    def test_a_link_to_the_environment_leads_to_its_own(
        self, venv: Any, install: Any, look: Any, tmp_path: Path
    ) -> None:
        env = venv()
        install(env.site_packages)
        (tmp_path / "alias").symlink_to(env.prefix)
        (found,) = look(python=[tmp_path / "alias"])
        assert (found.reason, found.shared) == (f"--python names {tmp_path / 'alias'}", None)

    def test_the_user_site(self, look: Any, wheels: Any, tmp_path: Path) -> None:
        base = Path(sys.base_prefix) / "bin" / "python3"
        environ = {**os.environ, "PYTHONUSERBASE": str(tmp_path / "user"), "PIP_BREAK_SYSTEM_PACKAGES": "1"}
        pip = [sys.executable, "-m", "pip", "--python", str(base), "install", "--user", "--no-deps", "--no-compile"]
        wheel = str(wheels("4.45.1"))
        subprocess.run([*pip, "-q", "--no-index", "--ignore-installed", wheel], check=True, env=environ)
        (found,) = look(python=[base], PYTHONUSERBASE=tmp_path / "user")
        assert tmp_path / "user" in found.site_packages.parents
        assert self.said(found, Path(sys.base_prefix))


class TestSitePackages:
    """--site-packages."""

    def test_a_folder_runs_nothing(self, install: Any, look: Any, tmp_path: Path) -> None:
        folder = install(tmp_path / "image" / "lib" / "python3.8" / "site-packages", torch="2.2.2")
        python = tmp_path / "image" / "bin" / "python"
        python.parent.mkdir()
        python.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        python.chmod(0o755)
        (found,) = look(site_packages=[folder])
        assert (found.python, found.torch, found.version, found.site_packages) == (None, "2.2.2", "4.45.1", folder)
        assert (found.search_path, found.reason) == ((folder,), f"--site-packages names {folder}")
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("inside", ["", "usr/local/", "venv/"])
    def test_a_prefix_is_not_guessed_but_hinted_at(self, install: Any, look: Any, tmp_path: Path, inside: str) -> None:
        folder = install(tmp_path / "image" / f"{inside}lib/python3.12/site-packages")
        (found,) = look(site_packages=[tmp_path / "image"])
        assert (found.error.code, found.error.exit_code) == ("no-transformers", 3)
        assert found.error.hint == f"Did you mean --site-packages {folder}?"

    def test_a_broken_install_is_told_with_its_version(self, install: Any, look: Any, tmp_path: Path) -> None:
        folder = install(tmp_path / "top" / "site-packages")
        (folder / INFO / "METADATA").write_text("")
        for option, reason in (
            ({"site_packages": [folder]}, f"--site-packages names {folder}"),
            ({"under": [tmp_path / "top"]}, f"it lies below {tmp_path / 'top'}"),
        ):
            (found,) = look(**option)
            assert (found.error.code, found.site_packages, found.version) == ("broken-metadata", folder, "4.45.1")
            assert found.error.message.endswith(f" ({reason}).")


class TestUnder:
    """--under."""

    def test_everything_below(self, venv: Any, install: Any, look: Any, tmp_path: Path) -> None:
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
    def test_an_interpreter_that_does_not_fit(self, venv: Any, install: Any, look: Any, script: str) -> None:
        env, other = venv("env"), venv("other")
        install(env.site_packages)
        install(other.site_packages)
        env.python.unlink()
        env.python.write_text(f"#!/bin/sh\n{script.format(other=other.python)}\n")
        env.python.chmod(0o755)
        (found,) = look(under=[env.prefix])
        assert (found.site_packages, found.python) == (env.site_packages, None)

    def test_a_folder_of_another_layout_has_no_interpreter(
        self, venv: Any, install: Any, look: Any, alarm: Path
    ) -> None:
        """Debian's dist-packages, say: the Python beside it need not import from there, and is not run."""
        env = venv("env")
        (env.site_packages / "sitecustomize.py").write_text(f"open({str(alarm)!r}, 'a').write('started')\n")
        names = ("lib/python3/dist-packages", "share/python3.11/site-packages")
        folders = [install(env.prefix / name) for name in names]
        assert [(one.site_packages, one.python) for one in look(under=[env.prefix])] == [(one, None) for one in folders]

    def test_nothing_below(self, look: Any, tmp_path: Path) -> None:
        (empty,) = look(under=[tmp_path])
        assert (empty.error.code, empty.error.exit_code, empty.site_packages) == ("no-transformers", 3, tmp_path)
        assert empty.error.message == f"There is no transformers installed below {tmp_path}."
        (missing,) = look(under=[tmp_path / "missing"])
        assert (missing.error.code, missing.error.exit_code) == ("unreadable-folder", 1)
        assert missing.error.message == f"{tmp_path / 'missing'} does not exist."

    def test_what_could_not_be_searched_is_told(
        self, install: Any, look: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install(tmp_path / "top")
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


def holding(folder: Path, mark: str = INFO) -> Path:
    (folder / mark).mkdir(parents=True)
    return folder


class TestSearch:
    """Installs sound or not, once each, and never a package cache."""

    def test_where_installs_are(self, tmp_path: Path) -> None:
        """Also files without metadata, in site-packages; `onnxruntime/transformers`, say, is another package's part."""
        top = tmp_path / "top"
        expected = [
            holding(top),
            holding(top / "b", "__editable__.transformers-4.46.0.pth"),
            holding(top / "c" / "d"),
            holding(top / "e" / "site-packages", "transformers"),
        ]
        holding(top / "src", "transformers.egg-info")  # a source tree
        holding(top / "e" / "site-packages" / "onnxruntime", "transformers")
        for path in top.rglob("transformers"):
            (path / "__init__.py").touch()
        holding(top / "f" / "site-packages", "transformers")  # a namespace
        (top / "again").symlink_to(top / "c")
        assert list(folders_below(top, [])) == expected

    def test_package_caches_are_left_alone(self, tmp_path: Path) -> None:
        holding(tmp_path / "uv" / "archive-v0" / "x")
        (tmp_path / "uv" / "CACHEDIR.TAG").write_text("")
        holding(tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "site-packages")
        (tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "info").mkdir()
        (tmp_path / "pkgs" / "transformers-4.45.1-py_0" / "info" / "index.json").write_text("{}")
        holding(tmp_path / "pex" / "installed_wheels" / "3" / "be9ef6" / "transformers-4.45.1-py3-none-any.whl")
        kept = holding(tmp_path / "venv" / "lib" / "python3.11" / "site-packages")
        (tmp_path / "venv" / "info").mkdir()
        for name in ("CACHEDIR.TAG", "pyvenv.cfg"):  # uv tags the environments that it makes, too
            (tmp_path / "venv" / name).write_text("")
        assert list(folders_below(tmp_path, [])) == [kept]

    def test_a_linked_site_packages_that_leads_out_is_named_as_such(self, tmp_path: Path) -> None:
        top, out = tmp_path / "top", tmp_path / "out"
        inside = holding(top / "a" / "site-packages")
        for name, real in (
            ("b/site-packages", holding(out / "one")),  # found nowhere else
            ("b/dist-packages", out / "empty"),
            ("b/other", out / "one"),
            ("c/site-packages", inside),  # found where it is
            ("c/gone-packages", out / "gone"),
        ):
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).symlink_to(real)
        (out / "empty").mkdir()
        (top / "d-packages").mkdir()
        (tmp_path / "here").symlink_to(top)  # the folder that was asked for may be a link itself
        for start in (top, tmp_path / "here"):
            assert list(folders_below(start, [])) == [start / "a/site-packages", start / "b/site-packages"]


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
    alias = tmp_path / "alias" / "bin" / "python"
    assert [one.python for one in found] == [second.python, bare.python, hollow.python, alias]
    assert [isinstance(one, NotFound) for one in found] == [False, True, True, False]


def test_a_finding_with_an_interpreter_wins(venv: Any, install: Any, look: Any) -> None:
    env = venv()
    install(env.site_packages)
    (found,) = look(site_packages=[env.site_packages], under=[env.prefix])
    assert found.python == env.python


def test_a_current_folder_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> Path:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "cwd", gone)
    with pytest.raises(PatcherError) as caught:
        current_folder()
    assert caught.value.code == "no-current-folder"
    assert caught.value.message == "The current folder cannot be found: No such file or directory."


class TestDefault:
    """Without an option: the first place that exists decides, whatever it holds."""

    @pytest.fixture(autouse=True)
    def tool(self, venv: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
        """The tool's own environment, apart from every other."""
        env = venv("tool")
        monkeypatch.setattr(sys, "executable", str(env.python))
        monkeypatch.setattr(sys, "prefix", str(env.prefix))
        monkeypatch.syspath_prepend(env.site_packages)
        return env

    @pytest.fixture
    def places(self, venv: Any, cwd: Path) -> dict[str, Any]:
        """One environment a place, all of them without transformers."""
        near = venv(".venv", parent=cwd)
        return {"active": venv("active"), "conda": venv("conda"), "near": near, "path": venv("path")}

    @pytest.fixture
    def given(self, places: dict[str, Any]) -> dict[str, Any]:
        return {
            "VIRTUAL_ENV": places["active"].prefix,
            "CONDA_PREFIX": places["conda"].prefix,
            "PATH": f"/nowhere:{places['path'].prefix / 'bin'}",
        }

    def test_the_order(self, tool: Any, places: Any, given: Any, install: Any, look: Any, cwd: Path) -> None:
        for env in (tool, *places.values()):
            install(env.site_packages)
        chosen = [look(**given)[0]]
        (tool.site_packages / "transformers").rename(tool.prefix / "away")
        (tool.site_packages / INFO).rename(tool.prefix / "away-too")
        chosen.append(look(**given)[0])
        chosen.append(look(**{**given, "VIRTUAL_ENV": ""})[0])
        chosen.append(look(**{**given, "VIRTUAL_ENV": "", "CONDA_PREFIX": ""})[0])
        (cwd / ".venv").rename(cwd / "venv")
        chosen.append(look(PATH=given["PATH"])[0])
        names = [env.prefix for env in (tool, places["active"], places["conda"])]
        last = places["path"].prefix / "bin" / "python3"
        assert [one.python for one in chosen] == [
            tool.python,
            places["active"].python,
            places["conda"].python,
            cwd / ".venv" / "bin" / "python",
            last,
        ]
        assert [one.reason for one in chosen] == [
            f"it is installed beside this tool, in {names[0]}",
            f"VIRTUAL_ENV is set to {names[1]}",
            f"CONDA_PREFIX is set to {names[2]}",
            f"{cwd / '.venv'} is the nearest .venv",
            f"{last} is the python3 on PATH",
        ]

    def test_an_active_environment_without_transformers(self, places: Any, given: Any, install: Any, look: Any) -> None:
        install(places["conda"].site_packages)
        install(places["near"].site_packages)
        (found,) = look(**given)
        expected = (places["active"].python, "no-transformers", 3)
        assert (found.python, found.error.code, found.error.exit_code) == expected
        assert f"(VIRTUAL_ENV is set to {places['active'].prefix})" in found.error.message
        assert "--python" in found.error.hint

    def test_an_active_environment_that_is_gone(self, given: Any, look: Any, tmp_path: Path) -> None:
        (found,) = look(**{**given, "VIRTUAL_ENV": tmp_path / "gone"})
        assert found.error.hint == "Name one with --python, or unset VIRTUAL_ENV."
        assert (found.python, found.error.code) == (tmp_path / "gone" / "bin" / "python", "python-not-found")

    def test_a_venv_further_up(self, places: Any, install: Any, environ: Any, cwd: Path) -> None:
        install(places["near"].site_packages)
        (cwd / "a" / "b").mkdir(parents=True)
        (found,) = find_targets(TargetOptions(), environ, cwd / "a" / "b")
        assert found.python == cwd / ".venv" / "bin" / "python"

    def test_no_python_at_all(self, look: Any, environ: Any, cwd: Path) -> None:
        assert default_interpreter({**environ, "PATH": "/nowhere"}, cwd) is None
        (found,) = look(PATH="/nowhere")
        assert (found.python, found.site_packages, found.error.code) == (None, None, "no-transformers")
        assert found.error.exit_code == 3

    def test_a_broken_transformers_beside_the_tool(self, tool: Any, given: Any, install: Any, look: Any) -> None:
        (install(tool.site_packages) / "transformers" / "__init__.py").unlink()
        (found,) = look(**given)
        assert (found.python, found.error.code) == (tool.python, "no-files")

    def test_pythonpath_is_not_beside_the_tool(
        self, places: Any, given: Any, install: Any, look: Any, tmp_path: Path
    ) -> None:
        folder = install(tmp_path / "lib")
        (found,) = look(**given, PYTHONPATH=folder)
        assert (found.python, found.site_packages) == (places["active"].python, folder)

    @pytest.mark.parametrize("known", ["", "/gone/bin/python"])
    def test_a_tool_that_does_not_know_its_interpreter(
        self, places: Any, given: Any, look: Any, monkeypatch: pytest.MonkeyPatch, known: str
    ) -> None:
        monkeypatch.setattr(sys, "executable", known)
        (found,) = look(**given)
        assert found.python == places["active"].python


def test_little_is_imported_to_read_a_folder(install: Any, tmp_path: Path) -> None:
    """What starts a process, or parses versions, is imported where that is needed."""
    folder = install(tmp_path / "site-packages")
    code = (
        "import sys; from pathlib import Path; from patcher.targets.find import TargetOptions, find_targets\n"
        f"(found,) = find_targets(TargetOptions(site_packages=(Path({str(folder)!r}),)), {{}}, Path('/'))\n"
        "assert found.version == '4.45.1'\n"
        "print({'shutil', 'subprocess', 'tempfile', 'zipfile', 'importlib.metadata', 'packaging'} & set(sys.modules))"
    )
    command = [sys.executable, "-S", "-c", code]
    environ = {"PYTHONPATH": str(Path(__file__).parents[3])}
    assert subprocess.run(command, env=environ, capture_output=True, check=True, text=True).stdout == "set()\n"

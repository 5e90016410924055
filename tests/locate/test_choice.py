"""The default search: the first place that exists decides, whatever it holds."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from patcher.locate import targets
from patcher.model import Target


@pytest.fixture(autouse=True)
def tool(venv: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tool's own environment, apart from every other."""
    env = venv("tool")
    monkeypatch.setattr(sys, "executable", str(env.python))
    monkeypatch.setattr(sys, "prefix", str(env.prefix))
    return env


@pytest.fixture
def places(venv: Any, cwd: Path) -> dict[str, Any]:
    """One environment a place, all of them without transformers."""
    return {"active": venv("active"), "conda": venv("conda"), "near": venv(".venv", parent=cwd), "path": venv("path")}


def environ(places: dict[str, Any]) -> dict[str, Any]:
    return {
        "VIRTUAL_ENV": places["active"].prefix,
        "CONDA_PREFIX": places["conda"].prefix,
        "PATH": f"/nowhere:{places['path'].prefix / 'bin'}",
    }


def test_the_order(tool: Any, places: Any, install: Any, look: Any, cwd: Path) -> None:
    for env in (tool, *places.values()):
        install(env.site_packages)
    given = environ(places)
    chosen = [look(**given)[0]]
    (tool.site_packages / "transformers").rename(tool.prefix / "away")
    (tool.site_packages / "transformers-4.45.1.dist-info").rename(tool.prefix / "away-too")
    chosen.append(look(**given)[0])
    chosen.append(look(**{**given, "VIRTUAL_ENV": ""})[0])
    del given["VIRTUAL_ENV"], given["CONDA_PREFIX"]
    chosen.append(look(**{**given, "VIRTUAL_ENV": "", "CONDA_PREFIX": ""})[0])
    (cwd / ".venv").rename(cwd / "venv")
    chosen.append(look(**given)[0])
    names = [env.prefix for env in (tool, places["active"], places["conda"])]
    assert [one.python for one in chosen] == [
        tool.python,
        places["active"].python,
        places["conda"].python,
        cwd / ".venv" / "bin" / "python",
        places["path"].prefix / "bin" / "python3",
    ]
    assert [one.reason for one in chosen] == [
        f"it is installed beside this tool, in {names[0]}",
        f"VIRTUAL_ENV is set to {names[1]}",
        f"CONDA_PREFIX is set to {names[2]}",
        f"{cwd / '.venv'} is the nearest .venv",
        f"{places['path'].prefix / 'bin' / 'python3'} is the python3 on PATH",
    ]


def test_an_active_environment_without_transformers_decides(places: Any, install: Any, look: Any) -> None:
    install(places["conda"].site_packages)
    install(places["near"].site_packages)
    (found,) = look(**environ(places))
    assert (found.python, found.error.code, found.error.exit_code) == (places["active"].python, "no-transformers", 3)
    assert f"(VIRTUAL_ENV is set to {places['active'].prefix})" in found.error.message
    assert "--python" in found.error.hint


def test_an_active_environment_that_is_gone_decides(places: Any, install: Any, look: Any, tmp_path: Path) -> None:
    install(places["conda"].site_packages)
    (found,) = look(**{**environ(places), "VIRTUAL_ENV": tmp_path / "gone"})
    assert (found.python, found.error.code) == (tmp_path / "gone" / "bin" / "python", "python-not-found")


def test_a_venv_further_up(places: Any, install: Any, environ: Any, cwd: Path) -> None:
    install(places["near"].site_packages)
    (cwd / "a" / "b").mkdir(parents=True)
    (found,) = targets.find(targets.Options(), environ, cwd / "a" / "b")
    assert found.python == cwd / ".venv" / "bin" / "python"


def test_no_python_at_all(look: Any) -> None:
    (found,) = look(PATH="/nowhere")
    assert (found.python, found.site_packages, found.error.code) == (None, None, "no-transformers")
    assert found.error.exit_code == 3


def test_a_broken_transformers_beside_the_tool_decides(tool: Any, places: Any, install: Any, look: Any) -> None:
    folder = install(tool.site_packages)
    install(places["active"].site_packages)
    (folder / "transformers" / "__init__.py").unlink()
    (found,) = look(**environ(places))
    assert (found.python, found.error.code) == (tool.python, "namespace-package")


def test_pythonpath_is_not_beside_the_tool(places: Any, install: Any, look: Any, tmp_path: Path) -> None:
    folder = install(tmp_path / "lib")
    (found,) = look(**environ(places), PYTHONPATH=folder)
    assert isinstance(found, Target)
    assert (found.python, found.site_packages) == (places["active"].python, folder)


@pytest.mark.parametrize("known", ["", "/gone/bin/python"])
def test_a_tool_that_does_not_know_its_interpreter(places: Any, look: Any, monkeypatch: Any, known: str) -> None:
    monkeypatch.setattr(sys, "executable", known)
    (found,) = look(**environ(places))
    assert found.python == places["active"].python

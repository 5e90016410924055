"""What pip and uv do to transformers, and to the hook; behind each a program looks for transformers first thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any
from zipfile import ZipFile

import pytest

FEW = ("transformers/__init__.py", "transformers/pytorch_utils.py", "transformers/utils/__init__.py")


@pytest.fixture(scope="session")
def small(wheels: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`small(version)` is the wheel of that release, with a few of its files."""
    folder = tmp_path_factory.mktemp("small")

    def shrink(version: str) -> Path:
        whole = wheels(version)
        with ZipFile(whole) as archive, ZipFile(folder / whole.name, "w") as made:
            for name in archive.namelist():
                if name.endswith("/RECORD"):
                    rows = archive.read(name).decode().splitlines()
                    made.writestr(name, "".join(f"{row}\n" for row in rows if kept(row.split(",")[0])))
                elif kept(name):
                    made.writestr(name, archive.read(name))
        return folder / whole.name

    return shrink


def kept(name: str) -> bool:
    return name in FEW or (".dist-info/" in name and PurePosixPath(name).name != "entry_points.txt")


def test_each_installation_is_patched_at_the_next_start(new: Any, installer: Any, small: Callable[[str], Path]) -> None:
    """A reinstall, an upgrade, a downgrade, and one where there was none any more."""
    environment = new()
    installer(environment, "install", small("4.45.1"))
    environment.set_up()
    assert environment.start() == ("patched", "")
    for version in ("4.45.1", "4.46.3", "4.45.1"):
        installer(environment, "install", "--force-reinstall", small(version))
        assert environment.start() == ("patched", ""), version
    installer(environment, "uninstall", "transformers")
    assert environment.start() == ("none", "")
    installer(environment, "install", small("4.45.1"))
    assert environment.start() == ("patched", "")
    assert environment.start() == ("patched", "")
    assert environment.calls == 5


def test_uninstalling_the_hook_leaves_nothing(hooked: Any, installer: Any) -> None:
    hooked.start()
    assert list(hooked.package.glob("__pycache__/*.pyc"))
    installer(hooked, "uninstall", "mps-patcher-hook")
    assert not list(hooked.site.glob("*hook*"))
    assert hooked.start() == ("patched", "")

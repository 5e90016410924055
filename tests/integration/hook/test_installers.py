"""What pip and uv do to transformers, and to the hook; behind each a program looks for transformers first thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.installers


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

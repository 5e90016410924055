"""The section of docs/container.md on later layers: its steps, replayed in a folder instead of an image."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[3] / "docs" / "container.md").read_text("utf-8")


def steps() -> list[str]:
    """The RUN instructions of the section's block."""
    section = PAGE.partition("\n## Later layers that change the environment\n")[2].partition("\n## ")[0]
    (block,) = re.findall(r"(?ms)^```dockerfile\n(.*?)^```$", section)
    return re.findall(r"(?m)^RUN (.*)$", block.replace("\\\n", " "))


def test_a_later_layer_is_patched_in_its_own_step(
    new: Any, installed: Callable[[Any], None], small: Callable[[str], Path]
) -> None:
    environment = new()
    installed(environment)
    tool, patch, upgrade = steps()
    assert "pip install" in tool, "it is here already"
    source = environment.site / "transformers" / "pytorch_utils.py"
    places = {
        "/opt/mps-patcher/bin/mps-patcher": str(Path(sys.executable).with_name("mps-patcher")),
        "/opt/app/bin/pip": f"{sys.executable} -m pip --python {environment.python}",
        "/opt/app/bin/python": str(environment.python),
        " transformers": f" --no-index --no-deps {small('4.46.3')}",
    }
    for step in (patch, upgrade):
        for place, here in places.items():
            step = step.replace(place, here)
        subprocess.run(["sh", "-ec", step], check=True, capture_output=True)
        assert b"mps-patcher" in source.read_bytes()
    assert (environment.site / "transformers-4.46.3.dist-info").is_dir()

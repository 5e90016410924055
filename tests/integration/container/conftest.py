"""Images built once for all tests: the example's stages without torch, whose build takes seconds."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import images
import pytest
import torch_env
from images import Engine

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "container"
ENVIRONMENT, TOOL = "localhost/environment:1", "localhost/tool:1"


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """podman, with the base image."""
    images.install_tools()
    made = Engine(tmp_path_factory.mktemp("podman"))
    made.import_base()
    yield made
    made.close()


@pytest.fixture
def rootless() -> Iterator[Engine]:
    """The engine of an ordinary user, in a folder that he can reach; skips where there is none or he may not."""
    user = images.rootless_user()
    if os.geteuid() or user is None or not shutil.which("newuidmap"):
        pytest.skip("needs root to become a user of /etc/subuid and /etc/subgid, and newuidmap")
    with tempfile.TemporaryDirectory() as folder:
        made = Engine(Path(folder), user)
        said = made.podman("unshare", "true", check=False)
        if said.returncode:
            pytest.skip(f"no container for {user.pw_name}: {said.stdout}")
        made.import_base()
        yield made
        made.close()


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tool as this checkout makes it, and what it needs."""
    folder = tmp_path_factory.mktemp("wheels")
    folder.chmod(0o755)  # for who builds as an ordinary user
    torch_env.call([*torch_env.pip(sys.executable), "wheel", "--no-deps", "-w", str(folder), str(ROOT)])
    (tool,) = folder.glob("mps_patcher-*.whl")
    images.download([str(tool)], folder)
    return folder


@pytest.fixture(scope="session")
def context(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`context("transformers==4.45.1")`: the example's folder with other requirements, and wheels for them."""

    def made(*requirements: str) -> Path:
        folder = tmp_path_factory.mktemp("context") / "container"
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("wheels"))
        shutil.copytree(wheels, folder / "wheels")
        if requirements:
            (folder / "requirements.txt").write_text("".join(f"{one}\n" for one in requirements))
        images.download(["-r", str(folder / "requirements.txt")], folder / "wheels")
        return folder

    return made


@pytest.fixture(scope="session")
def example(engine: Engine, context: Callable[..., Path]) -> tuple[Engine, str]:
    """The example as it stands, with real torch: localhost/example:1, and what its build said."""
    return engine, engine.build(context(), "localhost/example:1").stdout


@pytest.fixture(scope="session")
def slim(context: Callable[..., Path]) -> Path:
    """The example without torch."""
    return context("transformers==4.45.1")


@pytest.fixture(scope="session")
def stages(engine: Engine, slim: Path) -> Engine:
    """The stages of the example without torch, as images of their own: ENVIRONMENT and TOOL."""
    for target, tag in (("environment", ENVIRONMENT), ("tool", TOOL)):
        engine.build(slim, tag, target=target, cached=True)
    return engine


@pytest.fixture
def step(stages: Engine, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """`step("apply")` builds an image of one such step on ENVIRONMENT: exit code, and what it said.

    `before` is a line to run before it. The image is localhost/step:1.
    """

    def build(
        words: str, *before: str, on: str = ENVIRONMENT, epoch: int = 0, timestamp: int | None = 0
    ) -> tuple[int, str]:
        mount = f"--mount=type=bind,from={TOOL},source=/opt/mps-patcher,target=/opt/mps-patcher"
        tool = f"export TMPDIR=/dev/shm && /opt/mps-patcher/bin/mps-patcher {words}"
        lines = [f"FROM {on}", f"ARG SOURCE_DATE_EPOCH={epoch}", *before, f"RUN {mount} {tool}"]
        (tmp_path / "Containerfile").write_text("".join(f"{line}\n" for line in lines))
        done = stages.build(tmp_path, "localhost/step:1", timestamp=timestamp, check=False)
        return done.returncode, done.stdout

    return build

"""examples/container, built, run and compared for real: offline, from wheels."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch_env
from documented import code_blocks
from images import BASE, Engine, Layer

pytestmark = pytest.mark.container

EXAMPLE, BUILT = "localhost/example:1", "localhost/built:1"
USER = "--user=10001:10001"
Step = Callable[..., tuple[int, str]]
PYTHON = "/opt/app/bin/python"
APPLY = f"apply --no-backup --python {PYTHON}"
VERIFY = f"verify --static --python {PYTHON}"
SITE = "opt/app/lib/python3.11/site-packages"
SOURCE = f"{SITE}/transformers/pytorch_utils.py"
BYTECODE = f"{SITE}/transformers/__pycache__/pytorch_utils.cpython-311.pyc"
WHITE_OUT = BYTECODE.replace("__pycache__/", "__pycache__/.wh.")
ENGINES_OWN = {"run", "dev", "proc", "sys", "etc"}
"""Folders that the engine itself mounts something in."""
RUNS = """
import importlib.util
spec = importlib.util.find_spec("transformers.pytorch_utils")
code = spec.loader.get_code(spec.name)  # what an import runs, be it from bytecode
source = spec.loader.source_to_code(spec.loader.get_data(spec.origin), spec.origin)
assert code == source, "stale"
print("replaced the body" in open(spec.origin).read(), spec.origin)
"""
IMPORTED = """
import torch, transformers.pytorch_utils as module
function = module.isin_mps_friendly
source = compile(open(module.__file__).read(), module.__file__, "exec")
(code,) = (one for one in source.co_consts if getattr(one, "co_name", "") == function.__name__)
assert function.__code__ == code
print("mps-patcher" in open(module.__file__).read(), function(torch.tensor([[1, 2], [3, 4]]), 3).tolist())
"""


def patched_layer(engine: Engine, tag: str, place: int = -1) -> Layer:
    layer = engine.layers(tag)[place]
    assert layer is not None, "it is larger than 1 MB"
    return layer


class TestTheExample:
    """With real torch, as a user builds it."""

    def test_the_build_patches_and_proves(self, example: tuple[Engine, str]) -> None:
        assert "isin_mps_friendly  patched" in example[1]
        assert "5 checks passed, on an emulated MPS device" in example[1]

    def test_the_application_runs_as_an_ordinary_user_on_a_read_only_root(self, example: tuple[Engine, str]) -> None:
        assert re.fullmatch(r"tokens: 5 6 7( \d+)+", example[0].run(EXAMPLE).strip())
        assert example[0].inspect(EXAMPLE, "{{.Config.User}}") == "10001:10001"

    def test_the_patched_code_is_what_is_imported(self, example: tuple[Engine, str]) -> None:
        said = example[0].run(EXAMPLE, PYTHON, "-c", IMPORTED)
        assert said.strip() == "True [[False, False], [True, False]]"

    def test_the_tool_is_not_in_it(self, example: tuple[Engine, str]) -> None:
        found = example[0].run(EXAMPLE, "find", "/", "-xdev", "-name", "*mps*patcher*", check=False)
        assert [line for line in found.splitlines() if line.startswith("/") and "/proc/" not in line] == []
        assert "libcst" not in example[0].run(EXAMPLE, PYTHON, "-m", "pip", "list")


class TestOneLayer:
    """What the step adds to an image."""

    def test_it_holds_the_changed_file_and_little_else(self, step: Step, stages: Engine) -> None:
        assert step(f"{APPLY} && /opt/mps-patcher/bin/mps-patcher {VERIFY}")[0] == 0
        layer = patched_layer(stages, "localhost/step:1")
        assert layer.names() == {SOURCE, WHITE_OUT}
        folders = {member.path for member in layer.members if member.is_folder} - ENGINES_OWN
        assert folders == {str(parent) for name in (SOURCE, BYTECODE) for parent in Path(name).parents} - {"."}
        assert layer.size < 20_000
        assert {(member.mtime, member.owner) for member in layer.members} == {(0, (0, 0))}
        assert all(member.mode & 0o005 for member in layer.members if member.is_folder)
        assert {member.mode for member in layer.members if member.path == SOURCE} == {0o644}

    def test_it_is_dated_without_the_engines_help(self, step: Step, stages: Engine) -> None:
        assert step(APPLY, timestamp=None)[0] == 0
        layer = patched_layer(stages, "localhost/step:1")
        times = {member.path: member.mtime for member in layer.members if member.path not in ENGINES_OWN}
        del times[WHITE_OUT]  # the engine's
        ours = {path for path in times if Path(SITE) in Path(path).parents}
        assert {path: times[path] for path in ours} == dict.fromkeys(ours, 0)
        assert len(ours) == 3

    def test_with_a_backup_it_can_be_taken_back_and_names_no_machine(self, step: Step, stages: Engine) -> None:
        assert step(f"apply --python {PYTHON}")[0] == 0
        layer = patched_layer(stages, "localhost/step:1")
        ours = {name for name in layer.names() if "/mps-patcher/" in name}
        assert len(ours) == 3, "state.json, and the originals of the file and of RECORD"
        assert layer.names() == {SOURCE, WHITE_OUT, f"{SITE}/transformers-4.45.1.dist-info/RECORD", *ours}
        (state,) = (data.decode() for name, data in layer.files.items() if name.endswith("state.json"))
        assert not re.search(r"opt/|root|tmp|20\d\d-\d\d", state)
        code, said = step(f"revert --python {PYTHON}", on="localhost/step:1")
        assert (code, "restored pytorch_utils.py" in said) == (0, True)

    def test_a_second_apply_adds_nothing(self, step: Step, stages: Engine) -> None:
        assert step(APPLY)[0] == 0
        code, said = step(APPLY, on="localhost/step:1")
        assert (code, "already patched" in said) == (0, True)
        layer = patched_layer(stages, "localhost/step:1")
        assert layer.names() == set()

    def test_an_ordinary_user_reads_and_imports_every_changed_file(self, step: Step, stages: Engine) -> None:
        """With neither torch nor the tool in the image."""
        step(f"apply --python {PYTHON}")
        files = [f"/{name}" for name in patched_layer(stages, "localhost/step:1").files]
        assert len(files) == 5
        read = "import sys; print(sum(len(open(name, 'rb').read()) > 0 for name in sys.argv[1:]))"
        assert stages.run("localhost/step:1", PYTHON, "-c", read, *files, options=[USER]).strip() == "5"
        assert stages.run("localhost/step:1", PYTHON, "-c", RUNS, options=[USER]).strip().endswith(f"True /{SOURCE}")
        for name in ("torch", "patcher"):
            said = stages.run("localhost/step:1", PYTHON, "-c", f"import {name}", options=[USER], check=False)
            assert f"No module named '{name}'" in said


def test_the_two_lines_for_ones_own_containerfile(stages: Engine, wheels: Path, tmp_path: Path) -> None:
    """On a Python without bytecode of its own, as docker.io/library/python is; the registry is a folder of wheels."""
    shutil.copytree(wheels, tmp_path / "wheels")
    (lines,) = code_blocks("container.md", "In your own Containerfile", "dockerfile")
    registry = "COPY wheels /wheels\nENV PIP_NO_INDEX=1 PIP_FIND_LINKS=/wheels"
    bare = "RUN find /usr/lib/python3* -name '*.pyc' -delete"
    (tmp_path / "Containerfile").write_text(f"FROM localhost/environment:1\n{registry}\n{bare}\n{lines}")
    stages.build(tmp_path, "localhost/own:1")
    layer = patched_layer(stages, "localhost/own:1")
    assert layer.names() == {SOURCE, WHITE_OUT}
    assert b"mps-patcher" in layer.files[SOURCE]
    assert layer.size < 20_000


def test_a_copy_of_the_patched_environment_runs_on_the_bare_base(step: Step, stages: Engine, tmp_path: Path) -> None:
    assert step(f"apply --python {PYTHON}")[0] == 0
    folder = tmp_path / "copy"
    folder.mkdir()
    (folder / "Containerfile").write_text(f"FROM {BASE}\nCOPY --from=localhost/step:1 /opt/app /opt/app\n")
    stages.build(folder, "localhost/copy:1")
    assert stages.run("localhost/copy:1", PYTHON, "-c", RUNS, options=[USER]).strip().endswith(f"True /{SOURCE}")


@pytest.mark.parametrize("mode", ["timestamp", "checked-hash", "unchecked-hash"])
def test_bytecode_of_the_layers_below_never_runs(step: Step, stages: Engine, mode: str) -> None:
    """Every file of an image is of the same second, and an unchecked-hash .pyc runs whatever the source says."""
    compiled = f"RUN {PYTHON} -m compileall -q -f --invalidation-mode {mode} /{SOURCE}"
    assert step(APPLY, compiled)[0] == 0
    assert patched_layer(stages, "localhost/step:1").names() == {SOURCE, WHITE_OUT}
    assert stages.run("localhost/step:1", PYTHON, "-c", RUNS, options=[USER]).strip().endswith(f"True /{SOURCE}")


def built(engine: Engine, folder: Path, builder: str = "podman") -> list[str]:
    """What tells one image from another, of the example without torch as one builder makes it."""
    engine.build(folder, BUILT, arguments={"VERIFY": "--static"}, builder=builder)
    return [engine.inspect(BUILT, shown) for shown in ("{{.Id}}", "{{.Digest}}", "{{.RootFS.Layers}}")]


@pytest.fixture(scope="module")
def facts(engine: Engine, slim: Path) -> list[str]:
    return built(engine, slim)


class TestTwoBuilds:
    """The same from the same, whenever, wherever and by whomever it is built."""

    def test_they_are_the_same_image(self, engine: Engine, slim: Path, facts: list[str], tmp_path: Path) -> None:
        folder = shutil.copytree(slim, tmp_path / "context")
        time.sleep(1.1)
        assert built(engine, folder) == facts

    @pytest.mark.skipif(not shutil.which("buildah"), reason="needs buildah")
    def test_buildah_makes_the_same_image(self, engine: Engine, slim: Path, facts: list[str]) -> None:
        assert built(engine, slim, builder="buildah") == facts

    @pytest.mark.usefixtures("facts")
    def test_an_ordinary_user_makes_the_same_layers(self, engine: Engine, rootless: Engine, slim: Path) -> None:
        """Their files, modes, owners and times; a rootless podman adds extended attributes of overlayfs."""
        built(rootless, shutil.copytree(slim, rootless.folder / "context"))
        ours, roots = ([layer and layer.members for layer in made.layers(BUILT)] for made in (rootless, engine))
        assert ours == roots
        assert patched_layer(rootless, BUILT, -2).files == patched_layer(engine, BUILT, -2).files
        assert rootless.run(BUILT, PYTHON, "-c", RUNS).strip().endswith(f"True /{SOURCE}")

    def test_another_time_is_another_layer_of_the_same_source(self, step: Step, stages: Engine) -> None:
        found = []
        for epoch in (0, 1_000_000_000):
            assert step(APPLY, epoch=epoch, timestamp=None)[0] == 0
            layer = patched_layer(stages, "localhost/step:1")
            assert {member.mtime for member in layer.members if member.path == SOURCE} == {epoch}
            found.append(layer.files)
        assert found[0] == found[1]


class TestWhatStopsABuild:
    """And what does not: by the exit codes of the contract."""

    def test_no_transformers(self, step: Step) -> None:
        code, said = step(APPLY, f"RUN {PYTHON} -m pip uninstall -q -y transformers")
        assert code
        assert "exit status 3" in said
        assert "error: " in said

    def test_an_unknown_body(self, step: Step) -> None:
        edit = f"RUN sed -i 's/def isin_mps_friendly.*/&\\n    print(elements)/' /{SOURCE}"
        code, said = step(APPLY, edit)
        assert code
        assert "exit status 1" in said
        assert "error: " in said
        assert "Traceback" not in said

    def test_what_is_asked_for_is_not_patched(self, step: Step) -> None:
        code, said = step(f"status --check --python {PYTHON}")
        assert (code != 0, "exit status 4" in said) == (True, True)

    def test_no_torch_to_verify_with(self, step: Step) -> None:
        code, said = step(f"{APPLY} && /opt/mps-patcher/bin/mps-patcher verify --python {PYTHON}")
        assert (code != 0, "exit status 3" in said) == (True, True)

    def test_not_a_transformers_that_needs_nothing(self, step: Step, stages: Engine, tmp_path: Path) -> None:
        older = torch_env.wheel("4.33.3")
        shutil.copyfile(older, tmp_path / older.name)
        install = f"{PYTHON} -m pip install -q --no-index --no-deps --no-compile /{older.name}"
        code, said = step(APPLY, f"COPY {older.name} /", f"RUN {install}")
        assert (code, "Nothing to do." in said) == (0, True)
        assert patched_layer(stages, "localhost/step:1").names() == set()

    def test_a_read_only_root(self, stages: Engine) -> None:
        mount = ["--mount=type=image,source=localhost/tool:1,destination=/tool"]
        tool = ["/tool/opt/mps-patcher/bin/python", "-m", "patcher"]
        done = stages.podman(
            "run", "--rm", "--pull=never", "--read-only", "--network=none", *mount, "localhost/environment:1",
            *tool, "apply", "--python", PYTHON, check=False,
        )  # fmt: skip
        assert done.returncode == 1
        assert "read-only file system (EROFS)" in done.stdout
        assert "Traceback" not in done.stdout

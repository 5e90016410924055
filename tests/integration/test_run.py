"""`run`: programs of real interpreters, on an installation of which not one byte changes.

Most of it is about imports and processes: there, torch is a package of a few lines. What computes has real torch.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rights import drop_all
from running import MAIN, App

VERSION = "4.44.2"
TORCH = """
__version__ = "2.1.0"
class Tensor: pass
def isin(elements, test_elements): return "torch's own"
class _builtins: _register_builtin = staticmethod(lambda *_: None)
class jit: _builtins = _builtins
"""
UNKNOWN = "def isin_mps_friendly(elements, test_elements):\n    return None\n"
# The modules that call, and the one that defines the function, whichever comes first.
SHOW = """
import transformers.generation.utils as caller
import torch
import transformers.pytorch_utils as defining
from torch import isin
print(caller.isin_mps_friendly is defining.isin_mps_friendly, isin is torch.isin, isin.__module__)
"""
PATCHED = "True True torch\n"
FINDERS = """
import sys

class Old:
    def find_module(self, name, path=None):
        return None

class Asking:
    def find_spec(self, name, path=None, target=None):
        specs = (one.find_spec(name, path, target) for one in sys.meta_path if one is not self)
        return next(filter(None, specs), None)
"""


def make_environment(folder: Path, python: Path, site_of: Path) -> Path:
    """A new environment whose transformers is that of `site_of`, with a torch of ten lines: its interpreter."""
    subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    shutil.copytree(site_of, site, dirs_exist_ok=True)
    (site / "transformers" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    (site / "transformers" / "generation" / "__init__.py").write_text("")
    (site / "transformers" / "pytorch_utils.py").write_text("import torch\n")
    (site / "torch").mkdir()
    (site / "torch" / "__init__.py").write_text(TORCH)
    (site / "torch-2.1.0.dist-info").mkdir()
    (site / "torch-2.1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.1.0\n")
    return folder / "bin" / "python"


@pytest.fixture
def site(unpacked: Callable[..., Path], shortened: Callable[[Path], Path]) -> Path:
    return shortened(unpacked(VERSION))


@pytest.fixture
def app(site: Path, tmp_path: Path) -> App:
    return App(tmp_path, make_environment(tmp_path / "env", Path(sys.executable), site))


class TestModules:
    def test_every_module_has_the_fixed_function(self, app: App) -> None:
        assert app.said("--", app.script(SHOW)) == PATCHED

    def test_torch_may_come_last(self, app: App) -> None:
        code = (
            "import transformers.generation.stopping_criteria as caller, torch; print(caller.torch.isin is torch.isin)"
        )
        assert app.said("-c", code) == "True\n"

    def test_torch_may_come_first(self, app: App) -> None:
        code = "from torch import isin; import transformers.generation.utils as m; print(m.torch.isin is isin)"
        assert app.said("-c", code) == "True\n"

    @pytest.mark.parametrize("version", [(3, 8), (3, 9), (3, 10), (3, 12), (3, 13), (3, 14)])
    def test_other_pythons(
        self, version: tuple[int, int], pythons: dict[tuple[int, int], Path], site: Path, tmp_path: Path
    ) -> None:
        if version not in pythons:
            pytest.skip("not installed here")
        app = App(tmp_path, make_environment(tmp_path / "env", pythons[version], site))
        assert app.said("--", app.script(SHOW)) == PATCHED

    def test_not_one_byte_of_the_installation_changes(self, app: App, tree: Callable[[Path], Any]) -> None:
        """Nor is bytecode of it written, although Python may: the folder is an ordinary one."""
        before = tree(app.site / "transformers")
        app.said("--", app.script(SHOW))
        assert tree(app.site / "transformers") == before
        assert list(app.site.glob("torch/__pycache__/*.pyc"))

    def test_the_installation_may_be_read_only(self, app: App) -> None:
        own, everything = {}, (app.site, *app.site.rglob("*"))
        for path in everything:
            own[path] = path.stat().st_mode
            path.chmod(own[path] & ~0o222)
        try:
            told = app.said("-c", SHOW, preexec_fn=drop_all() if os.geteuid() == 0 else None)
        finally:
            for path in everything:
                path.chmod(own[path])
        assert told == PATCHED
        assert not list((app.site / "transformers").rglob("*.pyc"))

    def test_a_traceback_shows_the_lines_that_ran(self, app: App) -> None:
        done = app.run("-c", "import transformers.pytorch_utils as m; m.isin_mps_friendly(None, None)")
        *_, place, line, last = (line for line in done.stderr.splitlines() if set(line) - set(" ^~"))
        assert last.startswith("AttributeError")
        path, number = place.split('"')[1], int(place.split("line ")[1].split(",")[0])
        assert path.endswith("files/transformers/pytorch_utils.py")
        assert Path(path).read_text().splitlines()[number - 1].strip() == line.strip()

    @pytest.mark.parametrize("finder", ["Old", "Asking"])
    @pytest.mark.parametrize("first", [True, False])
    def test_other_import_hooks_may_stand_beside_it(self, app: App, finder: str, first: bool) -> None:
        script = app.script(f"{FINDERS}\nsys.meta_path.insert({0 if first else 99}, {finder}())\n{SHOW}")
        assert app.said("--", script) == PATCHED

    def test_the_folder_may_be_on_the_path_under_another_name(self, app: App) -> None:
        alias = app.folder / "alias"
        alias.symlink_to(app.python.parent.parent)
        code = f"import subprocess; subprocess.run([{str(alias / 'bin' / 'python')!r}, '-c', {SHOW!r}], check=True)"
        assert app.said("-c", code) == PATCHED

    def test_a_module_says_where_it_is_installed(self, app: App) -> None:
        told = app.said("-c", "import transformers.pytorch_utils as m; print(m.__file__, m.__spec__.origin, sep='\\n')")
        assert set(told.split()) == {str(app.site / "transformers" / "pytorch_utils.py")}

    def test_a_reloaded_module_is_patched_again(self, app: App) -> None:
        code = "import importlib, transformers.pytorch_utils as m; importlib.reload(m); print(m.isin_mps_friendly)"
        assert app.said("-c", code).startswith("<function isin_mps_friendly")

    def test_a_patched_installation_is_run_as_it_is(self, app: App) -> None:
        assert app.tool("apply", "--python", app.python).returncode == 0
        code = "import transformers.pytorch_utils as m; print(m.isin_mps_friendly.__code__.co_filename)"
        assert app.said("-c", code) == f"{app.site / 'transformers' / 'pytorch_utils.py'}\n"

    @pytest.mark.parametrize("applied", [False, True])
    def test_unpatched_is_without_the_patches_also_those_on_disk(self, app: App, applied: bool) -> None:
        if applied:
            assert app.tool("apply", "--python", app.python).returncode == 0
        code = (
            "import torch, transformers.generation.utils as m; print(hasattr(m, 'isin_mps_friendly'), torch.isin(1, 2))"
        )
        assert app.said("--unpatched", "-c", code) == "False torch's own\n"

    def test_what_is_named_is_patched_and_no_more(self, app: App) -> None:
        code = "import transformers.generation.utils as m; print(hasattr(m, 'isin_mps_friendly'))"
        assert app.said("isin_mps_friendly", "-c", code) == "False\n"
        assert app.said("direct_isin", "-c", code) == "True\n"


CHILDREN = """
import multiprocessing, subprocess, sys

def look(_=None):
    import transformers.generation.utils as m
    return hasattr(m, "isin_mps_friendly")

if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(1) as pool:
            print(method, pool.map(look, [None]))
    code = "import transformers.generation.utils as m; print(hasattr(m, 'isin_mps_friendly'))"
    print("subprocess", subprocess.check_output([sys.executable, "-c", code], text=True).strip())
"""
WHOLE = """
import os, sys
print(__name__, sys.argv, sys.path, sys.flags, sys.stdin.read(), sys.executable, os.getcwd(), sep="\\n")
"""


class TestPrograms:
    def test_child_processes_of_every_kind(self, app: App) -> None:
        told = app.said("--", app.script(CHILDREN))
        assert told.splitlines() == ["fork [True]", "spawn [True]", "forkserver [True]", "subprocess True"]

    def test_a_script_finds_all_as_without_the_tool(self, app: App) -> None:
        script = app.script(WHOLE)
        told = app.said("--", script, "--json", "-q", "", "ü", input="from a pipe")
        assert told == app.plain(script, "--json", "-q", "", "ü", input="from a pipe").stdout

    def test_so_do_a_module_and_code(self, app: App) -> None:
        app.script(WHOLE, "module.py")
        for words in (["-m", "module", "-c", "x"], ["-c", WHOLE, "--", "x"], ["-mmodule", "y"]):
            expected = app.plain(*words, input="").stdout
            assert app.said(*words, input="") == expected
            assert app.said("--", *words, input="") == expected

    def test_options_of_python_go_before_the_script(self, app: App) -> None:
        assert app.said("--", "-O", "-X", "utf8", "-c", "import sys; print(sys.flags.optimize)") == "1\n"

    @pytest.mark.parametrize("code", [0, 3])
    def test_the_exit_code(self, app: App, code: int) -> None:
        assert app.run("-c", f"raise SystemExit({code})").returncode == code

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
    def test_a_signal_ends_it_as_without_the_tool(self, app: App, number: signal.Signals) -> None:
        default = "" if number == signal.SIGKILL else f"signal.signal({number:d}, signal.SIG_DFL); "
        code = f"import os, signal; {default}os.kill(os.getpid(), {number:d})"
        assert app.run("-c", code).returncode == -number

    def test_it_is_the_very_process(self, app: App) -> None:
        """So that a signal to the tool is one to the program."""
        command = [sys.executable, "-c", MAIN, "run", "--python", app.python, "-c", "import os; print(os.getpid())"]
        with subprocess.Popen(list(map(str, command)), env=app.environ, stdout=subprocess.PIPE, text=True) as process:
            assert process.communicate()[0] == f"{process.pid}\n"

    def test_pytest(self, app: App) -> None:
        (app.site / "tools.pth").write_text(str(Path(pytest.__file__).parents[1]))
        app.script("def test_it():\n    from transformers.generation.utils import isin_mps_friendly\n", "test_good.py")
        app.script("def test_it():\n    number = 1\n    assert number == 2\n", "test_bad.py")
        assert app.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_good.py").returncode == 0
        done = app.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_bad.py")
        assert done.returncode == 1
        assert "assert 1 == 2" in done.stdout

    def test_a_debugger_shows_the_lines_that_ran(self, app: App) -> None:
        script = app.script("import transformers.pytorch_utils as m\nm.isin_mps_friendly(None, None)\n")
        told = app.run("-m", "pdb", script, input="b m.isin_mps_friendly\nn\nb m.isin_mps_friendly\nc\nn\nq\n").stdout
        assert "number = not isinstance(test_elements, torch.Tensor)" in told


class TestEnvironment:
    def test_the_fallback_is_allowed_unless_it_is_set(self, app: App) -> None:
        code = "import os; print(os.environ['PYTORCH_ENABLE_MPS_FALLBACK'])"
        assert app.said("-c", code) == "1\n"
        assert app.said("-c", code, environ={"PYTORCH_ENABLE_MPS_FALLBACK": "0"}) == "0\n"

    def test_the_users_own_pythonpath_and_sitecustomize_are_kept(self, app: App) -> None:
        theirs = (
            "import importlib.util as u\nif u.find_spec('transformers'):\n    import transformers.pytorch_utils as m\n"
        )
        theirs += "    print('theirs', hasattr(m, 'isin_mps_friendly'))\n"
        app.script(theirs, "sitecustomize.py")
        app.script("", "theirs.py")
        code = "import sitecustomize, theirs; print(sitecustomize.__file__)"
        told = app.said("-c", code, environ={"PYTHONPATH": str(app.folder)})
        assert told == f"theirs True\n{app.folder / 'sitecustomize.py'}\n"

    @pytest.mark.parametrize("path", ["", ":", ":nowhere", "nowhere::", "nowhere"])
    def test_sys_path_is_as_without_the_tool(self, app: App, path: str) -> None:
        script, environ = app.script("import sys; print(sys.path)"), {"PYTHONPATH": path}
        assert app.said("--", script, environ=environ) == app.plain(script, environ=environ).stdout

    def test_a_sitecustomize_that_fails_fails_as_without_the_tool(self, app: App) -> None:
        app.script("raise ValueError('theirs')", "sitecustomize.py")
        environ = {"PYTHONPATH": str(app.folder)}
        done, plain = (start("-c", "print(1)", environ=environ) for start in (app.run, app.plain))
        assert "theirs" in plain.stderr
        assert (done.stdout, done.stderr) == (plain.stdout, 2 * plain.stderr)  # the tool's own Python, and the target's

    @pytest.mark.parametrize("version", [(3, 8), (3, 11), (3, 13)])
    def test_another_environment_is_left_as_it_is(
        self, app: App, version: tuple[int, int], pythons: dict[tuple[int, int], Path]
    ) -> None:
        if version not in pythons:
            pytest.skip("not installed here")
        look = "import sys; print(sys.path, [str(type(finder)) for finder in sys.meta_path])"
        code = f"import subprocess; subprocess.run([{str(pythons[version])!r}, '-c', {look!r}], check=True)"
        assert app.said("-c", code) == app.plain("-c", code).stdout

    def test_a_run_within_a_run_counts_alone(self, app: App) -> None:
        inner = [sys.executable, "-c", MAIN, "run", "--python", str(app.python), "--unpatched", "-c", SHOW]
        done = app.run(
            "-c", f"import subprocess; print(subprocess.run({inner!r}, capture_output=True, text=True).stderr)"
        )
        assert "has no attribute 'isin_mps_friendly'" in done.stdout

    def test_a_folder_named_torch_is_none(self, app: App) -> None:
        shutil.rmtree(app.site / "torch")
        (app.folder / "torch").mkdir()
        assert app.said("-c", "import torch; print(torch.__path__._path)") == f"['{app.folder / 'torch'}']\n"


class TestRefusals:
    def test_what_apply_refuses_is_refused_in_its_words(self, app: App) -> None:
        (app.site / "transformers" / "pytorch_utils.py").write_text(UNKNOWN)
        told = app.refused("-c", "print('started')")
        applied = app.tool("apply", "isin_mps_friendly", "--python", app.python)
        assert told == applied.stderr
        assert app.said("--unpatched", "-c", "print(1)") == "1\n"

    def test_nothing_is_kept_of_a_refusal(self, app: App) -> None:
        source = app.site / "transformers" / "pytorch_utils.py"
        source.write_text(UNKNOWN)
        for _ in range(2):
            app.refused("-c", "print('started')")
        source.write_text("import torch\n")
        assert app.said("-c", SHOW) == PATCHED

    @pytest.mark.parametrize(
        ("words", "told"),
        [
            ([], "There is no program"),
            (["--"], "There is no program"),
            (["-m"], "There is no program"),
            (["--json", "-c", "0"], "--json"),
            (["--torch", "2.1", "-c", "0"], "--torch needs --emulate"),
            (["--report", "report.json", "-c", "0"], "--report needs --emulate"),
            (["--emulate", "--report", "report.md", "-c", "0"], "FILE is written as JSON"),
            (["--", "-I", "-c", "0"], "-I turns the patches off."),
            (["--", "-uE", "script.py"], "-E turns the patches off."),
            (["unknown", "-c", "0"], "There is no patch 'unknown'"),
        ],
    )
    def test_wrong_command_lines(self, app: App, words: list[str], told: str) -> None:
        assert told in app.refused(*words, code=2)

    def test_several_targets(self, app: App, site: Path) -> None:
        assert "2 targets were named" in app.refused("--site-packages", site, "-c", "0", code=2)

    def test_no_target(self, app: App, tmp_path: Path) -> None:
        done = app.tool("run", "--site-packages", tmp_path / "nowhere", "-c", "0")
        assert done.returncode == 1
        assert "nowhere" in done.stderr

    def test_no_interpreter(self, app: App, site: Path) -> None:
        done = app.tool("run", "--site-packages", site, "-c", "0")
        assert (done.returncode, done.stdout) == (3, "")
        assert "No interpreter here uses" in done.stderr

    def test_emulation_without_torch(self, app: App) -> None:
        shutil.rmtree(app.site / "torch-2.1.0.dist-info")
        assert "needs torch in that environment" in app.refused("--emulate", "-c", "0", code=3)

    @pytest.mark.parametrize(
        ("words", "code"), [("--torch 9.9", 2), ("--torch 1.5", 2), ("--macos 99", 2), ("--torch 2.9 --macos 13", 3)]
    )
    def test_a_torch_or_macos_without_rules(self, app: App, words: str, code: int) -> None:
        app.refused("--emulate", *words.split(), "-c", "0", code=code)


class TestCache:
    def test_what_is_prepared_is_made_once(self, app: App, tree: Callable[[Path], Any]) -> None:
        app.said("-c", SHOW)
        (folder,) = app.folders()
        before = tree(folder / "files"), tree(folder / "site")
        app.said("-c", SHOW)
        assert app.folders() == [folder]
        assert (tree(folder / "files"), tree(folder / "site")) == before
        assert folder.stat().st_mode & 0o777 == 0o700

    def test_a_changed_installation_is_prepared_anew(self, app: App) -> None:
        app.said("-c", "0")
        source = app.site / "transformers" / "generation" / "utils.py"
        source.write_text(source.read_text() + "\nNEW = 1\n")
        assert app.said("-c", "from transformers.generation.utils import NEW, isin_mps_friendly; print(NEW)") == "1\n"
        assert len(app.folders()) == 2

    def test_what_nobody_used_for_a_month_goes(self, app: App) -> None:
        app.said("-c", "0")
        (old,) = app.folders()
        os.utime(old, (0, 0))
        app.said("--unpatched", "-c", "0")
        (new,) = app.folders()
        assert new != old

    def test_nothing_is_run_from_what_was_removed_in_part(self, app: App) -> None:
        app.said("-c", "0")
        (old,) = app.folders()
        os.utime(old, (0, 0))
        killed = f"import shutil; shutil.rmtree = lambda *_, **__: exit(9); {MAIN}"
        command = [sys.executable, "-c", killed, "run", "--python", app.python, "--unpatched", "-c", "0"]
        assert app.start(command).returncode == 9
        assert old not in app.folders()

    def test_what_is_used_is_kept(self, app: App) -> None:
        app.said("-c", "0")
        (folder,) = app.folders()
        os.utime(folder, (0, 0))
        app.said("-c", "0")
        app.said("--unpatched", "-c", "0")
        assert folder in app.folders()

    def test_a_cache_that_cannot_be_written(self, app: App) -> None:
        app.cache.write_text("a file")
        told = app.refused("-c", "0")
        assert "Cannot keep the prepared files" in told
        assert "MPS_PATCHER_CACHE" in told

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_a_cache_of_another_user_is_not_run(self, app: App) -> None:
        app.said("-c", "0")
        (folder,) = app.folders()
        os.chown(folder, 12345, 54321)
        assert "belongs to another user" in app.refused("-c", "0")

    @pytest.mark.parametrize(
        ("variable", "expected"), [("XDG_CACHE_HOME", "mps-patcher"), ("HOME", ".cache/mps-patcher")]
    )
    @pytest.mark.skipif(sys.platform == "darwin", reason="has its own place")
    def test_where_it_lies(self, app: App, variable: str, expected: str) -> None:
        for name in ("MPS_PATCHER_CACHE", "XDG_CACHE_HOME"):
            app.environ.pop(name, None)
        app.said("-c", "0", environ={variable: str(app.folder / "base")})
        assert len(list((app.folder / "base" / expected / "run").iterdir())) == 1

    def test_many_at_once(self, app: App) -> None:
        command = [sys.executable, "-c", MAIN, "run", "--python", str(app.python), "-c", SHOW]
        started = [subprocess.Popen(command, env=app.environ, stdout=subprocess.PIPE, text=True) for _ in range(6)]
        assert [process.communicate()[0] for process in started] == [PATCHED] * 6
        assert len(app.folders()) == 1


GENERATE = """
import transformers.generation.utils
from transformers import LlamaConfig, LlamaForCausalLM, TextIteratorStreamer, pipeline
import threading, torch

config = LlamaConfig(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2)
model = LlamaForCausalLM(config).eval()
ids, options = torch.tensor([[1, 5, 6]]), dict(max_new_tokens=8, pad_token_id=0, eos_token_id=[2, 3])
expected = model.generate(ids, **options)
model.to("mps")
found = []
thread = threading.Thread(target=lambda: found.append(model.generate(ids.to("mps"), **options)))
thread.start()
thread.join()
found.append(model.generate(ids.to("mps"), **options))
from transformers.utils import get_torch_version
print(torch.__version__, get_torch_version(), *(bool((one.cpu() == expected).all()) for one in found))
"""


WHOLE_PROCESS = """
import io, pickle, torch

def through_a_file(value, **options):
    file = io.BytesIO()
    torch.save(value, file)
    file.seek(0)
    return torch.load(file, **options)

x = torch.arange(3.0, device="mps")
assert torch.backends.mps.is_available() and torch.backends.mps.is_built() and torch.mps.device_count() == 1
assert torch.backends.mps.is_macos_or_newer(13, 0) and not torch.backends.mps.is_macos_or_newer(14, 0)
assert torch.accelerator.current_accelerator().type == "mps"
assert (x.type(), x.type(torch.int32).dtype) == ("torch.mps.FloatTensor", torch.int32)
assert torch.mps.synchronize() is torch.mps.empty_cache() is torch.mps.manual_seed(1) is None
assert torch.mps.current_allocated_memory() == torch.mps.driver_allocated_memory() == 12
assert torch.mps.recommended_max_memory() > 0
draws = [torch.rand(2, device="mps", generator=torch.Generator("mps").manual_seed(7)).tolist() for _ in range(2)]
assert draws[0] == draws[1]
assert isinstance(torch.default_generator, torch.Generator) and torch.Generator("mps").device.type == "mps"
assert not isinstance(x, torch.Generator) and torch.Generator().device.type == "cpu"
torch.set_default_device("mps")
assert torch.zeros(1).is_mps and torch.nn.Linear(1, 1).weight.is_mps and torch.zeros(1, device="cpu").is_cpu
torch.set_default_device(None)
with torch.device("mps"):
    assert torch.tensor([1]).is_mps
assert torch.zeros(1).is_cpu
state = torch.nn.Linear(2, 1).to("mps").state_dict()
assert through_a_file(state)["weight"].is_mps and through_a_file(state, map_location="cpu")["bias"].is_cpu
loaded = through_a_file({"a": [x, (x.cpu(), 1)], "b": None}, map_location="mps")
assert loaded["a"][0].is_mps and loaded["a"][1][0].is_mps and loaded["a"][1][1] == 1 and loaded["b"] is None
assert through_a_file(torch.nn.Linear(1, 1), map_location=torch.device("mps"), weights_only=False).weight.is_mps
assert pickle.loads(pickle.dumps(x)).is_mps
assert torch.vmap(lambda row: torch.isin(row, x[1]))(x.view(3, 1)).tolist() == [[False], [True], [False]]
assert torch.vmap(lambda row: row.cpu().to("mps") + 1)(x.view(3, 1)).is_mps
print("all")
"""


@pytest.mark.models
class TestRealTorch:
    """transformers 4.45.1 on the emulated device, whose rules are those of torch 2.1."""

    @pytest.fixture
    def real(self, torch_env: Path, tmp_path: Path) -> App:
        return App(tmp_path, torch_env)

    def emulated(self, app: App, *words: object, **options: Any) -> subprocess.CompletedProcess[str]:
        return app.run("--emulate", "--torch", "2.1", *words, **options)

    def test_unpatched_shows_the_reported_error_and_patched_generates(self, real: App) -> None:
        script = real.script(GENERATE)
        unpatched = self.emulated(real, "--unpatched", "--", script)
        assert unpatched.stderr.count("IndexError: tuple index out of range") == 2  # in a thread, and in the program
        assert unpatched.returncode == 1
        patched = self.emulated(real, "-q", "--", script)
        assert (patched.returncode, patched.stdout) == (0, "2.1.0 2.1.0 True True\n"), patched.stderr

    def test_what_programs_ask_of_torch(self, real: App) -> None:
        done = self.emulated(real, "-q", "--", real.script(WHOLE_PROCESS))
        assert (done.stdout, done.returncode) == ("all\n", 0), done.stderr

    def test_it_says_once_that_it_is_emulated(self, real: App) -> None:
        child = "import torch; torch.ones(1, device='mps')"
        code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
        told = "The MPS device is emulated, with the rules of torch 2.1 on macOS 13; no Apple GPU is used.\n"
        assert self.emulated(real, "-c", code).stderr == told
        assert self.emulated(real, "-q", "-c", code).stderr == ""

    def test_the_fallback_warns_once_and_can_be_forbidden(self, real: App) -> None:
        code = (
            "import torch; x = torch.arange(3., device='mps')\n"
            "for _ in range(2): print(torch.searchsorted(x, x).device); torch.bucketize(x, x)"
        )
        done = self.emulated(real, "-q", "-c", code)
        assert done.stdout == "mps:0\n" * 2
        assert (
            done.stderr.count("'aten::searchsorted.Tensor' is not currently supported on the MPS backend and will fall")
            == 1
        )
        assert "bucketize" not in done.stderr
        done = self.emulated(real, "-q", "-c", code, environ={"PYTORCH_ENABLE_MPS_FALLBACK": "0"})
        assert (
            "NotImplementedError: The operator 'aten::searchsorted.Tensor' is not currently implemented" in done.stderr
        )

    def test_torch_script_takes_isin_for_the_operator_still(self, real: App) -> None:
        script = real.script(
            "import torch\n"
            "def f(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:\n    return torch.isin(a, b)\n"
            "a, b = torch.arange(3), torch.tensor([1])\n"
            "print(*(one(a, b).tolist() for one in (torch.jit.script(f), torch.compile(f, backend='aot_eager'))))\n"
        )
        assert real.run("--", "-W", "ignore", script).stdout == "[False, True, False] [False, True, False]\n"

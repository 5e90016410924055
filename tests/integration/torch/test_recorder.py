"""What is counted of a process, and which lines it names."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from patcher.selftest import report
from patcher.selftest.operators import State
from patcher.selftest.recorder import Recorder, find_lines
from patcher.selftest.releases import Version

Device = Callable[[Version, Version], AbstractContextManager[None]]


@pytest.fixture
def recorder(tmp_path: Path, mps: Device) -> Iterator[Recorder]:
    """Within the test, what is asked of the device of torch 2.1 is counted."""
    path = str(tmp_path / "report.json")
    report.create(path, "2.1", "12.3", [])
    made = Recorder(path)
    with mps((2, 1), (12, 3)):
        State.seen = made.seen
        try:
            yield made
        finally:
            State.seen = None


def asked_of(recorder: Recorder) -> dict[tuple[str, str], int]:
    """How often each operator was asked for, by its dtypes."""
    return {(one.operator, " ".join(one.dtypes[0])): one.calls for one in recorder.asked()}


def test_operators_are_counted_by_the_dtypes_of_their_tensors(recorder: Recorder) -> None:
    x = torch.ones(2, device="mps")
    for _ in range(3):
        x.add(x)
    x.add(x.bool())
    counted = asked_of(recorder)
    assert counted["aten::add.Tensor", "float32"] == 3
    assert counted["aten::add.Tensor", "float32 bool"] == 1
    assert asked_of(recorder) == {}


def test_what_a_kernel_does_not_do_is_kept(recorder: Recorder) -> None:
    numbers = torch.ones(2, dtype=torch.int64, device="mps")
    with pytest.raises(RuntimeError, match="macOS 13"):
        numbers.cumsum(0)
    with pytest.warns(UserWarning, match="nonzero"):
        numbers.nonzero()
    limits = {one.operator: [tuple(limit.values())[:3] for limit in one.limits] for one in recorder.asked()}
    assert limits["aten::cumsum"] == [("RuntimeError", "int64", "13.3")]
    assert limits["aten::nonzero"] == [("cpu", "any", "13")]


def test_an_operator_is_looked_up_under_the_rules(recorder: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_ENABLE_MPS_FALLBACK", "0")
    x = torch.ones(2, device="mps")
    with pytest.raises(NotImplementedError):
        torch.searchsorted(x, x)
    (found,) = (one for one in recorder.asked() if one.operator == "aten::searchsorted.Tensor")
    assert (found.status, found.first_torch, found.calls) == ("missing", "2.2", 1)


def test_what_was_written_is_not_written_again(recorder: Recorder) -> None:
    torch.ones(2, device="mps").sign()
    for _ in range(2):
        recorder.write()
    (found,) = (one for one in json.loads(Path(recorder.path).read_text())["operators"] if "sign" in one["operator"])
    assert found["calls"] == 1


def test_what_the_parent_counted_is_the_parents(recorder: Recorder) -> None:
    x = torch.ones(2, device="mps")
    x.sign()
    recorder.forget()
    x.sign()
    assert asked_of(recorder) == {("aten::sign", "float32"): 1}


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_text("mine")])
def test_the_user_is_told_where_it_cannot_be_written(
    recorder: Recorder, harm: Callable[[Path], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    torch.ones(2, device="mps").sign()
    harm(Path(recorder.path))
    recorder.write()
    recorder.write()
    told = capsys.readouterr().err
    assert told.startswith("The report cannot be written: ")
    assert told.count("\n") == 1


def find_from(depth: int) -> tuple[str, str | None]:
    """The lines of a call that comes from so many frames above."""
    return find_lines(sys._getframe(depth))


class TestLines:
    """Which lines are named of a call that goes through several files."""

    @pytest.fixture
    def module(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], ModuleType]:
        """Makes a module of a file below the current folder."""
        monkeypatch.chdir(tmp_path)

        def make(name: str, text: str) -> ModuleType:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            loader = SourceFileLoader("made", str(path))
            made = ModuleType("made")
            loader.exec_module(made)
            return made

        return make

    def test_the_programs_own_line_and_the_librarys(self, module: Callable[[str, str], ModuleType]) -> None:
        library = module("env/site-packages/lib/deep.py", "\ndef call(f):\n    return f(1)\n")
        own = module("app/own.py", "def main(library, f):\n    return library.call(f)\n")
        assert own.main(library, find_from) == ("app/own.py:2", "lib/deep.py:3")

    def test_the_innermost_of_the_programs_own(self, module: Callable[[str, str], ModuleType]) -> None:
        inner = module("inner.py", "def call(f):\n    return f(1)\n")
        outer = module("outer.py", "def main(inner, f):\n    return inner.call(f)\n")
        assert outer.main(inner, find_from) == ("inner.py:2", None)

    @pytest.mark.parametrize(
        "call", ["torch.no_grad()(keep)()", "contextlib.contextmanager(lambda: (yield))()(keep)()"]
    )
    def test_torch_and_the_standard_library_are_passed_over(
        self, module: Callable[[str, str], ModuleType], call: str
    ) -> None:
        text = "import torch, contextlib\ndef main(f):\n    kept = []\n    def keep():\n        kept.append(f(2))\n"
        own = module("own.py", f"{text}    {call}\n    return kept[0]\n")
        assert own.main(find_from) == ("own.py:6", None)

    def test_a_file_elsewhere_has_its_whole_path(
        self, module: Callable[[str, str], ModuleType], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        own = module("own.py", "def main(f):\n    return f(1)\n")
        path = Path.cwd() / "own.py"
        monkeypatch.chdir(Path(__file__).parent)
        assert own.main(find_from) == (f"{path}:2", None)

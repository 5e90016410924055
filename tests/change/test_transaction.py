"""Every cut and every fault: apply and revert are killed, or fail, at each call that changes anything on disk."""

from __future__ import annotations

import ast
import errno
import shutil
from collections.abc import Callable
from typing import Any

import libcst  # noqa: F401 - before the forks, which would each import it
import pytest
from snapshots import timeless

from patcher.change import exchange, transaction
from patcher.errors import PatcherError
from patcher.model import State

FEWEST = 20
"""Fewer points than this would mean that the harness sees no more what the engine does."""


def whole(env: Any, sources: set[bytes], records: set[bytes]) -> None:
    """Every file is one that was meant, and nobody who imports it notices anything."""
    assert env.source.read_bytes() in sources
    assert env.record.read_bytes() in records
    ast.parse(env.source.read_bytes())
    assert env.status().state in (State.UNPATCHED, State.PATCHED, State.INTERRUPTED)


@pytest.mark.parametrize("cut_short", ["apply", "revert"])
@pytest.mark.parametrize("then", ["apply", "revert"])
def test_every_cut_is_repaired_by_the_next_command(
    env: Callable[..., Any], cut_at: Callable[..., bool], cut_short: str, then: str
) -> None:
    it = env()
    original, first = it.snapshot(), (it.source.read_bytes(), it.record.read_bytes())
    assert it.apply().error is None
    patched, second = it.snapshot(), (it.source.read_bytes(), it.record.read_bytes())
    points, stale = 0, it.source.parent / "__pycache__" / "pytorch_utils.cpython-38.pyc"
    while True:
        getattr(it, "revert" if cut_short == "apply" else "apply")()
        compiled = it.source.read_bytes()
        stale.parent.mkdir()
        stale.write_bytes(b"unchecked")
        if not cut_at(getattr(it, cut_short), points + 1):
            break
        points += 1
        assert not stale.exists() or it.source.read_bytes() == compiled
        shutil.rmtree(stale.parent)
        whole(it, {first[0], second[0]}, {first[1], second[1]})
        repaired = getattr(it, then)()
        assert repaired.error is None, (points, repaired.error)
        assert timeless(it.snapshot()) == timeless(patched if then == "apply" else original), points
        assert it.revert().error is None
        assert it.snapshot() == original, points
    assert points >= FEWEST


def test_a_forced_apply_that_was_cut_is_finished_without_force(
    env: Callable[..., Any], cut_at: Callable[..., bool]
) -> None:
    it = env()
    it.source.write_text("def isin_mps_friendly(elements, test_elements):\n    return None\n")
    original, points, finished = it.snapshot(), 0, 0
    while cut_at(lambda: it.apply(force=True), points + 1):
        points += 1
        if it.status().state is State.INTERRUPTED and (it.ours / "state.json").exists():
            assert it.apply().state is State.PATCHED
            finished += 1
        assert it.revert().error is None
        assert it.snapshot() == original, points
    assert finished > 5


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_bytecode_that_another_process_makes_in_the_midst_goes(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    it = env()
    if command == "revert":
        it.apply()
    cache, real = it.source.parent / "__pycache__", exchange.names

    def compile_first(folder: int, one: str, other: str) -> bool:
        cache.mkdir(exist_ok=True)
        (cache / "pytorch_utils.cpython-38.pyc").write_bytes(b"unchecked")
        return real(folder, one, other)

    monkeypatch.setattr(exchange, "names", compile_first)
    assert getattr(it, command)().error is None
    assert list(cache.iterdir()) == []


def test_the_source_is_put_back_even_if_bytecode_stays(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = env()
    original, calls = it.snapshot(), []

    def remove(*_: Any) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise PatcherError("bytecode-not-removed", "It stays.", "Remove it.")

    monkeypatch.setattr("patcher.change.bytecode.remove", remove)
    result = it.apply()
    assert (result.error.code, result.state) == ("bytecode-not-removed", State.UNPATCHED)
    assert it.snapshot() == original


@pytest.mark.parametrize("command", ["apply", "revert"])
def test_every_fault_leaves_the_target_as_it_was(
    env: Callable[..., Any], failing_at: Callable[..., Any], fault: int, command: str
) -> None:
    it = env()
    if command == "revert":
        it.apply()
    before, points, refused = it.snapshot(), 0, 0
    while True:
        with failing_at(points + 1, fault) as calls:
            result = getattr(it, command)()
        if len(calls) <= points:
            break
        points += 1
        if result.error is None:  # a call whose failure does no harm, such as giving a folder away
            assert it.status().state is (State.PATCHED if command == "apply" else State.UNPATCHED)
            getattr(it, "revert" if command == "apply" else "apply")()
            before = it.snapshot()
            continue
        refused += 1
        assert it.snapshot() == before, (points, calls[-1], result.error)
        assert result.error.exit_code == 1
        assert "\n" not in result.error.message + result.error.hint
    assert refused >= FEWEST


def test_a_fault_that_lasts_is_told_and_the_next_command_repairs_it(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = env()
    original = it.snapshot()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as broken:
        broken.setattr(exchange, "names", fail)
        broken.setattr("os.unlink", fail)
        result = it.apply()
    assert result.error is not None
    assert result.error.code == "io-error"
    assert "Putting everything back failed too" in result.error.message
    assert not result.error.message.startswith("Interrupted.")
    assert result.state is State.INTERRUPTED
    assert it.revert().error is None
    assert it.snapshot() == original


def test_ctrl_c_puts_everything_back(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    it = env()
    original = it.snapshot()

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("patcher.change.transaction._proven", interrupt)
        with pytest.raises(KeyboardInterrupt):
            it.apply()
    assert it.snapshot() == original


@pytest.mark.parametrize("name", ["{file}", "{info}/RECORD", "{info}/mps-patcher/*.orig", "{info}/.RECORD.mps-patcher"])
def test_what_was_written_is_read_again(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A disk that loses or adds a byte after the last write: success must not be said."""
    it = env()
    pattern = name.format(file="transformers/pytorch_utils.py", info=it.target.dist_info.name)

    def spoil(*_: Any) -> None:
        root = it.target.site_packages
        for path in sorted(root.glob(pattern)) or [root / pattern]:
            with path.open("ab") as file:
                file.write(b"\n")

    with monkeypatch.context() as broken:
        broken.setattr("patcher.change.transaction._sweep", spoil)
        result = it.apply()
    assert result.error is not None
    assert result.error.code == "not-proven"
    assert not result.changed


def test_the_state_after_a_failure_is_a_fresh_one(env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it cannot be told any more, the one from before is the last that was true."""
    it = env()

    def fail(*_: Any) -> None:
        it.ours.mkdir()
        (it.ours / "state.json").write_text("{")
        raise PatcherError("io-error", "It broke.", "Mend it.")

    monkeypatch.setattr("patcher.change.operations.carry", fail)
    result = it.apply()
    assert (result.error.code, result.state) == ("io-error", State.UNPATCHED)


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_where_names_cannot_be_exchanged_a_file_is_renamed_into_place(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    it = env()
    original = it.snapshot()
    monkeypatch.setattr(exchange, "_system", lambda: lambda *_: number)
    assert it.apply().state is State.PATCHED
    assert it.revert().error is None
    assert it.snapshot() == original


def test_a_file_that_an_installer_writes_in_the_midst_stays(
    env: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    it = env()
    other = it.source.read_bytes() + b"# of another installer\n"

    def late(*arguments: Any) -> Any:
        it.source.write_bytes(other)
        return transaction.carry(*arguments)

    with monkeypatch.context() as racing:
        racing.setattr("patcher.change.operations.carry", late)
        result = it.apply()
    assert result.error is not None
    assert result.error.code == "target-changed"
    assert it.source.read_bytes() == other
    assert not it.ours.exists()

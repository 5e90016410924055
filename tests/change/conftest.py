"""An installed transformers to change, a picture of its whole tree, and cuts and faults at the system's boundary."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from snapshots import Snapshot, snapshot

from patcher.change import exchange, operations
from patcher.model import Patch, Result, Target
from patches.isin_mps_friendly import PATCH

# Everything that the engine may call to change or to sync anything on disk.
PRIMITIVES = ("fchmod", "fchown", "fsync", "mkdir", "open", "rename", "rmdir", "symlink", "unlink", "utime", "write")
CUT = 137


@dataclass(frozen=True)
class Env:
    """One target, and the operations on it with `isin_mps_friendly`, or with other patches."""

    target: Target
    patches: tuple[Patch, ...] = (PATCH,)

    @property
    def source(self) -> Path:
        return self.target.site_packages / PATCH.file

    @property
    def record(self) -> Path:
        return self.target.dist_info / "RECORD"

    @property
    def ours(self) -> Path:
        return self.target.dist_info / "mps-patcher"

    def apply(self, *, named: bool = True, **options: Any) -> Result:
        (result,) = self.each("apply", named=named, **options)
        return result

    def revert(self, **options: Any) -> Result:
        (result,) = self.each("revert", **options)
        return result

    def status(self, **options: Any) -> Result:
        (result,) = self.each("status", **options)
        return result

    def each(self, command: str, *, patches: tuple[Patch, ...] = (), **options: Any) -> tuple[Result, ...]:
        """The results of a command, one for each patch."""
        results: tuple[Result, ...] = getattr(operations, command)((self.target,), patches or self.patches, **options)
        return results

    def snapshot(self) -> Snapshot:
        return snapshot(self.target.site_packages)


def target(site_packages: Path, **changes: Any) -> Target:
    (dist_info,) = site_packages.glob("transformers-*.dist-info")
    facts: dict[str, Any] = {
        "site_packages": site_packages,
        "dist_info": dist_info,
        "version": dist_info.name.removeprefix("transformers-").removesuffix(".dist-info"),
        "python": None,
        "torch": "2.1.0",
        "installer": "pip",
        "pycache_prefix": None,
        "reason": "",
    }
    return Target(**{**facts, **changes})


@contextmanager
def counted(at: int, action: Callable[[Callable[..., Any], tuple[Any, ...]], Any]) -> Iterator[list[str]]:
    """Calls `action(real, arguments)` in the place of the call number `at` (from 1) that changes something on disk."""
    calls: list[str] = []

    def wrap(real: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            calls.append(name)
            return action(real, arguments) if len(calls) == at else real(*arguments, **options)

        return call

    with ExitStack() as stack:
        for home, name in [*((os, name) for name in PRIMITIVES), (exchange, "names")]:
            stack.enter_context(mock.patch.object(home, name, wrap(getattr(home, name), name)))
        yield calls


def cut(work: Callable[[], Any], at: int) -> bool:
    """Runs `work` in a child that dies, as by SIGKILL, in the place of call number `at`; False if it ended before.

    A write that is cut has written half.
    """

    def die(real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if real.__name__ == "write":
            real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
        os._exit(CUT)

    child = os.fork()
    if child == 0:
        with counted(at, die):
            work()
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, CUT)
    return code == CUT


@contextmanager
def failing(at: int, number: int) -> Iterator[list[str]]:
    """Makes call number `at` fail once with this errno."""

    def fail(real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        del real, arguments
        raise OSError(number, os.strerror(number))

    with counted(at, fail) as calls:
        yield calls


@pytest.fixture
def env(unpacked: Callable[..., Path]) -> Callable[..., Env]:
    """`env(version="4.45.1", whole=False, **facts)` is a new target; `facts` replace those of its Target."""

    def make(version: str = "4.45.1", *, whole: bool = False, **facts: Any) -> Env:
        return Env(target(unpacked(version, whole=whole), **facts))

    return make


@pytest.fixture
def at_site() -> Callable[..., Env]:
    """`at_site(site_packages, **facts)` is the target in a folder that something else installed."""

    def make(site_packages: Path, **facts: Any) -> Env:
        return Env(target(site_packages, **facts))

    return make


@pytest.fixture
def cut_at() -> Callable[[Callable[[], Any], int], bool]:
    """`cut_at(work, n)`: see `cut`."""
    return cut


@pytest.fixture
def failing_at() -> Callable[[int, int], Any]:
    """`failing_at(n, errno)`: see `failing`."""
    return failing


@pytest.fixture(params=[errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS], ids=errno.errorcode.__getitem__)
def fault(request: pytest.FixtureRequest) -> int:
    """An errno that a system call may fail with."""
    number: int = request.param
    return number

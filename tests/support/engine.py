"""The engine on one target, and cuts and faults at the system's boundary."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from snapshots import snapshot

from patcher import operations
from patcher.model import Patch, Result, State, Target
from patcher.snapshot import Snapshot as TargetSnapshot
from patcher.snapshot import take_snapshot
from patcher.storage.lock import LockTimeout
from patcher.storage.record import record_row

ISIN, DIRECT = "isin_mps_friendly", "direct_isin"
PRIMITIVES = (
    "chmod", "chown", "fsync", "mkdir", "open", "removexattr", "replace", "rmdir", "setxattr", "symlink", "unlink",
    "utime", "write",
)  # fmt: skip
"""Every function of `os` with which the engine changes or syncs anything on disk; `open` where it makes a file."""
FEWEST = 15
"""Fewer calls than this would mean that the harness sees no more what the engine does."""


@dataclass(frozen=True)
class Env:
    """One target and the operations on it: each gives its results by patch."""

    target: Target

    @property
    def source(self) -> Path:
        """The file of the function."""
        return self.target.site_packages / "transformers" / "pytorch_utils.py"

    @property
    def callers(self) -> tuple[Path, ...]:
        """Two files that call torch.isin themselves, in releases up to 4.44."""
        folder = self.target.site_packages / "transformers" / "generation"
        return folder / "stopping_criteria.py", folder / "utils.py"

    @property
    def sources(self) -> tuple[Path, ...]:
        """All that the patches change, but for RECORD, in 4.45.1 or in 4.44.2 with short files."""
        return (self.source, *self.callers) if self.target.version == "4.44.2" else (self.source,)

    @property
    def record(self) -> Path:
        return self.target.dist_info / "RECORD"

    @property
    def own(self) -> Path:
        """Our folder."""
        return self.target.dist_info / "mps-patcher"

    def list_in_record(self, path: Path) -> None:
        """Makes RECORD list a file as it is, as a release that has it so does."""
        name = path.relative_to(self.target.site_packages).as_posix()
        rows = [record_row(name, path.read_bytes()) if row.startswith(f"{name},") else row for row in self.rows]
        self.record.write_text("".join(f"{row}\n" for row in rows))

    @property
    def rows(self) -> list[str]:
        """Those of RECORD."""
        return self.record.read_text().splitlines()

    def status(self, *names: str, **options: Any) -> dict[str, Result]:
        return self.run("status", *names, **options)

    def apply(self, *names: str, **options: Any) -> dict[str, Result]:
        """Applies the named patches; without names, those whose defect has an effect."""
        return self.run("apply", *names, **options)

    def revert(self, *names: str, **options: Any) -> dict[str, Result]:
        return self.run("revert", *names, **options)

    def run(self, command: str, *names: str, **options: Any) -> dict[str, Result]:
        patches = [patch for patch in catalogue() if patch.name in names or not names]
        options.setdefault("lock", LockTimeout(seconds=0))
        if command == "apply":
            options.setdefault("named", bool(names))
        results = getattr(operations, command)((self.target,), patches, **options)
        by_name = {str(result.patch): result for result in results}
        assert len(by_name) == len(results)
        return by_name

    def states(self) -> dict[str, State | None]:
        return {name: result.state for name, result in self.status().items()}

    def take(self) -> TargetSnapshot:
        """What the engine reads of it."""
        return take_snapshot(self.target, catalogue())

    def picture(self) -> dict[str, tuple[Any, ...]]:
        """Every file with its bytes, mode, owner, time and links."""
        return snapshot(self.target.site_packages)


def catalogue() -> tuple[Patch, ...]:
    """That of the operations, which a test may replace."""
    found: tuple[Patch, ...] = vars(operations)["load_catalogue"]()
    return found


def codes(results: dict[str, Result]) -> dict[str, str | None]:
    """The errors' codes, by patch."""
    return {name: result.error.code if result.error else None for name, result in results.items()}


def fine(results: dict[str, Result]) -> Result:
    """The result of `isin_mps_friendly`, of results without an error."""
    assert not any(codes(results).values()), results
    return results[ISIN]


def make_target(site_packages: Path, **changes: Any) -> Target:
    (dist_info,) = site_packages.glob("transformers-*.dist-info")
    facts: dict[str, Any] = {
        "site_packages": site_packages,
        "dist_info": dist_info,
        "version": dist_info.name.removeprefix("transformers-").removesuffix(".dist-info"),
        "python": None,
        "torch": "2.3.1",
        "installer": "pip",
        "pycache_prefix": None,
        "reason": "it was named",
    }
    return Target(**{**facts, **changes})


class Killed(BaseException):
    """What a kill looks like from within."""


@contextmanager
def intercepted(act: Callable[[int, str, Callable[..., Any], tuple[Any, ...]], Any]) -> Iterator[list[str]]:
    """Each call that changes something on disk becomes `act(number, name, real, arguments)`, counted from 1."""
    calls: list[str] = []

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if name == "open" and not arguments[1] & os.O_CREAT:
                return real(*arguments, **options)
            calls.append(name)
            act(len(calls), name, real, arguments)
            return real(*arguments, **options)

        return call

    with ExitStack() as stack:
        for name in PRIMITIVES:
            if hasattr(os, name):
                stack.enter_context(mock.patch.object(os, name, wrap(name, getattr(os, name))))
        yield calls


def killed_at(work: Callable[[], object], at: int) -> bool:
    """Runs `work`, of which nothing more reaches the disk from call number `at` on; whether there was such a call.

    A write that is cut has written half.
    """

    def act(number: int, name: str, real: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        if number == at and name == "write":
            real(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
        if number >= at:
            raise Killed

    with intercepted(act) as calls:
        try:
            work()
        except Killed:
            return True
    return len(calls) >= at


@contextmanager
def failing(number: int, *, at: int, lasting: bool = False) -> Iterator[list[str]]:
    """Call number `at` fails once with this errno, or with it all that follow."""

    def act(count: int, *_: Any) -> None:
        if count == at or (lasting and count > at):
            raise OSError(number, os.strerror(number))

    with intercepted(act) as calls:
        yield calls

"""An installed transformers for the engine to change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from engine import Env, make_target


@pytest.fixture
def env(unpacked: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Env]:
    """`env(version="4.45.1", whole=False, **facts)` is a new target; `facts` replace those of its Target."""

    monkeypatch.setattr(os, "fsync", lambda _: None)  # no power is lost here, and the disk is slow

    def make(version: str = "4.45.1", *, whole: bool = False, **facts: Any) -> Env:
        return Env(make_target(unpacked(version, whole=whole), **facts))

    return make


@pytest.fixture
def one(env: Callable[..., Env]) -> Env:
    """transformers 4.45.1, where `isin_mps_friendly` alone has something to do, in one file."""
    return env()


@pytest.fixture
def two(env: Callable[..., Env], shortened: Callable[[Path], Path]) -> Env:
    """transformers 4.44.2 with short files: `direct_isin` changes two of them, and requires the other patch."""
    made = env("4.44.2")
    shortened(made.target.site_packages)
    return made


@pytest.fixture(params=[errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS], ids=errno.errorcode.__getitem__)
def fault(request: pytest.FixtureRequest) -> int:
    """An errno that a system call may fail with."""
    number: int = request.param
    return number


@pytest.fixture
def site(unpacked: Callable[..., Path]) -> Path:
    """A site-packages folder with an unpatched transformers 4.45.1."""
    return unpacked()

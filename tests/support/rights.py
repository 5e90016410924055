"""Root as an ordinary user, who may not do what root may."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest

PR_CAPBSET_DROP = 24
CAPABILITIES = 64


def drop_all() -> Callable[[], None]:
    """What takes all of root's rights from a process that is about to be started."""
    system = ctypes.CDLL(None)
    if not hasattr(system, "prctl"):
        pytest.skip("root cannot let go of its rights here")

    def drop() -> None:  # what is not in the bounding set is gone after exec
        for capability in range(CAPABILITIES):
            system.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)

    return drop

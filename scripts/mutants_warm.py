"""What the tests of all mutants import, so that it is imported once: pytest and its plugins first, by a run of no test.

Not what runs functions of ours as it is imported, for a mutant must be chosen before: patcher.flags, patches.
"""

from __future__ import annotations

from importlib import import_module

import pytest

pytest.main(["--collect-only", "-qqq", "--noconftest", "-p", "no:cacheprovider", "scripts"])
for name in ("click.testing", "libcst.metadata"):
    import_module(name)
for name in ("change.operations", "document", "locate.targets", "report", "verify"):
    import_module(f"patcher.{name}")

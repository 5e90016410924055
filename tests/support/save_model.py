"""Save a small Llama with random weights, and a tokenizer of 64 words, to a folder: `python save_model.py FOLDER`.

The words are w4 to w63, after <pad>, <s>, </s> and <unk>.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from small_models import more_models
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from patcher.selftest.generation import VOCABULARY

SPECIAL = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def main(folder: str) -> None:
    """Writes what `from_pretrained(folder)` reads."""
    words = [*SPECIAL.values(), *(f"w{number}" for number in range(len(SPECIAL), VOCABULARY))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL).save_pretrained(folder)
    more_models()["Llama"]().save_pretrained(folder)


if __name__ == "__main__":
    main(sys.argv[1])

"""Save a small model with random weights, and a tokenizer of 64 words, to a folder.

    python save_model.py FOLDER [Llama|T5|GPT-2] [chat]

The words are w4 to w63, after <pad>, <s>, </s> and <unk>. With `chat` there is a chat template.
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
CHAT_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}assistant:"


def save(folder: str, name: str = "Llama", *, chat: bool = False) -> None:
    """Writes what `from_pretrained(folder)` reads."""
    words = [*SPECIAL.values(), *(f"w{number}" for number in range(len(SPECIAL), VOCABULARY))]
    vocabulary = {word: number for number, word in enumerate(words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL["unk_token"]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    saved = PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **SPECIAL)
    if chat:
        saved.chat_template = CHAT_TEMPLATE
    saved.save_pretrained(folder)
    more_models()[name]().save_pretrained(folder)


if __name__ == "__main__":
    words = [word for word in sys.argv[2:] if word != "chat"]
    save(sys.argv[1], *words, chat="chat" in sys.argv[2:])

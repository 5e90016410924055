"""The models of the self-test, and more: what the suites of compatibility and reports generate with.

python tests/support/small_models.py FOLDER Llama [chat]    saves one, with a tokenizer of single characters
"""

from __future__ import annotations

import string
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from patcher.selftest.generation import VOCABULARY, build, models


def more_models() -> dict[str, Callable[[], Any]]:
    """By name, what builds a model, the same weights at every call."""
    return {**models(), "GPT-2": _gpt2, "Whisper": _whisper}


CHAT_TEMPLATE = "{% for message in messages %}{{ message.role[0] }}:{{ message.content }}\n{% endfor %}a:"


def save_model(folder: Path, name: str, *, chat: bool = False) -> None:
    """Writes that model and a tokenizer to a folder, perhaps with a chat template."""
    tokenizer = _tokenizer()
    if chat:
        tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    more_models()[name]().save_pretrained(folder)


def _tokenizer() -> Any:
    """Every character is a token."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<s>", "</s>", "<unk>", *(string.ascii_letters + " .,:?!\n")]
    tokenizer = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def _gpt2() -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_embd=32,
        n_layer=2,
        n_head=4,
        n_positions=64,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return build(GPT2LMHeadModel, config)


def _whisper() -> Any:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=VOCABULARY,
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        num_mel_bins=8,
        max_source_positions=16,
        max_target_positions=32,
        init_std=0.3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=3,
    )
    model = build(WhisperForConditionalGeneration, config)
    model.generation_config.suppress_tokens = [5, 6, 7, 20, 21]
    model.generation_config.begin_suppress_tokens = [8, 9]
    return model


if __name__ == "__main__":
    save_model(Path(sys.argv[1]), sys.argv[2], chat="chat" in sys.argv[3:])

"""The models of the self-test, and more: what the suites of compatibility and reports generate with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from patcher.selftest.generation import VOCABULARY, build, models


def more_models() -> dict[str, Callable[[], Any]]:
    """By name, what builds a model, the same weights at every call."""
    return {**models(), "GPT-2": _gpt2, "Whisper": _whisper}


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

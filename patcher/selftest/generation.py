"""Small models with random weights, and the ways in which they generate."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import torch

VOCABULARY = 64
MANY_ENDS = list(range(2, VOCABULARY, 5))


class Run(NamedTuple):
    """One call of generate()."""

    name: str
    batch: int
    with_mask: bool
    options: Dict[str, Any]


def runs() -> List[Run]:
    """Each strategy with batches of 1 and 3, with and without mask and pad token, with one and several end tokens."""
    strategies: List[Tuple[str, Dict[str, Any]]] = [
        ("greedy", {"do_sample": False, "top_k": None}),
        ("sampling", {"do_sample": True, "top_k": 10}),
        ("beam search", {"do_sample": False, "top_k": None, "num_beams": 3}),
    ]
    inputs: List[Tuple[str, bool, Dict[str, Any]]] = [
        ("no mask, no pad token", False, {}),
        ("mask and pad token", True, {"pad_token_id": 0}),
        ("no mask, pad token", False, {"pad_token_id": 0, "min_length": 3}),
        ("several end tokens", True, {"pad_token_id": 0, "eos_token_id": MANY_ENDS, "min_new_tokens": 3}),
    ]
    found = []
    for strategy, options in strategies:
        for batch in (1, 3):
            for name, with_mask, more in inputs:
                name = "%s, batch of %d, %s" % (strategy, batch, name)
                found.append(Run(name, batch, with_mask, dict(options, max_new_tokens=8, **more)))
    return found


def models() -> Dict[str, Callable[[], Any]]:
    """By name, what builds a model: the same weights at every call."""
    return {"Llama": _llama, "GPT-2": _gpt2, "T5": _t5, "Whisper": _whisper}


def tokens(model: Any, run: Run, device: str) -> List[List[int]]:
    """The tokens that `model`, which is on `device`, generates in `run`, with the same draws on every device."""
    inputs = {name: value.to(device) for name, value in _inputs(model, run).items()}
    torch.manual_seed(2)
    with _draws_on_cpu():
        return model.generate(**inputs, **run.options).cpu().tolist()


def _inputs(model: Any, run: Run) -> Dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    if model.main_input_name == "input_features":
        frames = 2 * model.config.max_source_positions
        return {"input_features": torch.randn(run.batch, model.config.num_mel_bins, frames, generator=generator)}
    ids = torch.randint(3, VOCABULARY, (run.batch, 5), generator=generator)
    if not run.with_mask:
        return {"input_ids": ids}
    mask = torch.ones_like(ids)
    for row in range(1, run.batch):  # left padding, of another length in each row
        ids[row, :row], mask[row, :row] = 0, 0
    return {"input_ids": ids, "attention_mask": mask}


@contextlib.contextmanager
def _draws_on_cpu() -> Iterator[None]:
    """Each device has a random generator of its own: to compare tokens, all draws are made on the CPU."""
    module: Any = torch
    multinomial = module.multinomial

    def on_cpu(weights: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return multinomial(weights.cpu(), *args, **kwargs).to(weights.device)

    module.multinomial = on_cpu
    try:
        yield
    finally:
        module.multinomial = multinomial


def _build(model_class: Any, config: Any) -> Any:
    torch.manual_seed(0)
    return model_class(config).eval()


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _build(LlamaForCausalLM, config)


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
    return _build(GPT2LMHeadModel, config)


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    return _build(T5ForConditionalGeneration, config)


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
    model = _build(WhisperForConditionalGeneration, config)
    model.generation_config.suppress_tokens = [5, 6, 7, 20, 21]
    model.generation_config.begin_suppress_tokens = [8, 9]
    return model

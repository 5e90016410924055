"""Two small models with random weights, and the ways in which they generate."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

import torch

VOCABULARY = 64
MANY_ENDS = list(range(2, VOCABULARY, 2))


class Run(NamedTuple):
    """One call of generate()."""

    name: str
    batch: int
    with_mask: bool
    options: Dict[str, Any]


def runs() -> List[Run]:
    """Each strategy with and without mask and pad token, one row and three, with one and several end tokens."""
    strategies: List[Tuple[str, Dict[str, Any]]] = [
        ("greedy", {"do_sample": False, "top_k": None}),
        ("sampling", {"do_sample": True, "top_k": 10}),
        ("beam search", {"do_sample": False, "top_k": None, "num_beams": 3}),
    ]
    inputs: List[Tuple[str, int, bool, Dict[str, Any]]] = [
        ("no mask, no pad token", 1, False, {}),
        ("mask and pad token", 3, True, {"pad_token_id": 0}),
        ("no mask, pad token", 3, False, {"pad_token_id": 0, "min_length": 3}),
        ("several end tokens", 3, True, {"pad_token_id": 0, "eos_token_id": MANY_ENDS, "min_new_tokens": 3}),
    ]
    return [
        Run("%s, batch of %d, %s" % (strategy, batch, name), batch, with_mask, dict(options, max_new_tokens=5, **more))
        for strategy, options in strategies
        for name, batch, with_mask, more in inputs
    ]


def models() -> Dict[str, Callable[[], Any]]:
    """By name, what builds a model, the same weights at every call: a decoder, and an encoder with a decoder."""
    return {"Llama": _llama, "T5": _t5}


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
    for row in range(1, run.batch):  # left padding, of another length in each row
        ids[row, :row] = 0
    return {"input_ids": ids, "attention_mask": (ids != 0).long()} if run.with_mask else {"input_ids": ids}


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


def build(model_class: Any, config: Any) -> Any:
    """A model with random weights, the same at every call."""
    torch.manual_seed(0)
    return model_class(config).eval()


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        max_position_embeddings=64,
        initializer_range=0.3,
        bos_token_id=1,
        eos_token_id=2,
    )
    return build(LlamaForCausalLM, config)


def _t5() -> Any:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=1,
        num_heads=4,
        tie_word_embeddings=False,
        decoder_start_token_id=0,
        eos_token_id=1,
        pad_token_id=0,
    )
    return build(T5ForConditionalGeneration, config)

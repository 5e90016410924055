"""The model and its tokenizer, and how it generates."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Optional, Set

import torch

from .devices import Device
from .failures import Failure, describe, explained
from .prompts import padded


class Settings(NamedTuple):
    """How tokens are chosen."""

    max_new_tokens: int
    pad: int
    """What fills short rows up, and is masked."""
    ends: Set[int]
    """The tokens after which nothing follows."""
    seed: Optional[int] = None
    """None for greedy search."""


class Loaded(NamedTuple):
    """The model on one device."""

    device: Device
    model: Any
    settings: Settings

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether the prompt goes into an encoder of its own."""
        return bool(self.model.config.is_encoder_decoder)


def load_config(name: str) -> Any:
    """The model's configuration. Raises Failure `model-not-loaded`."""
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise Failure("model-not-loaded", "%s cannot be loaded: %s" % (name, describe(error))) from error


def load_tokenizer(name: str) -> Any:
    """The model's tokenizer. Raises Failure `no-tokenizer`."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except Exception as error:
        raise Failure("no-tokenizer", "The tokenizer of %s cannot be loaded: %s" % (name, describe(error))) from error


def load_model(name: str, config: Any, dtype: str, device: Device) -> Any:
    """The model in that dtype on the device. Raises Failure `model-not-loaded` or `out-of-memory`."""
    import transformers

    kind = transformers.AutoModelForSeq2SeqLM if config.is_encoder_decoder else transformers.AutoModelForCausalLM
    newer = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (4, 56)
    chosen: Dict[str, Any] = {"dtype" if newer else "torch_dtype": getattr(torch, dtype)}
    with explained("model-not-loaded", "loading the model", device.name):
        model = kind.from_pretrained(name, config=config, trust_remote_code=False, **chosen).eval()
        with device.active():
            return model.to(device.name)


def choose_settings(model: Any, tokenizer: Any, max_new_tokens: int, seed: Optional[int]) -> Settings:
    """The end tokens are the model's, or else the tokenizer's. Where there is no pad token, an end token is it, or 0:
    it is masked, and nothing follows an end token."""
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    ends = set() if ends is None else set(ends if isinstance(ends, (list, tuple)) else [ends])
    pad = pad_token(model, tokenizer)
    return Settings(max_new_tokens, min(ends, default=0) if pad is None else pad, ends, seed)


def pad_token(model: Any, tokenizer: Any) -> Optional[int]:
    """The pad token of the tokenizer or else of the model; None if neither has one."""
    pad: Optional[int] = tokenizer.pad_token_id
    return model.generation_config.pad_token_id if pad is None else pad


def generate(loaded: Loaded, inputs: Dict[str, torch.Tensor], number: int, **more: Any) -> Any:
    """One call of generate(), its inputs on the device: greedy search, or sampling with the seed of that batch.

    All else is as the model's generation config has it, but for beams: there is one. To be called within
    `device.active()`.
    """
    settings = loaded.settings
    if settings.seed is not None:
        torch.manual_seed(settings.seed + number)  # every device's
    options = {"max_new_tokens": settings.max_new_tokens, "pad_token_id": settings.pad, "num_beams": 1}
    with torch.no_grad():
        return loaded.model.generate(**inputs, do_sample=settings.seed is not None, **dict(options, **more))


def inputs_of(loaded: Loaded, rows: List[List[int]]) -> Dict[str, torch.Tensor]:
    """What generate() takes for these prompts, on the device. To be called within `device.active()`.

    A decoder continues its input, so that is padded on the left.
    """
    ids, mask = padded(rows, loaded.settings.pad, left=not loaded.is_encoder_decoder)
    return {"input_ids": ids.to(loaded.device.name), "attention_mask": mask.to(loaded.device.name)}


def new_tokens(row: List[int], prompt_width: int, loaded: Loaded) -> List[int]:
    """What was generated, up to and with the first end token. An encoder-decoder's row begins with its start token."""
    generated = row[1:] if loaded.is_encoder_decoder else row[prompt_width:]
    for position, token in enumerate(generated):
        if token in loaded.settings.ends:
            return generated[: position + 1]
    return generated

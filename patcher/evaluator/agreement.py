"""Where two devices' tokens differ first, and whether that is a tie that broke otherwise or a fault.

Two devices add in different orders, so their scores differ in the last digits. Where two tokens are as good as equal,
greedy search may then take either: a tie. Where one device prefers its token clearly, one of them is wrong: a fault.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

import torch

from .models import Loaded, generate, inputs_of

TOLERANCE = {"float32": 1e-3, "float16": 5e-2, "bfloat16": 5e-1}
"""The distance of two scores, by dtype, up to which they are taken for equal: what rounding can do to a sum of
hundreds of products, with a wide margin. Trained models prefer a token by 0.1 to 10."""


def first_difference(tokens: List[int], others: List[int]) -> Optional[int]:
    """The position of the first token that differs, or where only one goes on; None if none does."""
    if tokens == others:
        return None
    pairs = zip(tokens, others)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(tokens), len(others)))


def judge(
    reference: Loaded,
    other: Loaded,
    prompt: List[int],
    tokens: List[int],
    others: List[int],
    tokenizer: Any,
    dtype: str,
) -> Optional[Dict[str, Any]]:
    """The first difference of `others`, the tokens of the other device, from the reference's `tokens`; None if none.

    The scores that greedy search chose by are computed again on each device, for this prompt alone. It is a tie only if
    both devices say that the two tokens are closer to each other than the tolerance of the dtype.
    """
    position = first_difference(tokens, others)
    if position is None:
        return None
    own = tokens[position] if position < len(tokens) else None
    theirs = others[position] if position < len(others) else None
    logits = [_scores(loaded, prompt, tokens[:position], [own, theirs]) for loaded in (reference, other)]
    sides = zip((own, theirs), (logits[0], logits[1][::-1]))
    told = [
        {"token": token, "text": "" if token is None else tokenizer.decode([token]), "logits": pair}
        for token, pair in sides
    ]
    kind = "tie" if all(_is_tie(pair, TOLERANCE[dtype]) for pair in logits) else "fault"
    return {"position": position, "kind": kind, "reference": told[0], "other": told[1]}


def _is_tie(pair: List[Optional[float]], tolerance: float) -> bool:
    return None not in pair and abs(float(pair[0] or 0) - float(pair[1] or 0)) <= tolerance


def _scores(loaded: Loaded, prompt: List[int], prefix: List[int], tokens: List[Optional[int]]) -> List[Optional[float]]:
    """The scores of the tokens after prompt and prefix; None for no token, and where a score is no finite number."""
    with loaded.device.active():
        inputs = _continued(loaded, prompt, prefix)
        done = generate(
            loaded._replace(settings=loaded.settings._replace(seed=None)), inputs, 0,
            max_new_tokens=1, output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        scores = done.scores[0][0].cpu().tolist()
    found = [None if token is None else float(scores[token]) for token in tokens]
    return [score if score is not None and math.isfinite(score) else None for score in found]


def _continued(loaded: Loaded, prompt: List[int], prefix: List[int]) -> Dict[str, torch.Tensor]:
    if not loaded.is_encoder_decoder:
        return inputs_of(loaded, [prompt + prefix])
    start = loaded.model.generation_config.decoder_start_token_id
    if start is None:
        start = loaded.model.generation_config.bos_token_id
    decoder = torch.tensor([[start, *prefix]], dtype=torch.long).to(loaded.device.name)
    return dict(inputs_of(loaded, [prompt]), decoder_input_ids=decoder)

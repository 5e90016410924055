"""Scenarios as tokens. The file was checked by the tool, and is read line by line: nothing of it is kept."""

from __future__ import annotations

import itertools
import json
from typing import Any, Dict, Iterable, Iterator, List, NamedTuple, Optional, Tuple

import torch

from .failures import Failure, describe


class Prompt(NamedTuple):
    """One scenario, ready for the model."""

    row: int
    """Its place in the file, from 0, blank lines not counted."""
    id: str
    text: str
    """The prompt; that of messages is what the chat template makes of them."""
    expected: Optional[str]
    tokens: List[int]


class Batch(NamedTuple):
    """Scenarios that are generated together; a batch has the same ones in every run."""

    number: int
    prompts: List[Prompt]


def read_prompts(path: str, tokenizer: Any, skip: int = 0) -> Iterator[Prompt]:
    """The scenarios of a file, in its order, but for the first `skip`.

    Raises Failure `no-chat-template`, `chat-template-failed` or `no-tokens`.
    """
    with open(path, encoding="utf-8-sig", newline="\n") as file:
        lines = enumerate(line for line in file if line.strip())
        for index, line in itertools.islice(lines, skip, None):
            yield _prompt(index, json.loads(line), tokenizer)


def _prompt(index: int, row: Dict[str, Any], tokenizer: Any) -> Prompt:
    name = str(row["id"])
    is_chat = row.get("messages") is not None
    text = _apply_template(name, row["messages"], tokenizer) if is_chat else row["prompt"]
    tokens = tokenizer(text, add_special_tokens=not is_chat)["input_ids"]  # a template writes its own
    if not tokens:
        raise Failure("no-tokens", "The prompt of scenario %r has no tokens in this model's vocabulary." % name)
    return Prompt(index, name, text, row.get("expected"), list(tokens))


def _apply_template(name: str, messages: List[Dict[str, str]], tokenizer: Any) -> str:
    if not (getattr(tokenizer, "chat_template", None) or getattr(tokenizer, "default_chat_template", None)):
        cause = "Scenario %r has messages, but the model's tokenizer has no chat template." % name
        raise Failure("no-chat-template", cause)
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # templates raise what they like
        cause = "The model's chat template does not accept the messages of scenario %r: %s" % (name, describe(error))
        raise Failure("chat-template-failed", cause) from error
    return text


def check_lengths(prompts: Iterable[Prompt], config: Any, max_new_tokens: int) -> None:
    """Raises Failure `prompt-too-long` where the model has not enough positions for a prompt and its continuation."""
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    limit = getattr(text_config, "max_position_embeddings", None)
    for prompt in prompts:
        needed = len(prompt.tokens) + max_new_tokens
        if config.is_encoder_decoder:  # each half has its own positions
            needed = max(len(prompt.tokens), max_new_tokens)
        if isinstance(limit, int) and 0 < limit < needed:
            numbers = (prompt.id, len(prompt.tokens), max_new_tokens, limit)
            cause = "Scenario %r has %d tokens, and with --max-new-tokens %d exceeds the model's %d positions."
            raise Failure("prompt-too-long", cause % numbers)


def batches(prompts: Iterable[Prompt], size: int) -> Iterator[Batch]:
    """The prompts in batches of that size, the last one perhaps smaller."""
    held: List[Prompt] = []
    for prompt in prompts:
        held.append(prompt)
        if len(held) == size:
            yield Batch(prompt.row // size, held)
            held = []
    if held:
        yield Batch(held[0].row // size, held)


def padded(rows: List[List[int]], pad: int, *, left: bool) -> Tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both int64 of shape (rows, longest row)."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for number, row in enumerate(rows):
        place = slice(width - len(row), width) if left else slice(0, len(row))
        ids[number, place] = torch.tensor(row, dtype=torch.long)
        mask[number, place] = 1
    return ids, mask

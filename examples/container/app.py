"""Stands for the application: makes a small model in memory and lets it generate, which calls the patched function."""

from __future__ import annotations

import torch
from transformers import GPT2Config, GPT2LMHeadModel

torch.manual_seed(0)
config = GPT2Config(vocab_size=100, n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=1)
model = GPT2LMHeadModel(config).eval()
tokens = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=8, do_sample=False, pad_token_id=2)
print("tokens:", *tokens[0].tolist())

"""Generates text with a language model on an Apple GPU (MPS), on CUDA or on the CPU.

    python generate.py --model MODEL --prompt "Once upon a time"
    python generate.py --model MODEL --prompts FILE --batch-size 8

MODEL is a folder, or the name of a model on the Hugging Face Hub. Texts go to standard output, timings to standard
error. It needs Python 3.8, torch and transformers 4.38 or newer. Versions with errors on MPS work too: see
`patch_transformers`.

Printed by `mps-patcher template`. This file does not need mps-patcher; change it as you like.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any, Iterator, List, NoReturn, Tuple

# Operators that MPS lacks run on the CPU. torch reads this once, when it is imported.
os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def stop(cause: str, hint: str) -> NoReturn:
    """Ends the program with exit code 1, a line of cause and one of what to do."""
    sys.exit(f"error: {cause}\nhint: {hint}")


try:
    import torch
except ImportError as error:
    stop(f"torch cannot be imported by {sys.executable}: {error}.", "Install it there: pip install torch transformers")

# --- The patch --------------------------------------------------------------------------------------------------------

from .isin import infer_mask_on_cpu, isin, isin_mps_friendly  # noqa: E402


def patch_transformers() -> None:
    """Makes the membership test of `generate()` right on MPS, before any module of transformers has imported it.

    Without it, generate() fails on MPS with transformers before 4.46.2 on an older torch, and on macOS 13 with every
    torch before 2.9.
    """
    torch.isin = isin
    try:
        import transformers.pytorch_utils
    except ImportError as error:
        stop(f"transformers cannot be imported: {error}.", "Install it: pip install transformers")
    transformers.pytorch_utils.isin_mps_friendly = isin_mps_friendly
    from transformers.generation.utils import GenerationMixin

    infer_mask_on_cpu(GenerationMixin, transformers.__version__)


# --- What to generate from --------------------------------------------------------------------------------------------


def positive(text: str) -> int:
    """The value of an option that counts something."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 1 or more")
    return int(text)


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Generates text with a language model on MPS, on CUDA or on the CPU.")
    add = parser.add_argument
    add("--model", required=True, help="a folder with a model, or its name on the Hugging Face Hub")
    prompts = parser.add_mutually_exclusive_group(required=True)
    prompts.add_argument("--prompt", metavar="TEXT")
    prompts.add_argument("--prompts", metavar="FILE", help="a text file with one prompt per line; - is standard input")
    add("--chat", action="store_true", help="each prompt is a user's message to a chat model")
    add("--device", choices=["auto", "mps", "cuda", "cpu"], default="auto", help="default: the best one available")
    add("--dtype", choices=["float32", "float16", "bfloat16"], help="default: float32; on CUDA, the model's own")
    add("--max-new-tokens", type=positive, default=64, metavar="N", help="default: 64")
    add("--batch-size", type=positive, default=1, metavar="N", help="prompts per batch; default: 1")
    add("--seed", type=int, metavar="N", help="sample with this seed; default: greedy search")
    return parser.parse_args()


def read_prompts(arguments: argparse.Namespace) -> List[str]:
    """The prompts, of which there is at least one. Blank lines are none."""
    text = arguments.prompt
    if text is None:
        try:
            text = sys.stdin.read() if arguments.prompts == "-" else Path(arguments.prompts).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            stop(
                f"{arguments.prompts} cannot be read: {error}.", "Name a text file in UTF-8, with one prompt per line."
            )
    prompts = [text] if arguments.prompts is None else text.splitlines()
    prompts = [prompt for prompt in prompts if prompt.strip()]
    return prompts or stop("There is no prompt.", "Give a text that is not empty, or a file with one prompt per line.")


def choose_device(wanted: str) -> str:
    """The asked-for device, or the best one that is here."""
    present = {"mps": torch.backends.mps.is_available(), "cuda": torch.cuda.is_available(), "cpu": True}
    if wanted != "auto" and not present[wanted]:
        others = ", ".join(name for name, here in present.items() if here)
        stop(f"torch {torch.__version__} finds no {wanted} on this machine.", f"Available: {others}.")
    return next(name for name in present if present[name]) if wanted == "auto" else wanted


# --- The model --------------------------------------------------------------------------------------------------------


def load(kind: str, name: str, **options: Any) -> Any:
    """What a class of transformers, such as AutoTokenizer, makes of a folder or a name on the Hub."""
    import transformers

    if not Path(name).is_dir() and name.startswith((".", "/", "~")):
        stop(f"There is no folder {name}.", "Name the folder with the model's config.json, or a model on the Hub.")
    try:
        return getattr(transformers, kind).from_pretrained(name, **options)
    except (MemoryError, RuntimeError):
        raise
    except Exception as error:  # transformers and what it uses raise many kinds
        hint = (
            "Check the name, files and network. A gated model needs a login to the Hub, a new one a newer transformers."
        )
        stop(f"{name} cannot be loaded: {(str(error).strip() or repr(error)).splitlines()[0]}", hint)


def load_model(name: str, device: str, dtype: str | None) -> Any:
    """The model, on the device and ready to generate.

    On MPS in float32: bfloat16 needs macOS 14, and float16 overflows in some models. The CPU is slow with both, too.
    """
    import transformers

    kind = dtype or ("auto" if device == "cuda" else "float32")
    release = tuple(map(int, transformers.__version__.split(".")[:2]))
    option = "dtype" if release >= (4, 56) else "torch_dtype"
    return load("AutoModelForCausalLM", name, **{option: getattr(torch, kind, kind)}).to(device).eval()


def add_chat_template(tokenizer: Any, prompts: List[str]) -> List[str]:
    """The prompts as the model's chat template has them."""
    if tokenizer.chat_template is None:
        stop("This model has no chat template.", "Leave out --chat, or use a chat model.")
    chats = [[{"role": "user", "content": prompt}] for prompt in prompts]
    try:
        return [tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) for chat in chats]
    except ImportError as error:
        stop(f"The chat template cannot be used: {error}", "Install what it names: pip install jinja2")


def set_padding(tokenizer: Any, batch_size: int) -> None:
    """Lets the end token fill up the shorter prompts of a batch, where the model has no pad token."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token is None and batch_size > 1:
        stop(
            "This model has neither a pad token nor an end token, so prompts cannot share a batch.",
            "Use --batch-size 1.",
        )
    tokenizer.padding_side = "left"  # what is generated goes on at the right


def generate(
    tokenizer: Any, model: Any, prompts: List[str], arguments: argparse.Namespace
) -> Iterator[Tuple[str, int]]:
    """For each prompt the text that goes on with it, and how many tokens that has."""
    size, pad_token = arguments.batch_size, tokenizer.pad_token_id
    for start in range(0, len(prompts), size):
        batch = tokenizer(
            prompts[start : start + size],
            return_tensors="pt",
            padding=size > 1,
            add_special_tokens=not arguments.chat,  # the chat template has them
        )
        inputs = {name: batch[name].to(model.device) for name in ("input_ids", "attention_mask")}
        output = model.generate(
            **inputs,
            max_new_tokens=arguments.max_new_tokens,
            do_sample=arguments.seed is not None,
            pad_token_id=pad_token,
        )
        for row in output[:, inputs["input_ids"].shape[1] :].tolist():
            tokens = [token for token in row if token != pad_token]
            yield tokenizer.decode(tokens, skip_special_tokens=True), len(tokens)


def report(text: str) -> None:
    """Tells of times, beside the texts."""
    print(text, file=sys.stderr, flush=True)


def run(arguments: argparse.Namespace) -> None:
    """Loads, generates, and tells how long both took."""
    prompts, device = read_prompts(arguments), choose_device(arguments.device)
    start = time.perf_counter()
    tokenizer = load("AutoTokenizer", arguments.model)
    set_padding(tokenizer, arguments.batch_size)
    prompts = add_chat_template(tokenizer, prompts) if arguments.chat else prompts
    model = load_model(arguments.model, device, arguments.dtype)
    report(f"loaded on {device} as {model.dtype} in {time.perf_counter() - start:.1f} s")
    if arguments.seed is not None:
        torch.manual_seed(arguments.seed)
    start, total = time.perf_counter(), 0
    for text, tokens in generate(tokenizer, model, prompts, arguments):
        print(text, flush=True)
        total += tokens
    seconds = time.perf_counter() - start
    report(f"{total} tokens in {seconds:.2f} s: {total / seconds:.1f} tokens/s, including warm-up")


def is_out_of_memory(error: Exception) -> bool:
    """Whether this is what CUDA, MPS or the CPU raise when memory runs out."""
    words = ("out of memory", "not enough memory", "allocate memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def main() -> None:
    """Runs; where memory runs out, says so."""
    arguments = parse_arguments()
    patch_transformers()
    try:
        run(arguments)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = "Use a smaller --batch-size or --max-new-tokens, --dtype float16, or a smaller model."
        stop(f"Out of memory: {(str(error) or repr(error)).splitlines()[0]}", hint)


if __name__ == "__main__":
    main()

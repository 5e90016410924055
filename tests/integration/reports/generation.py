"""Reports of generate(). Where the weights cannot be fetched, a small model that takes the same path stands in."""

from __future__ import annotations

from tests.integration.reports.scenario import BOTH, NO_KERNEL, NO_MASK, OLD_MACOS, OTHER_DTYPE, Scenario

REPORTS = (
    Scenario(
        name="transformers-33786",
        link="https://github.com/huggingface/transformers/issues/33786",
        said="transformers 4.45.1, an Intel Mac, so torch 2.2 at most; the pair is that of make test-seed. XTTS "
        "generates with a GPT-2 whose pad token is its end token, and without a mask.",
        transformers=("4.45.1",),
        torch="2.1.0",
        macos="13",
        error="IndexError: tuple index out of range",
        code="""
            def run(device):
                ids = torch.tensor([[5, 9, 11, 7]], device=device)
                options = {"bos_token_id": 1, "pad_token_id": 3, "eos_token_id": 3, "max_new_tokens": 8}
                return small("GPT-2").to(device).generate(ids, do_sample=False, **options).tolist()
        """,
        real_torch=True,
    ),
    Scenario(
        name="ComfyUI-Florence2-83",
        link="https://github.com/kijai/ComfyUI-Florence2/issues/83",
        said="torch 2.3.1; no macOS. The part of the traceback that was read names no transformers; in October 2024 "
        "the released ones were 4.45. Florence-2 embeds the image and has a BART generate from the embeddings.",
        transformers=("4.45.1",),
        torch="2.3.1",
        macos="14",
        error="IndexError: tuple index out of range",
        code="""
            from transformers import BartConfig, BartForConditionalGeneration

            def run(device):
                layers = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
                heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
                torch.manual_seed(0)
                sizes = {"vocab_size": 64, "d_model": 16, "max_position_embeddings": 32, "init_std": 0.3}
                config = BartConfig(**sizes, **layers, **heads)
                model, image = BartForConditionalGeneration(config).eval(), torch.randn(1, 6, 16)
                options = {"num_beams": 3, "do_sample": False, "max_new_tokens": 8}
                return model.to(device).generate(inputs_embeds=image.to(device), **options).tolist()
        """,
    ),
    Scenario(
        name="transformers-37423",
        link="https://github.com/huggingface/transformers/issues/37423",
        said="device mps:0, April 2025; what was read names no transformers, no torch and no macOS. The traceback "
        "shows a generate() that takes use_model_defaults, so 4.50 or later. Bark passes int32 ids; the pad token is "
        "int64.",
        transformers=("4.51.3",),
        torch="2.6",
        macos="14",
        error=OTHER_DTYPE,
        code="""
            from transformers.models.bark.configuration_bark import BarkSemanticConfig
            from transformers.models.bark.generation_configuration_bark import BarkSemanticGenerationConfig
            from transformers.models.bark.modeling_bark import BarkSemanticModel

            def run(device):
                sizes = {"input_vocab_size": 72, "output_vocab_size": 72, "hidden_size": 16, "block_size": 64}
                torch.manual_seed(0)
                model = BarkSemanticModel(BarkSemanticConfig(num_layers=1, num_heads=2, **sizes)).eval()
                tokens = {"semantic_pad_token": 60, "semantic_vocab_size": 60, "eos_token_id": 60, "text_pad_token": 61}
                tokens.update(semantic_infer_token=62, text_encoding_offset=10, max_input_semantic_length=8)
                options = BarkSemanticGenerationConfig(max_new_tokens=6, do_sample=False, **tokens)
                ids = torch.tensor([[5, 9, 11, 7, 3, 2, 4, 6]], device=device)
                return model.to(device).generate(ids, semantic_generation_config=options).tolist()
        """,
    ),
    Scenario(
        name="pytorch-124518",
        link="https://github.com/pytorch/pytorch/issues/124518",
        said="A text-generation pipeline with do_sample, top_k=10 and an end token. The traceback's lines are those of "
        "transformers 4.40.0, which was a day old; no torch in what was read, 2.2 was the newest; no macOS.",
        transformers=("4.40.0",),
        torch="2.2",
        macos="14",
        patches=BOTH,
        error=NO_KERNEL,
        code="""
            def run(device):
                ids = torch.tensor([[5, 9, 11, 7]], device=device)
                inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
                options = {"do_sample": True, "top_k": 10, "num_return_sequences": 1, "eos_token_id": 2}
                return small("Llama").to(device).generate(**inputs, max_new_tokens=8, **options).tolist()
        """,
    ),
    Scenario(
        name="MiniCPM-V-490",
        link="https://github.com/OpenBMB/MiniCPM-V/issues/490",
        said="No releases; torch 2.4 ended it. The requirements.txt of MiniCPM-V asks for torch 2.1.2 and transformers "
        "4.40.0. The model embeds the image and generates from the embeddings, with several end tokens.",
        transformers=("4.40.0",),
        torch="2.1.2",
        macos="14",
        patches=BOTH,
        error=NO_KERNEL,
        code="""
            def run(device):
                model = small("Llama").to(device)
                embeddings = model.get_input_embeddings()(torch.tensor([[5, 9, 11, 7]], device=device))
                options = {"pad_token_id": 0, "eos_token_id": [2, 33], "max_new_tokens": 8, "do_sample": False}
                return model.generate(inputs_embeds=embeddings, num_beams=3, **options).tolist()
        """,
    ),
    Scenario(
        name="soulx-tts-metal-1",
        link="https://github.com/jianyun8023/soulx-tts-metal/issues/1",
        said="macOS 13.6.7 on an M2. No releases: the requirements.txt of SoulX-Podcast, which it ports, asks for "
        "torch 2.7.1 and transformers 4.57.1.",
        transformers=("4.57.1",),
        torch="2.7.1",
        macos="13.6",
        error=OLD_MACOS + " dtype: Long",
        code="""
            def run(device):
                ids = torch.tensor([[5, 9, 11, 7]], device=device)
                return small("Llama").to(device).generate(ids, max_new_tokens=8, do_sample=False).tolist()
        """,
    ),
    Scenario(
        name="transformers-31744",
        link="https://github.com/huggingface/transformers/issues/31744",
        said="A T5 that generates from the ids alone, in a comment of July 2024; no releases and no macOS. 4.41 has "
        "the message with every torch; 4.42 fails before it where torch has no isin. A second row, with padding, makes "
        "the inferred mask matter.",
        transformers=("4.41.2",),
        torch="2.3.1",
        macos="14",
        patches=BOTH,
        error=NO_MASK,
        code="""
            def run(device):
                ids = torch.tensor([[5, 9, 11, 0], [7, 8, 4, 3]], device=device)
                return small("T5").to(device).generate(ids, do_sample=True, top_k=10, max_new_tokens=8).tolist()
        """,
    ),
    Scenario(
        name="insanely-fast-whisper-225",
        link="https://github.com/Vaibhavs10/insanely-fast-whisper/issues/225",
        said="No releases; May 2024, when 4.40 and torch 2.3 were the newest. Whisper suppresses tokens by isin.",
        transformers=("4.40.0",),
        torch="2.3",
        macos="14",
        patches=BOTH,
        error=NO_KERNEL,
        code="""
            def run(device):
                torch.manual_seed(1)
                sound = torch.randn(1, 8, 32).to(device)
                return small("Whisper").to(device).generate(sound, max_new_tokens=8).tolist()
        """,
    ),
)

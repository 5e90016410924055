"""Reports of the membership test itself: of torch.isin, and of the function that transformers had."""

from __future__ import annotations

from tests.integration.reports.scenario import NO_IMPORT, NO_KERNEL, NO_SCALAR, OTHER_DTYPE, Scenario

REPORTS = (
    Scenario(
        name="pytorch-136148",
        link="https://github.com/pytorch/pytorch/issues/136148",
        said="torch 2.0.1 and transformers 4.34.0 in a list of requirements; no code and no macOS. That transformers "
        "is older than what is repaired, and does not call isin in generate(): torch's own function shows the message.",
        transformers=("4.40.0",),
        torch="2.0.1",
        macos="13",
        error=NO_KERNEL,
        code="""
            def run(device):
                return torch.isin(torch.tensor([1, 2, 3], device=device), torch.tensor([2], device=device)).tolist()
        """,
        instead="""
            from transformers.pytorch_utils import isin_mps_friendly

            def run(device):
                tokens, ends = torch.tensor([1, 2, 3], device=device), torch.tensor([2], device=device)
                return isin_mps_friendly(tokens, ends).tolist()
        """,
        result=[False, True, False],
    ),
    Scenario(
        name="coqui-TTS-4406",
        link="https://github.com/coqui-ai/TTS/issues/4406",
        said="coqui-tts 0.27.5 with torch 2.10.0, Darwin 25.2.0, which is macOS 26.2. No transformers in what was "
        "read; idiap/coqui-ai-TTS #558 says 5.1 or later. Its autoregressive.py imports the function as isin.",
        transformers=("5.1.0",),
        torch="2.10",
        macos="26.2",
        error=NO_IMPORT,
        code="""
            def run(device):
                from transformers.pytorch_utils import isin_mps_friendly as isin

                inputs, pad = torch.tensor([[0, 5, 9], [0, 0, 7]], device=device), torch.tensor(0, device=device)
                return isin(elements=inputs, test_elements=pad).tolist()
        """,
        result=[[True, False, False], [True, True, False]],
    ),
    Scenario(
        name="pytorch-154010",
        link="https://github.com/pytorch/pytorch/pull/154010",
        said="The session in its description, on torch's main branch of May 2025: the newest release was 2.7. It needs "
        "no transformers; the release is that of the Bark report.",
        transformers=("4.51.3",),
        torch="2.7",
        macos="14",
        error=NO_SCALAR,
        code="""
            def run(device):
                return torch.isin(torch.tensor([0, 1, 2], device=device), 1).tolist()
        """,
        instead="""
            from transformers.pytorch_utils import isin_mps_friendly

            def run(device):
                return isin_mps_friendly(torch.tensor([0, 1, 2], device=device), 1).tolist()
        """,
        result=[False, True, False],
    ),
    Scenario(
        name="pytorch-151443",
        link="https://github.com/pytorch/pytorch/issues/151443",
        said="The session in its description, of April 2025: the newest torch was 2.6. It needs no transformers, and "
        "comes from the search for the cause of the Bark report.",
        transformers=("4.51.3",),
        torch="2.6",
        macos="14",
        error=OTHER_DTYPE,
        code="""
            def run(device):
                one = torch.tensor(1, dtype=torch.int32).to(device)
                return torch.isin(torch.tensor([1, 2, 3], dtype=torch.int64).to(device), one).tolist()
        """,
        instead="""
            from transformers.pytorch_utils import isin_mps_friendly

            def run(device):
                one = torch.tensor(1, dtype=torch.int32).to(device)
                return isin_mps_friendly(torch.tensor([1, 2, 3], dtype=torch.int64).to(device), one).tolist()
        """,
        result=[True, False, False],
    ),
)

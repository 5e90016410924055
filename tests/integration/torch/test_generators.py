"""Generators of random numbers for the emulated device."""

from __future__ import annotations

from collections.abc import Callable

WANTS_MPS = "RuntimeError: Expected a 'mps' device type for generator but found 'cpu'"
WANTS_CPU = "RuntimeError: Expected a 'cpu' device type for generator but found 'mps'"


def test_each_device_has_its_own(everywhere: Callable[..., list[str]]) -> None:
    told = everywhere(
        "here, there = torch.Generator(), torch.Generator('mps')\n"
        "weights = torch.ones(3, device='mps')\n"
        "say(lambda: (there.device, here.device, torch.Generator('mps:0').device),\n"
        "    lambda: torch.rand(2, device='mps', generator=here),\n"
        "    lambda: weights.multinomial(1, generator=here),\n"
        "    lambda: torch.bernoulli(weights, generator=here),\n"
        "    lambda: weights.uniform_(generator=here),\n"
        "    lambda: torch.rand(2, generator=there),\n"
        "    lambda: weights.cpu().multinomial(1, generator=there),\n"
        "    lambda: (torch.rand(2, generator=here).device, weights.multinomial(1, generator=there).device))\n"
    )
    assert told == [
        "(device(type='mps', index=0), device(type='cpu'), device(type='mps', index=0))",
        *[WANTS_MPS] * 4,
        *[WANTS_CPU] * 2,
        "(device(type='cpu'), device(type='mps', index=0))",
    ]


def test_a_seed_and_a_state_give_the_draws_again(everywhere: Callable[..., list[str]]) -> None:
    told = everywhere(
        "draw = lambda one: torch.rand(2, device='mps', generator=one).tolist()\n"
        "seeded = lambda: torch.Generator('mps').manual_seed(7)\n"
        "print(draw(seeded()) == draw(seeded()) != draw(seeded().manual_seed(8)))\n"
        "torch.mps.manual_seed(1)\n"
        "first, state, second = draw(None), torch.mps.get_rng_state(), draw(None)\n"
        "torch.mps.set_rng_state(state)\n"
        "print(first != second == draw(None))\n"
        "print(isinstance(torch.default_generator, torch.Generator), isinstance(first, torch.Generator))\n"
    )
    assert told == ["True", "True", "True False"]

"""Lots of a router's own."""

import torch

from ..plugins.errors import OptionError


def seeded(seed: int) -> torch.Generator:
    """A generator that no other draws from.

    >>> torch.rand(9, generator=seeded(3)).equal(torch.rand(9, generator=seeded(3)))
    True
    """
    if not 0 <= seed < 2**63:
        raise OptionError("seed", seed, "an integer from 0 to 2**63 - 1")
    return torch.Generator().manual_seed(seed)

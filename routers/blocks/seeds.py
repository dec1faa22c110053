"""A random generator owned by one router."""

import torch

from ..plugins import OptionError


def seeded_generator(seed: int) -> torch.Generator:
    """A new generator on the CPU; ``OptionError`` if ``seed`` is not in [0, 2**63).

    >>> first, second = (torch.rand(9, generator=seeded_generator(3)) for _ in range(2))
    >>> first.equal(second)
    True
    """
    if not 0 <= seed < 2**63:
        raise OptionError("seed", seed, "an integer in [0, 2**63)")
    return torch.Generator().manual_seed(seed)

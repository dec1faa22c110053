"""Experts as a product of two numbers."""

import math
from itertools import count

from ..plugins.errors import OptionError


def divisors(number: int) -> list[int]:
    """From 1 to the number itself.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def branches_of(num_experts: int, branches: int) -> int:
    """How many equal branches the experts form: as told, or for 0 the least not below the root.

    >>> branches_of(12, 0)
    4
    """
    allowed = divisors(num_experts)
    if not branches and len(allowed) == 2:
        composite = next(n for n in count(num_experts + 1) if len(divisors(n)) > 2)
        raise OptionError(
            "num_experts",
            num_experts,
            "a number that splits into equal branches, not a prime one",
            f"Use {composite} experts, or router.branches={num_experts}",
        )
    branches = branches or min(d for d in allowed if d * d >= num_experts)
    if branches not in allowed:
        listed = ", ".join(map(str, allowed))
        raise OptionError("branches", branches, f"a divisor of num_experts={num_experts}: {listed}")
    return branches


def columns_of(num_experts: int) -> int:
    """The largest divisor not above the root; 1 is refused.

    >>> columns_of(12)
    3
    """
    root = math.isqrt(num_experts)
    columns = max(d for d in divisors(num_experts) if d <= root)
    if columns == 1:
        squares = [str(n**2) for n in (root, root + 1) if n > 1]
        raise OptionError(
            "num_experts",
            num_experts,
            "a product of two numbers above 1, best a square",
            f"Nearest squares: {', '.join(squares)}",
        )
    return columns

"""Factorizations of the number of experts."""

import math
from itertools import count

from ..plugins import OptionError


def divisors(number: int) -> list[int]:
    """All divisors of ``number``, in increasing order.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    return sorted({*small, *(number // d for d in small)})


def num_branches(num_experts: int, branches: int) -> int:
    """The number of equal branches; for 0 the smallest divisor >= ``sqrt(num_experts)``.

    ``OptionError`` if ``branches`` does not divide ``num_experts``, or that is prime.

    >>> num_branches(12, 0)
    4
    """
    allowed = divisors(num_experts)
    if not branches and len(allowed) == 2:
        composite = next(n for n in count(num_experts + 1) if len(divisors(n)) > 2)
        expected = "a composite number, which splits into equal branches"
        cure = f"Use {composite} experts, or branches={num_experts}"
        raise OptionError("num_experts", num_experts, expected, cure)
    branches = branches or min(d for d in allowed if d * d >= num_experts)
    if branches not in allowed:
        listed = ", ".join(map(str, allowed))
        raise OptionError("branches", branches, f"a divisor of num_experts={num_experts}: {listed}")
    return branches


def num_columns(num_experts: int) -> int:
    """The largest divisor <= ``sqrt(num_experts)``; ``OptionError`` if ``num_experts`` is prime.

    >>> num_columns(12)
    3
    """
    root = math.isqrt(num_experts)
    columns = max(d for d in divisors(num_experts) if d <= root)
    if columns == 1:
        squares = [str(n**2) for n in (root, root + 1) if n > 1]
        expected = "a product of two integers >= 2, ideally a square"
        cure = f"Nearest squares: {', '.join(squares)}"
        raise OptionError("num_experts", num_experts, expected, cure)
    return columns

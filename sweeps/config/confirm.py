"""Confirmation's configuration: fresh seeds, and the numbers of them at which arms are compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from routers import OptionError
from routers.plugins import option_errors_under, unknown_option

#: The rule of ``seeds: auto``: seeds at the first look, further ones at each look, the most.
AUTO = {"first": 3, "step": 2, "most": 11}

#: Fewer seeds do not estimate the variance.
MIN_SEEDS = 3


@dataclass(frozen=True)
class SeedPlan:
    """Numbers of seeds at which pairs are tested: ``first``, then ``step`` more, at most ``most``.

    >>> SeedPlan(first=4, step=3, most=12).looks
    (4, 7, 10, 12)
    """

    first: int
    step: int
    most: int

    def __post_init__(self) -> None:
        first = 1 if self.first == self.most else MIN_SEEDS
        for name, minimum in {"first": first, "step": 1, "most": self.first}.items():
            if not _is_integer(value := getattr(self, name)) or value < minimum:
                raise OptionError(name, value, f"an integer >= {minimum}")

    @classmethod
    def fixed(cls, seeds: int) -> "SeedPlan":
        """One look at a fixed number of seeds.

        >>> SeedPlan.fixed(5).looks
        (5,)
        """
        return cls(seeds, 1, seeds)

    @classmethod
    def read(cls, value: Any) -> "SeedPlan":
        """The plan of ``confirm.seeds``: a number, ``auto``, or some of the numbers of a rule.

        Raises:
            OptionError: for another value.

        >>> SeedPlan.read({"most": 15})
        SeedPlan(first=3, step=2, most=15)
        """
        key = "confirm.seeds"
        if _is_integer(value) and value >= 1:
            return cls.fixed(value)
        given = {} if value == "auto" else value
        if not isinstance(given, Mapping):
            expected = "an integer >= 1, auto or {first: 3, step: 2, most: 11}"
            raise OptionError(key, value, expected)
        for name in given:
            if name not in AUTO:
                raise unknown_option(key, str(name), AUTO)
        with option_errors_under(key):
            return cls(**{**AUTO, **given})

    @property
    def looks(self) -> tuple[int, ...]:
        """Number of seeds at each look."""
        return (*range(self.first, self.most, self.step), self.most)

    @property
    def written(self) -> int | dict[str, int]:
        """The plan in files: a number if there is one look, else a complete rule."""
        return self.most if len(self.looks) == 1 else asdict(self)


@dataclass
class ConfirmConfig:
    """Fresh runs of the best trials.

    Attributes:
        seeds: their plan as written.
        first_seed: the first of them.
    """

    seeds: Any
    first_seed: int

    @cached_property
    def plan(self) -> SeedPlan:
        """The plan of the seeds."""
        return SeedPlan.read(self.seeds)


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

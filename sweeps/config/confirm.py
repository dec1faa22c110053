"""Confirmation's configuration: how many fresh seeds, or the rule that adds them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from routers import OptionError
from routers.plugins import unknown_option

#: The rule of ``seeds: auto``: seeds at the first look, further ones at each look, the most.
AUTO = {"first": 3, "step": 2, "most": 11}

#: Smallest values; fewer seeds than 3 do not estimate a variance.
_MINIMA = {"first": 3, "step": 1, "most": 3}


@dataclass
class ConfirmConfig:
    """Fresh runs of the best trials.

    Attributes:
        seeds: their number, or the rule with the keys of `AUTO` that adds them.
        first_seed: the first of them.
    """

    seeds: Any
    first_seed: int

    @property
    def least(self) -> int:
        """Number of seeds of every arm.

        >>> ConfirmConfig(5, 1000).least, ConfirmConfig(AUTO, 1000).least
        (5, 3)
        """
        return int(self.seeds["first"]) if isinstance(self.seeds, Mapping) else int(self.seeds)

    @property
    def most(self) -> int:
        """Largest number of seeds of an arm."""
        return int(self.seeds["most"]) if isinstance(self.seeds, Mapping) else int(self.seeds)


def read_seeds(value: Any) -> int | dict[str, int]:
    """A number of seeds, or a complete rule from ``auto`` or some of its numbers.

    Raises:
        OptionError: for another value.

    >>> read_seeds({"most": 15})
    {'first': 3, 'step': 2, 'most': 15}
    """
    key = "confirm.seeds"
    if _is_integer(value) and value >= 1:
        return int(value)
    given = {} if value == "auto" else value
    if not isinstance(given, Mapping):
        expected = "an integer >= 1, auto or {first: 3, step: 2, most: 11}"
        raise OptionError(key, value, expected)
    for name in given:
        if name not in AUTO:
            raise unknown_option(key, str(name), AUTO)
    rule = {**AUTO, **given}
    for name, minimum in _MINIMA.items():
        if not _is_integer(rule[name]) or rule[name] < minimum:
            raise OptionError(f"{key}.{name}", rule[name], f"an integer >= {minimum}")
    if rule["most"] < rule["first"]:
        raise OptionError(f"{key}.most", rule["most"], f"at least first={rule['first']}")
    return rule


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)

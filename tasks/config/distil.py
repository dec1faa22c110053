"""The key ``distil``: a trained run as the teacher of another."""

import math
from dataclasses import dataclass
from typing import Any

from routers import OptionError
from routers.plugins import check_options, option_errors_under

#: The key of a configuration.
KEY = "distil"


@dataclass(frozen=True, kw_only=True)
class Distil:
    """A teacher, and how much a loss depends on it.

    Attributes:
        of: folder of the trained run, or of its export.
        weight: share of the loss that compares outputs with the teacher's; the task has the rest.
        temperature: what both outputs are divided by before they are compared.
        checkpoint: of the teacher: ``last``, ``best`` or ``step-NUMBER``.
    """

    of: str
    weight: float = 0.5
    temperature: float = 2.0
    checkpoint: str = "last"

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise OptionError("weight", self.weight, "a number in [0, 1]")
        if not 0 < self.temperature < math.inf:
            raise OptionError("temperature", self.temperature, "a finite number > 0")


def read_distil(value: dict[str, Any] | None) -> Distil | None:
    """The value of the key ``distil``; ``ConfigError`` if it is invalid, None if it is null.

    >>> read_distil({"of": "runs/teacher"}).temperature
    2.0
    """
    if value is None:
        return None
    check_options(KEY, Distil, value, skip=0)
    with option_errors_under(KEY):
        return Distil(**value)

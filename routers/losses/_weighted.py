"""Weighted losses as they are written: by name a weight, a weight and options, or several."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from ..plugins import OptionError, check_options, check_type, unknown_option
from ..routing import Routing
from ._base import LOSSES, RoutedLayer, inputs_of, levels_of, loss_of

#: Levels by the suffix that once named them.
_SUFFIXES = {"global": "step", "sequence": "sequence"}


@dataclass(frozen=True)
class WeightedLoss:
    """An auxiliary loss, its weight and all its options.

    >>> WeightedLoss.read("switch", {"weight": 0.01, "level": "step"}).options
    {'level': 'step'}
    """

    name: str
    weight: float
    options: Mapping[str, Any]

    @classmethod
    def read(cls, name: str, written: Any) -> "WeightedLoss":
        """The loss that ``losses: {name: written}`` configures.

        The name is registered or ``package.module:function``. ``ConfigError`` for an unknown name
        or option, or a weight that is not a finite number.
        """
        key = f"losses.{name}"
        if ":" not in name and name not in LOSSES.available():
            base, _, suffix = name.rpartition("_")
            if suffix in _SUFFIXES and base in LOSSES.available():
                new = f"losses.{base}={{weight: …, level: {_SUFFIXES[suffix]}}}"
                raise OptionError.about(key, f": unknown; a level is an option: write {new}")
            raise unknown_option("losses", name, LOSSES.available())
        given = dict(written) if isinstance(written, Mapping) else {"weight": written}
        weight_key = f"{key}.weight" if isinstance(written, Mapping) else key
        if "weight" not in given:
            raise OptionError.about(weight_key, f": required; give {weight_key}=float")
        weight = given.pop("weight")
        check_type(weight_key, weight, float)
        if not math.isfinite(weight):
            raise OptionError(weight_key, weight, "a finite number")
        check_options(key, LOSSES[name], given, LOSSES.positional)
        return cls(name, float(weight), {**LOSSES.options(name), **given})

    def written(self) -> Any:
        """The loss as ``read`` takes it: its weight alone if all options are defaults."""
        changed = {k: v for k, v in self.options.items() if v != LOSSES.options(self.name)[k]}
        return {"weight": self.weight, **changed} if changed else self.weight

    def __call__(self, routing: Routing, layer: RoutedLayer | None = None) -> Tensor:
        """Weight times loss, a scalar; ``layer`` is the one that returned the routing."""
        return self.weight * loss_of(LOSSES[self.name], routing, layer, **self.options)

    @property
    def reads_outputs(self) -> bool:
        """Whether the loss reads what experts returned."""
        return "outputs" in inputs_of(LOSSES[self.name])

    def reads(self, level: str) -> bool:
        """Whether the loss compares experts at this level."""
        return bool(levels_of(LOSSES[self.name])) and self.options["level"] == level

    def at_step(self) -> "WeightedLoss":
        """The same loss at level ``step``."""
        return replace(self, options={**self.options, "level": "step"})


def read_losses(losses: Mapping[str, Any]) -> list[WeightedLoss]:
    """The losses of a mapping; a list under a name uses that loss more than once."""
    if not isinstance(losses, Mapping):
        raise OptionError("losses", losses, "weights by name, such as {'switch': 0.01}")
    return [
        WeightedLoss.read(name, each)
        for name, written in losses.items()
        for each in (written if isinstance(written, list) else [written])
    ]


def written_losses(losses: Iterable[WeightedLoss]) -> dict[str, Any]:
    """The losses as ``read_losses`` takes them.

    >>> written_losses(read_losses({"z": [1, 2], "switch": {"weight": 0.1, "level": "batch"}}))
    {'z': [1.0, 2.0], 'switch': 0.1}
    """
    by_name: dict[str, list[Any]] = {}
    for loss in losses:
        by_name.setdefault(loss.name, []).append(loss.written())
    return {name: each[0] if len(each) == 1 else each for name, each in by_name.items()}

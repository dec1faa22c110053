"""Experts or routers of another run in place of the network's."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from routers import ConfigError, OptionError
from routers.plugins import unknown

from .._task import Backbone
from ..assembly.build import routed_layers
from ._base import EDITS, Context, Edit

#: The module of a layer that is replaced, by the value of ``part``.
PARTS = {"experts": attrgetter("bank"), "router": attrgetter("router")}


@EDITS.register("swap")
class Swap(Edit):
    """Take the experts or the router of each layer from another run of the same shapes.

    Which part a score belongs to shows when the other part is exchanged.

    Args:
        of: folder of the other run.
        part: ``experts`` or ``router``.
        layers: indices of the routed layers, from 0; None for all.
    """

    def __init__(
        self, *, of: str, part: str = "experts", layers: Sequence[int] | None = None
    ) -> None:
        if part not in PARTS:
            raise unknown("part", part, PARTS)
        self.of, self.part, self.layers = of, part, layers

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = routed_layers(network)
        for place in self.layers or ():
            if not 0 <= place < len(layers):
                expected = f"indices in [0, {len(layers) - 1}], of the {len(layers)} routed layers"
                raise OptionError("layers", list(self.layers or ()), expected)
        others = routed_layers(context.other_run(self.of))
        if len(others) != len(layers):
            raise ConfigError(
                f"swap.of={self.of}: has {len(others)} routed layers, and this network "
                f"{len(layers)}; give a run of the same depth"
            )
        places = range(len(layers)) if self.layers is None else self.layers
        pairs = [(i, *(PARTS[self.part](each[i]) for each in (layers, others))) for i in places]
        for place, own, other in pairs:
            shapes = [
                (type(each).__name__, {n: tuple(v.shape) for n, v in each.state_dict().items()})
                for each in (own, other)
            ]
            if shapes[0] != shapes[1]:
                raise ConfigError(
                    f"swap.of={self.of}: its {self.part} of layer {place} are {shapes[1]}, and "
                    f"{shapes[0]} here; give a run with the same router, expert and sizes"
                )
        for _, own, other in pairs:
            own.load_state_dict(other.state_dict())
        return {"layers": list(places)}

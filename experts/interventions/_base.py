"""The base class of interventions, and the replacement of a layer's routing."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from routers import Items, Routing
from routers.plugins import Registry

from ..layers.moe import MoE

#: Another routing of the same items, from the items and their routing.
Change = Callable[[Items, Routing], Routing]


@contextmanager
def intervene(layer: MoE, change: Change) -> Iterator[None]:
    """Context manager: a layer executes ``change(items, routing)`` instead of its routing.

    The change gets the routing after all drops, and its result is executed as it is. At the end,
    also after an error, the layer is as before; a copy made in between keeps the change. Of nested
    interventions the inner one changes what the outer one returns.

    >>> import experts, routers, torch
    >>> layer = MoE(routers.build("topk", 8, 4, k=2), experts.build("mlp", 8, 4))
    >>> with intervene(layer, lambda items, routing: routing.drop(routing.expert != 0)):
    ...     y, routing = layer(torch.randn(5, 8))
    >>> routing.load[0].item()
    0
    """
    layer.changes.append(change)
    try:
        yield
    finally:
        layer.changes.remove(change)


class Intervention(ABC):
    """One kind of change of a layer in evaluation, for one expert at a time or the whole layer.

    The first line of the docstring says what changes. A part that is impossible for the layer
    raises ``ConfigError`` in the constructor, before any data is read.

    Args:
        layer: the layer, which stays as it is.
    """

    def __init__(self, layer: MoE) -> None:
        self.layer = layer

    @property
    def targets(self) -> Sequence[int | None]:
        """The experts to apply it to, one after another; ``(None,)`` for the layer as a whole."""
        return range(self.layer.router.num_experts)

    def observe(self) -> AbstractContextManager[None]:
        """Context manager of a pass over the data that comes before all interventions."""
        return nullcontext()

    @abstractmethod
    def apply(self, target: int | None) -> AbstractContextManager[None]:
        """Context manager in which the layer is changed for one of the ``targets``."""


INTERVENTIONS: Registry[Intervention] = Registry(
    "interventions", Intervention, group="switchyard.interventions", positional=1
)

"""The contract of a gate, and how an option names one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from .._torch.overrides import drop_outdated, watched
from ..plugins.errors import OptionError
from ..plugins.registry import Registry
from ..routing import Items

#: ``"linear"``, or ``{"name": "mlp", "hidden": 32}``.
GateSpec = str | Mapping[str, Any]


class Gate(nn.Module, ABC):
    """Scores: ``items`` to logits ``(N, outputs)``, in float32 or wider.

    Class attributes:
        per_item: an item's scores depend on that item alone.
        causal: an item's scores never depend on later items of its group.
    """

    per_item: ClassVar[bool] = True
    causal: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        drop_outdated(cls, "pick", Gate)

    @abstractmethod
    def forward(self, items: Items) -> Tensor:
        """Logits, ``(N, outputs)``."""

    def pick(self, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
        """The ``chosen`` ones, ``(N, K)``, of the logits that ``forward`` gave for ``items``.

        A gate that can send a gradient to these alone overrides it. It is used by neither a
        subclass with a ``forward`` of its own nor a gate with hooks.
        """
        return logits.gather(1, chosen)


def pick(gate: Gate, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
    """The ``chosen`` ones of a gate's logits, ``(N, K)``."""
    run = Gate.pick if watched(gate) else type(gate).pick
    return run(gate, items, logits, chosen)


GATES = Registry("gate", Gate, group="switchyard.gates", positional=2)


def build_gate(spec: GateSpec, dim: int, outputs: int, option: str = "gate") -> Gate:
    """The gate that an option names; errors are about that ``option``.

    >>> sum(p.numel() for p in build_gate("linear", 16, 4).parameters())
    64
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else {**spec}
    try:
        gate: Gate = GATES.build(options.pop("name", "linear"), dim, outputs, **options)
    except OptionError as error:
        raise error.about(option + error.name.removeprefix(GATES.key), error.problem) from None
    return gate

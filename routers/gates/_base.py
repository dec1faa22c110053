"""The contract of a gate, and how an option names one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

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
        newest = next(base for base in cls.__mro__ if {"forward", "pick"} & vars(base).keys())
        if "pick" not in vars(newest):  # an inherited ``pick`` would bypass the new ``forward``
            setattr(cls, "pick", Gate.pick)  # noqa: B010

    @abstractmethod
    def forward(self, items: Items) -> Tensor:
        """Logits, ``(N, outputs)``."""

    def pick(self, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
        """Select the ``chosen``, ``(N, K)``, of the logits that ``forward`` returned for ``items``.

        A gate overrides this if it can restrict the gradient to them; it must not bypass hooks.
        A subclass that overrides only ``forward`` does not inherit the override.
        """
        return logits.gather(1, chosen)


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

"""The base class of gates, and the construction of a gate from an option."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from ..plugins import (
    OptionError,
    Registry,
    ShowsArguments,
    arguments_of,
    fill,
    named_state,
    rebuilt,
)
from ..routing import Items

#: ``"linear"``, or ``{"name": "mlp", "hidden": 32}``.
GateSpec = str | Mapping[str, Any]


class ExpertRows(NamedTuple):
    """The rows of a linear gate, ``(R, D)``, and for each the expert whose score it gives."""

    rows: Tensor
    experts: tuple[int, ...]


class Gate(ShowsArguments, nn.Module, ABC):
    """Maps ``items`` to logits ``(N, outputs)``, in float32 or wider.

    The first two arguments of every gate are ``dim``, ``D``, and ``outputs``, the number of scores.

    Class attributes:
        per_item: an item's scores depend on that item only.
        causal: an item's scores never depend on later items of its group.
    """

    per_item: ClassVar[bool] = True
    causal: ClassVar[bool] = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for method in ("pick", "rows"):  # if inherited, they would bypass a new ``forward``
            newest = next(base for base in cls.__mro__ if {"forward", method} & vars(base).keys())
            if method not in vars(newest):
                setattr(cls, method, getattr(Gate, method))

    @abstractmethod
    def forward(self, items: Items) -> Tensor:
        """Compute logits, ``(N, outputs)``."""

    def rows(self) -> Tensor | None:
        """The matrix ``(outputs, D)`` whose products with items are the logits; None if they are
        computed otherwise. Some losses read it.
        """
        return None

    def pick(self, items: Items, logits: Tensor, chosen: Tensor) -> Tensor:
        """Gather the ``chosen`` logits, ``(N, K)``, of those that ``forward`` returned.

        A gate overrides this to back-propagate through the chosen logits only; it must not bypass
        hooks. A subclass that overrides only ``forward`` does not inherit the override.
        """
        return logits.gather(1, chosen)


def take_outputs(gate: Gate, index: Sequence[int]) -> Gate:
    """A gate whose score ``i`` is score ``index[i]`` of another.

    >>> import torch
    >>> from routers import Items
    >>> gate = build_gate("linear", 4, 3)
    >>> items = Items(torch.ones(1, 4))
    >>> take_outputs(gate, [2, 0])(items).equal(gate(items)[:, [2, 0]])
    True
    """
    outputs = arguments_of(gate)["outputs"]
    larger = dict(named_state(rebuilt(gate, outputs=outputs + 1)))
    selections = {
        name: (axis, index)
        for name, values in named_state(gate)
        for axis in range(values.dim())
        if values.shape[axis] != larger[name].shape[axis]
    }
    return fill(rebuilt(gate, outputs=len(index)), gate, selections)


GATES = Registry("gate", Gate, group="switchyard.gates", positional=2)


def build_gate(spec: GateSpec, dim: int, outputs: int, option: str = "gate") -> Gate:
    """Build the gate that ``spec`` specifies; errors name ``option``.

    >>> sum(p.numel() for p in build_gate("linear", 16, 4).parameters())
    64
    """
    options: dict[str, Any] = {"name": spec} if isinstance(spec, str) else {**spec}
    try:
        return GATES.build(options.pop("name", "linear"), dim, outputs, **options)
    except OptionError as error:
        _, dot, path = error.name.partition(".")
        raise error.about(option + dot + path, error.problem) from None

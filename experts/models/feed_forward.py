"""Feed-forward networks that are several modules of their layer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import singledispatch
from typing import Any

from torch import Tensor, nn


@dataclass(frozen=True)
class Parts:
    """A feed-forward network whose modules lie side by side in a layer.

    Attributes:
        names: of its modules, in the order in which the layer calls them. A routed layer takes
            the place of the first, and ``nn.Identity`` that of the others.
        batch_first: whether the first axis of its input is samples; else the second is.
        attributes: values that the layer has while it is routed.
    """

    names: tuple[str, ...]
    batch_first: bool = True
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def joined(self, layer: nn.Module) -> nn.Module:
        """All modules one after the other."""
        held = [_get(layer, name) for name in self.names]
        return nn.Sequential(*(each if isinstance(each, nn.Module) else Map(each) for each in held))


class Map(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@singledispatch
def parts_of(layer: nn.Module) -> Parts | None:
    """The parts of a layer's feed-forward network; None for a module that is replaced as a whole.

    Other layers are added by ``@parts_of.register`` and the type of the layer. Layers with an
    ``intermediate`` and an ``output.dense``, as that of BERT, are known by these names.
    """
    output = getattr(layer, "output", None)
    if isinstance(getattr(layer, "intermediate", None), nn.Module) and isinstance(
        getattr(output, "dense", None), nn.Linear
    ):
        return Parts(("intermediate", "output.dense"))
    return None


@parts_of.register(nn.TransformerEncoderLayer)
@parts_of.register(nn.TransformerDecoderLayer)
def _transformer_layer(
    layer: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer,
) -> Parts:
    names = ("linear1", "activation", "dropout", "linear2")
    # in evaluation an encoder layer bypasses its modules where its activation has this number
    bypass = {"activation_relu_or_gelu": 0} if hasattr(layer, "activation_relu_or_gelu") else {}
    return Parts(names, layer.self_attn.batch_first, bypass)


def _get(layer: nn.Module, name: str) -> Any:
    for part in name.split("."):
        layer = getattr(layer, part)
    return layer

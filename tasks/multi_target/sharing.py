"""What ``task.sharing`` can be: how several targets share a network."""

from collections.abc import Callable, Mapping

from torch import nn

from ..assembly.dense_control import num_parameters
from .bottoms import Bottom, SharedBottom, Single
from .mmoe import MMoE
from .network import Parts, SideBySide, Trunk
from .ple import PLE
from .views import Views

#: ``parts -> (encoder, trunk)``.
Sharing = Callable[[Parts], tuple[nn.Module, Trunk]]


def _mmoe(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), MMoE(parts)


def _ple(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), PLE(parts)


def _views(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), Views(parts)


def _shared_bottom(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), SharedBottom(_bottoms(parts, 1)[0])


def _single(parts: Parts) -> tuple[nn.Module, Trunk]:
    encoders = [parts.encoder() for _ in parts.targets]
    return SideBySide(encoders), Single(_bottoms(parts, len(encoders)))


def _bottoms(parts: Parts, number: int) -> list[Bottom]:
    """As wide as brings their parameters nearest to those of the mixture they replace."""
    wanted = num_parameters(MMoE(parts)) / number
    narrow, wide = (num_parameters(Bottom(parts.dim, parts.depth, hidden)) for hidden in (1, 2))
    hidden = max(1, 1 + round((wanted - narrow) / (wide - narrow)))
    return [Bottom(parts.dim, parts.depth, hidden) for _ in range(number)]


#: Trunks without routing have as many parameters in all as the trunk of ``mmoe`` with the same
#: settings; the encoders that ``single`` has for each target come on top.
SHARINGS: Mapping[str, Sharing] = {
    "mmoe": _mmoe,
    "ple": _ple,
    "views": _views,
    "shared_bottom": _shared_bottom,
    "single": _single,
}

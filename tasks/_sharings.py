"""What ``task.sharing`` can be: how several targets share a network."""

from collections.abc import Callable, Mapping

from torch import nn

from ._bottoms import Bottom, SharedBottom, Single
from ._control import num_parameters
from ._mmoe import MMoE
from ._ple import PLE
from ._sharing import Parts, SideBySide, Trunk
from ._views import Views

#: ``parts -> (encoder, trunk)``.
Sharing = Callable[[Parts], tuple[nn.Module, Trunk]]


def _mmoe(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), MMoE(parts)


def _ple(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), PLE(parts)


def _views(parts: Parts) -> tuple[nn.Module, Trunk]:
    return parts.encoder(), Views(parts)


def _shared_bottom(parts: Parts) -> tuple[nn.Module, Trunk]:
    encoder = parts.encoder()
    return encoder, SharedBottom(_bottom(parts, num_parameters(MMoE(parts))))


def _single(parts: Parts) -> tuple[nn.Module, Trunk]:
    encoders = [parts.encoder() for _ in parts.targets]
    total = num_parameters(encoders[0]) + num_parameters(MMoE(parts))
    each = total // len(encoders) - num_parameters(encoders[0])
    return SideBySide(encoders), Single([_bottom(parts, each) for _ in encoders])


def _bottom(parts: Parts, parameters: int) -> Bottom:
    """As wide as brings it nearest to a number of parameters; of width 1 at least."""
    narrow, wide = (num_parameters(Bottom(parts.dim, parts.depth, hidden)) for hidden in (1, 2))
    hidden = 1 + round((parameters - narrow) / (wide - narrow))
    return Bottom(parts.dim, parts.depth, max(hidden, 1))


#: Those without routing have as many parameters in all as ``mmoe`` with the same settings.
SHARINGS: Mapping[str, Sharing] = {
    "mmoe": _mmoe,
    "ple": _ple,
    "views": _views,
    "shared_bottom": _shared_bottom,
    "single": _single,
}

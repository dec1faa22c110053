"""Routers and experts that layers in succession share."""

from collections.abc import Sequence

from experts import MoE
from routers import OptionError

from ..config.layers import LayerSettings


def share_parts(
    layer: MoE, settings: LayerSettings, before: Sequence[tuple[MoE, LayerSettings]]
) -> None:
    """Give a layer the router and the experts that it shares with the last of those before it.

    ``OptionError`` if the two would have others.
    """
    for key, number in (("router", settings.moe.share_router), ("bank", settings.moe.share_bank)):
        if not len(before) % number:  # the first of those that share
            continue
        last, of_last = before[-1]
        own, other = getattr(layer, key), getattr(last, key)
        section = "router" if key == "router" else "expert"
        if layer.router.traits.needs_recorded:
            expected = "1: layers that replay routes have a router each"
            raise OptionError(f"moe.share_{key}", number, expected)
        same = getattr(settings, section) == getattr(of_last, section) and type(own) is type(other)
        if not same or (own.dim, own.num_experts) != (other.dim, other.num_experts):
            expected = f"1: layers {settings.layer - 1} and {settings.layer} differ in {section}, "
            expected += "width or number of experts"
            raise OptionError(f"moe.share_{key}", number, expected)
        setattr(layer, key, own.shared_with(other) if key == "router" else other)

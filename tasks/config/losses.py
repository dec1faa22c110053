"""Auxiliary losses in a configuration, changed by a key."""

from collections.abc import Mapping
from typing import Any


def with_loss(losses: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Losses as written, with ``losses.NAME``, or an option of a loss, set.

    >>> with_loss({"switch": 0.1}, "losses.switch.level", "step")
    {'switch': {'weight': 0.1, 'level': 'step'}}
    """
    _, name, *option = key.split(".", 2)
    if option:
        old = losses.get(name, {})
        written = old if isinstance(old, Mapping) else {"weight": old}
        value = {**written, option[0]: value}
    return {**losses, name: value}

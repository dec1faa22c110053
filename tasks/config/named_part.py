"""A part as a configuration gives it: its name, or ``{name: …, option: …}``."""

from collections.abc import Mapping
from typing import Any

from routers import OptionError


def split_part(key: str, value: Any) -> tuple[str, dict[str, Any]]:
    """Name and options of a part; ``OptionError`` about ``key`` if it has no name.

    >>> split_part("trainer.callbacks", {"name": "their:Callback", "every": 2})
    ('their:Callback', {'every': 2})
    """
    options = dict(value) if isinstance(value, Mapping) else {"name": value}
    if not isinstance(options.get("name"), str):
        expected = "a name, or {name: …, option: …}"
        raise OptionError(key, value, expected)
    return options.pop("name"), options


def split_parts(key: str, values: Any) -> list[tuple[str, dict[str, Any]]]:
    """The same of a list of parts; a single one needs no list, and null means none.

    >>> split_parts("trainer.logger", "wandb")
    [('wandb', {})]
    """
    listed = [values] if isinstance(values, str | Mapping) else values or []
    if not isinstance(listed, list | tuple):
        raise OptionError(key, values, "a list of names, or of {name: …, option: …}")
    return [split_part(key, value) for value in listed]

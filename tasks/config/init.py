"""The key ``init``: weights to start from, and edits of the network that they are of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from routers import OptionError
from routers.plugins import unknown_option

from .overrides import Change

#: The keys below ``init``; ``init=DIR`` is short for ``init.from=DIR``.
KEYS = ("from", "edits")


class Init(NamedTuple):
    """The place of weights, a run's folder, an export or a file, and a list of edits."""

    place: str
    edits: list[Any]


def read_init(value: Any) -> Init | None:
    """The value of the key ``init``; ``ConfigError`` if it is invalid, None if it is null.

    >>> read_init({"from": "runs/dense", "edits": ["upcycle"]})
    Init(place='runs/dense', edits=['upcycle'])
    """
    if value is None or isinstance(value, str):
        return Init(value, []) if value else None
    if not isinstance(value, Mapping):
        raise OptionError("init", value, "a folder, or {from: FOLDER, edits: [EDIT, …]}")
    for name in value:
        if name not in KEYS:
            raise unknown_option("init", str(name), KEYS)
    place, edits = value.get("from"), value.get("edits")
    if place is None and not edits:
        return None
    if place is None:
        raise OptionError.about("init.from", ": required by init.edits; give init.from=FOLDER")
    if not isinstance(edits, list | None):
        raise OptionError("init.edits", edits, "a list such as [{prune: {keep: 4}}]")
    return Init(str(place), edits or [])


def written_init(init: Init | None) -> Any:
    """The value as a configuration holds it: a text if there are no edits."""
    if init is None or not init.edits:
        return None if init is None else init.place
    return {"from": init.place, "edits": init.edits}


def spread_init(change: Change) -> list[Change]:
    """Changes of the keys below ``init`` in place of one of ``init`` itself; others as they are.

    >>> spread_init(("", "init", "runs/x"))
    [('', 'init', None), ('', 'init.from', 'runs/x')]
    """
    sign, key, value = change
    if key != "init" or sign == "~" or isinstance(value, dict):
        return [change]
    if value in (None, "", "null"):
        return [(sign, key, None)]
    return [("", key, None), ("", "init.from", value)]


def open_init(config: DictConfig) -> None:
    """Make ``init`` a mapping, so that keys below it can be set."""
    value = config.get("init")
    if not isinstance(value, DictConfig):
        config["init"] = {} if value is None else {"from": str(value)}


def init_of(files: list[DictConfig], changes: Mapping[str, Any]) -> Init | None:
    """The value of ``init`` after files and changes, before anything else is read."""
    found: dict[str, Any] = {}
    for file in files:
        value = OmegaConf.to_container(file).get("init")  # type: ignore[union-attr]
        if value is not None:
            found = dict(value) if isinstance(value, Mapping) else {"from": value}
    for key, value in changes.items():
        if key == "init":
            found = dict(value) if isinstance(value, Mapping) else {}
        elif key.startswith("init."):
            found[key.removeprefix("init.")] = value
    return read_init(found)

"""Composing a run's configuration: files, then the command line, then checks."""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import experts
import routers
from routers import (
    ConfigError,
    Registry,
    bad_value,
    check_options,
    fits_hint,
    hint_mismatch,
    nearest_name,
    unknown,
    unknown_option,
)

from ._schema import Config
from ._task import tasks

CONF = Path(__file__).resolve().parent.parent / "conf"

#: The configuration in a run's folder.
CONFIG = "config.yaml"

#: Sections that name a part; ``router=topk`` is short for ``router.name=topk``.
PARTS: dict[str, Registry] = {"task": tasks, "router": routers.routers, "expert": experts.banks}

#: Keys whose value is text whatever YAML makes of it: ``out=12345`` is a folder.
TEXT = ("out", "resume", "experiment")


def compose(overrides: Sequence[str], base: DictConfig | None = None) -> Config:
    """The configuration of a run.

    Args:
        overrides: ``key=value``, ``+new=value`` and ``~key``, as on the command line.
        base: what they apply to; None for the files under ``conf/``.

    Raises:
        ConfigError: for anything that cannot work, before anything is built.

    >>> compose(["router=hash", "optimizer.lr=1e-3"]).router["table"]
    'random'
    """
    # a part's name starts its options afresh, so names come first, wherever they were written
    changes = sorted(map(_parse, overrides), key=lambda change: not _names_part(change[1]))
    config = base if base is not None else _from_files(changes)
    of_losses = [change for change in changes if _head(change[1]) == "losses"]
    for change in changes:
        if change[1] != "experiment" and change not in of_losses:
            _apply(config, *change)
    typed = _typed(config)
    routers.load_plugins(typed.plugins)
    for key, registry in PARTS.items():
        _complete(key, registry, getattr(typed, key))
    typed.losses = _losses(config, of_losses, typed.router["name"])
    return typed


def to_yaml(config: Config) -> str:
    """The configuration as YAML, keys in their order."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def experiments() -> list[str]:
    """Names under ``conf/experiment``."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def load_yaml(path: Path) -> DictConfig:
    """A YAML file as a mapping."""
    try:
        loaded = OmegaConf.load(path)
    except Exception as error:  # the YAML reader raises many kinds
        raise ConfigError(f"{path}: not readable as YAML ({type(error).__name__})") from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path}: holds a list, not keys and values")
    return loaded


def user_path(text: str) -> Path:
    """A path as it was written, with ``~`` as the home folder.

    >>> user_path("runs/x").as_posix()
    'runs/x'
    """
    return Path(os.path.expanduser(text))


Change = tuple[str, str, Any]


def _parse(text: str) -> Change:
    """``+key=value`` to its sign, its key and its value."""
    sign = text[0] if text[:1] in ("+", "~") else ""
    key, equals, value = text[len(sign) :].partition("=")
    if not key or bool(equals) == (sign == "~"):
        raise ConfigError(f"{text}: expected key=value, +new=value or ~key; try --help")
    if sign == "~":
        return sign, key, None
    if key in TEXT:
        return sign, key, None if value in ("", "null") else value
    if _names_part(key) and not value.startswith(("{", "${")):
        return sign, key, value  # a name, even where YAML has another idea of it: expert=null
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except Exception as error:  # the YAML reader raises many kinds
        raise ConfigError(f"{key}={value}: not readable as YAML; quote it") from error
    assert isinstance(parsed, dict)
    return sign, key, parsed["value"]


def _names_part(key: str) -> bool:
    return key.removesuffix(".name") in PARTS


def _from_files(changes: Sequence[Change]) -> DictConfig:
    chosen = {key: value for _, key, value in changes}
    layers = [load_yaml(CONF / "base.yaml")]
    if chosen.get("experiment") is not None:
        layers.append(_experiment(chosen["experiment"]))
    task = chosen.get("task", chosen.get("task.name"))
    for layer in reversed(layers):
        task = task or OmegaConf.select(layer, "task.name")
    path = CONF / "task" / f"{task}.yaml"
    if path.exists():
        layers.insert(1, load_yaml(path))
    config = layers[0]
    for layer in layers[1:]:
        for key in PARTS:
            _forget_options(config, key, OmegaConf.select(layer, f"{key}.name"))
        config = _merge(config, layer)
    return config


def _experiment(name: str) -> DictConfig:
    """A file under ``conf/experiment`` by name, or any file by its path.

    The configuration in a run's folder says what ran, so that it can run again, elsewhere.
    """
    path = user_path(name)
    if path.suffix != ".yaml" or not path.is_file():
        if name not in experiments():
            raise unknown("experiment", name, [*experiments(), "a path ending in .yaml"])
        path = CONF / "experiment" / f"{name}.yaml"
    layer = load_yaml(path)
    if path.name == CONFIG:
        layer.pop("out", None)
    if resume := layer.pop("resume", None):
        raise ConfigError(
            f"{path}: resume={resume} in an experiment; an experiment is a new run: "
            f"remove it, or go on with python -m tasks resume={resume}"
        )
    return layer


def _merge(config: DictConfig, layer: DictConfig) -> DictConfig:
    merged = OmegaConf.merge(config, layer)
    assert isinstance(merged, DictConfig)
    return merged


def _forget_options(config: DictConfig, key: str, name: Any) -> None:
    """Options belong to the part they were set for: another name starts afresh."""
    if name is not None and OmegaConf.select(config, f"{key}.name") != name:
        config[key] = {"name": name}


def _head(key: str) -> str:
    return key.partition(".")[0]


def _apply(config: DictConfig, sign: str, key: str, value: Any) -> None:
    if _head(key) not in Config.__dataclass_fields__:
        raise _unknown_key(key, Config.__dataclass_fields__)
    if _head(key) in TEXT and _head(key) != key:
        raise ConfigError(f"{key}: {_head(key)} is a text and has no keys")
    with _explained(f"{sign}{key}={value}"):
        _change(config, sign, key, value)


def _change(config: DictConfig, sign: str, key: str, value: Any) -> None:
    exists = OmegaConf.select(config, key, default=_ABSENT) is not _ABSENT
    if sign == "+" and exists:
        raise ConfigError(f"+{key}: exists already; write {key}={value} to change it")
    if sign == "~":
        _remove(config, key, exists)
        return
    if key in PARTS and not isinstance(value, dict):
        key = f"{key}.name"
    if _names_part(key):
        _forget_options(config, key.removesuffix(".name"), value)
    OmegaConf.update(config, key, value, merge=not isinstance(value, dict), force_add=True)


_ABSENT = object()


def _remove(config: DictConfig, key: str, exists: bool) -> None:
    if not exists:
        raise ConfigError(f"~{key}: there is no such key to remove")
    parent, _, leaf = key.rpartition(".")
    holder = OmegaConf.select(config, parent) if parent else config
    del holder[leaf]


def _typed(config: DictConfig) -> Config:
    """The configuration with every key there and of its type; sections are checked as parts are."""
    with _explained():  # ${a.key} that is not there
        OmegaConf.resolve(config)
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    hints = get_type_hints(Config)
    for name in values:
        if name not in hints:
            raise _unknown_key(str(name), hints)
    for name, hint in hints.items():
        if name not in values:
            raise ConfigError(f"{name}: required; it is in conf/base.yaml")
        _check_type(name, values[name], dict if is_dataclass(hint) else hint)
        if is_dataclass(hint):
            check_options(name, hint, values[name], skip=0)  # type: ignore[arg-type]
    with _explained():
        typed = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), config))
    assert isinstance(typed, Config)
    return typed


@contextmanager
def _explained(setting: str = "") -> Iterator[None]:
    """What OmegaConf refuses inside, as an error about the setting."""
    try:
        yield
    except OmegaConfBaseException as error:
        place = setting or error.full_key
        raise ConfigError(f"{place}: {str(error).splitlines()[0]}") from error


def _check_type(key: str, value: Any, hint: Any) -> None:
    if not fits_hint(value, hint):
        raise ConfigError(f"{key}={value}: {hint_mismatch(value, hint)}")


def _unknown_key(key: str, allowed: Iterable[str]) -> ConfigError:
    return ConfigError(f"{key}: {nearest_name(_head(key), [*allowed, 'experiment'])}")


def _complete(key: str, registry: Registry, section: dict[str, Any]) -> None:
    """Check the options of a part and write its defaults beside them."""
    if "name" not in section:
        raise ConfigError(f"{key}.name: required; allowed: {', '.join(registry.available())}")
    name = section["name"]
    given = {option: value for option, value in section.items() if option != "name"}
    registry.get_part(name)
    registry.check_options(name, given)
    section.update({**registry.options(name), **given})


def _losses(config: DictConfig, changes: Sequence[Change], router: str) -> dict[str, float]:
    """Balance terms and weights: the router's own unless named, then the changes in order."""
    own: Any = getattr(routers.routers.get_part(router), "balance", {})
    for sign, key, value in changes:
        if config.get("losses") is None:
            config["losses"] = dict(own)
        if (sign, key) == ("~", "losses"):
            sign, value = "", {}
        _apply(config, sign, key, value)
    weights = OmegaConf.to_container(config).get("losses")  # type: ignore[union-attr]
    weights = dict(own) if weights is None else weights
    _check_type("losses", weights, dict)
    for name, weight in weights.items():
        if name not in routers.losses.available():
            raise unknown_option("losses", name, routers.losses.available())
        _check_type(f"losses.{name}", weight, float)
        if not math.isfinite(weight):
            raise bad_value(f"losses.{name}", weight, "a finite number")
    return {name: float(weight) for name, weight in weights.items()}

"""Composing a run's configuration: files, then the command line, then checks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

import experts
import routers
from routers import ConfigError, Registry
from routers._errors import unknown

from ._schema import Config
from ._task import tasks

CONF = Path(__file__).resolve().parent.parent / "conf"

#: Sections that name a part; ``router=topk`` is short for ``router.name=topk``.
PARTS: dict[str, Registry] = {"task": tasks, "router": routers.routers, "expert": experts.banks}


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
    changes = [_parse(text) for text in overrides]
    config = base if base is not None else _from_files(changes)
    for change in changes:
        if change[1] != "experiment":
            _apply(config, *change)
    typed = _typed(config)
    routers.load_plugins(typed.plugins)
    for key, registry in PARTS.items():
        _complete(key, registry, getattr(typed, key))
    _complete_losses(typed)
    return typed


def to_yaml(config: Config) -> str:
    """The configuration as YAML, keys in their order."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def experiments() -> list[str]:
    """Names under ``conf/experiment``."""
    return sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))


def load_yaml(path: Path) -> DictConfig:
    """A YAML file as a mapping."""
    loaded = OmegaConf.load(path)
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path}: holds a list, not keys and values")
    return loaded


Change = tuple[str, str, Any]


def _parse(text: str) -> Change:
    """``+key=value`` to its sign, its key and its value."""
    sign = text[0] if text[:1] in ("+", "~") else ""
    key, equals, value = text[len(sign) :].partition("=")
    if not key or (sign != "~" and not equals):
        raise ConfigError(f"{text}: expected key=value, +new=value or ~key; try --help")
    if sign == "~":
        return sign, key, None
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except Exception as error:  # the YAML reader raises many kinds
        raise ConfigError(f"{key}={value}: not readable as YAML; quote it") from error
    assert isinstance(parsed, dict)
    return sign, key, parsed["value"]


def _from_files(changes: Sequence[Change]) -> DictConfig:
    chosen = {key: value for _, key, value in changes}
    files = [CONF / "base.yaml"]
    experiment = chosen.get("experiment")
    if experiment is not None:
        if experiment not in experiments():
            raise unknown("experiment", experiment, experiments())
        files.append(CONF / "experiment" / f"{experiment}.yaml")
    layers = [load_yaml(path) for path in files]
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


def _merge(config: DictConfig, layer: DictConfig) -> DictConfig:
    merged = OmegaConf.merge(config, layer)
    assert isinstance(merged, DictConfig)
    return merged


def _forget_options(config: DictConfig, key: str, name: Any) -> None:
    """Options belong to the part they were set for: another name starts afresh."""
    if name is not None and OmegaConf.select(config, f"{key}.name") != name:
        config[key] = {"name": name}


def _apply(config: DictConfig, sign: str, key: str, value: Any) -> None:
    head = key.split(".")[0]
    allowed = list(Config.__dataclass_fields__)
    if head not in allowed:
        raise unknown(key, value, [*allowed, "experiment"])
    exists = OmegaConf.select(config, key, default=_ABSENT) is not _ABSENT
    if sign == "+" and exists:
        raise ConfigError(f"+{key}: exists already; write {key}={value} to change it")
    if sign == "~":
        if not exists:
            raise ConfigError(f"~{key}: there is no such key to remove")
        parent, _, leaf = key.rpartition(".")
        holder = OmegaConf.select(config, parent) if parent else config
        del holder[leaf]
        return
    if key in PARTS and not isinstance(value, dict):
        key = f"{key}.name"
    if key.removesuffix(".name") in PARTS:
        _forget_options(config, key.removesuffix(".name"), value)
    if head == "losses" and config.get("losses") is None:
        config["losses"] = {}
    OmegaConf.update(config, key, value, merge=not isinstance(value, dict), force_add=True)


_ABSENT = object()


def _typed(config: DictConfig) -> Config:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Config), config)
        typed = OmegaConf.to_object(merged)
    except ConfigKeyError as error:
        parent, _, leaf = (error.full_key or "").rpartition(".")
        holder = Config.__dataclass_fields__
        if parent:
            holder = holder[parent].default_factory.__dataclass_fields__  # type: ignore[union-attr]
        value = OmegaConf.select(config, error.full_key or "")
        raise unknown(f"{parent}.{leaf}" if parent else leaf, value, holder) from error
    except ValidationError as error:
        value = OmegaConf.select(config, error.full_key or "")
        wanted = getattr(error.ref_type, "__name__", None) or str(error.ref_type)
        raise ConfigError(
            f"{error.full_key}={value}: expected {_plain(str(error.msg), wanted)}"
        ) from error
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    assert isinstance(typed, Config)
    return typed


def _plain(message: str, wanted: str) -> str:
    for word, name in {"Integer": "int", "Float": "float", "Boolean": "bool"}.items():
        if word in message:
            return f"{name}"
    return wanted


def _complete(key: str, registry: Registry, section: dict[str, Any]) -> None:
    """Check the options of a part and write its defaults beside them."""
    if "name" not in section:
        raise ConfigError(f"{key}.name: required; allowed: {', '.join(registry.available())}")
    name = section["name"]
    given = {option: value for option, value in section.items() if option != "name"}
    registry.get_part(name)
    registry.check_options(name, given)
    section.update({**registry.options(name), **given})


def _complete_losses(config: Config) -> None:
    if config.losses is None:
        part: Any = routers.routers.get_part(config.router["name"])
        config.losses = dict(part.balance)
    for name in config.losses:
        if name not in routers.losses:
            raise unknown(f"losses.{name}", config.losses[name], routers.losses.available())

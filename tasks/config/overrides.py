"""``key=value``, ``+new=value`` and ``~key`` over a configuration, checked against a schema."""

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from dataclasses import is_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from routers import ConfigError
from routers.plugins import check_options, check_type, defaults

#: Sign, key and value.
Change = tuple[str, str, Any]

S = TypeVar("S")

_ABSENT = object()


def parse(text: str, texts: Container[str], is_name: Callable[[str], bool]) -> Change:
    """``+key=value`` to its sign, its key and its value.

    Values of keys in ``texts`` are text whatever YAML makes of them, and so are names, and
    patterns of files such as ``*.csv``, an alias in YAML.

    >>> parse("a.b=[1, x]", texts=(), is_name=lambda key: False)
    ('', 'a.b', [1, 'x'])
    """
    sign = text[0] if text[:1] in ("+", "~") else ""
    key, equals, value = text[len(sign) :].partition("=")
    if not key or bool(equals) == (sign == "~"):
        raise ConfigError(f"{text}: expected key=value, +new=value or ~key; try --help")
    if sign == "~":
        return sign, key, None
    if key in texts:
        return sign, key, None if value in ("", "null") else value
    if (is_name(key) and not value.startswith(("{", "${"))) or value.startswith("*"):
        return sign, key, value
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except Exception as error:  # the YAML reader raises many kinds
        raise ConfigError(f"{key}={value}: not readable as YAML; quote it") from error
    assert isinstance(parsed, dict)
    return sign, key, parsed["value"]


def load_yaml(path: Path) -> DictConfig:
    """A YAML file as a mapping."""
    try:
        loaded = OmegaConf.load(path)
    except Exception as error:  # the YAML reader raises many kinds
        mark = getattr(error, "problem_mark", None)
        place = path if mark is None else f"{path}, line {mark.line + 1}"
        problem = getattr(error, "problem", None) or (str(error).splitlines() or [""])[0]
        raise ConfigError(
            f"{place}: not readable as YAML ({problem or type(error).__name__}); correct the file; "
            "text with a colon, a bracket or # needs quotes"
        ) from error
    if not isinstance(loaded, DictConfig):
        raise ConfigError(f"{path}: holds a list, not keys and values")
    return loaded


def change(config: DictConfig, sign: str, key: str, value: Any) -> None:
    """Set, add (``+``) or remove (``~``) a key."""
    exists = OmegaConf.select(config, key, default=_ABSENT) is not _ABSENT
    if sign == "+" and exists:
        raise ConfigError(f"+{key}: exists already; write {key}={value} to change it")
    if sign == "~" and not exists:
        raise ConfigError(f"~{key}: there is no such key to remove")
    if sign == "~":
        parent, _, leaf = key.rpartition(".")
        del (OmegaConf.select(config, parent) if parent else config)[leaf]
    else:
        OmegaConf.update(config, key, value, merge=False, force_add=True)


def typed(
    config: DictConfig, schema: type[S], file: str, unknown: Callable[[str], ConfigError]
) -> S:
    """The configuration with every key there and of its type; sections are checked as parts are.

    Errors name ``file``, which holds all values; ``unknown`` makes those for unknown keys.
    """
    with explained():  # ${a.key} that is not there
        OmegaConf.resolve(config)
    values = OmegaConf.to_container(config)
    assert isinstance(values, dict)
    hints = get_type_hints(schema)
    for name in values:
        if name not in hints:
            raise unknown(str(name))
    given = defaults(schema, skip=0)
    for name, hint in hints.items():
        if name not in values and given[name] is not Parameter.empty:
            continue
        if name not in values:
            raise ConfigError(f"{name}: required; it is in {file}")
        check_type(name, values[name], dict if is_dataclass(hint) else hint)
        if is_dataclass(hint):
            check_options(name, hint, values[name], skip=0)  # type: ignore[arg-type]
    with explained():
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))
    assert isinstance(made, schema)
    return made


@contextmanager
def explained(setting: str = "") -> Iterator[None]:
    """Turn errors of OmegaConf into a ``ConfigError`` about the setting."""
    try:
        yield
    except OmegaConfBaseException as error:
        place = setting or error.full_key
        raise ConfigError(f"{place}: {str(error).splitlines()[0]}") from error

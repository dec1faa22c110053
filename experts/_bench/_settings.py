"""The keys of the command, and reading them."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, get_args, get_type_hints

from omegaconf import OmegaConf

from routers import ConfigError
from routers.plugins import fits_hint, hint_mismatch, nearest_name


def _key(default: Any, about: str) -> Any:
    return field(default=default, metadata={"about": about})


@dataclass(frozen=True)
class Settings:
    """What to measure and how; ``check`` says whether it can work."""

    device: str = _key("cpu", "where it runs: cpu, cuda")
    dtype: str = _key("float32", "of inputs and parameters: float32, bfloat16")
    over: str = _key(
        "shapes",
        "shapes: contestants side by side at several shapes; experts: cost as E grows to 4096",
    )
    shapes: Sequence[int] = _key((1, 2, 3, 4, 5, 6), "which shapes, such as 1,4")
    rounds: int = _key(30, "measured rounds, after 8 of warm-up")
    threads: int | None = _key(None, "CPU threads; null for torch's choice")
    allocator: str = _key("tuned", "tuned: experts.tune_allocator() first; default: as it is")
    seed: int = _key(0, "of weights and batches")
    skew: float | None = _key(
        None, "also topk with this load on its busiest expert, relative to the mean; 1 to E/K"
    )
    contestants: Sequence[str] | None = _key(
        None, "which, such as loop,st_moe; dense and topk always run; null for all"
    )
    out: str = _key("runs/bench", "folder for the table (CSV), the plot and the environment")


def parse(texts: Sequence[str]) -> Settings:
    """Settings from ``key=value`` texts; a later one wins.

    Raises:
        ConfigError: for a key that does not exist or a value of another type.

    >>> parse(["shapes=1,4", "rounds=5"]).shapes
    (1, 4)
    """
    return Settings(**dict(_read(text) for text in texts))


def describe() -> str:
    """Every key with its default and what it is for."""
    lines = [f"{key.name}={_shown(key.default)}" for key in fields(Settings)]
    width = max(map(len, lines))
    return "\n".join(
        f"  {line:{width}}  {key.metadata['about']}"
        for line, key in zip(lines, fields(Settings), strict=True)
    )


def _read(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    hints = get_type_hints(Settings)
    if not equals:
        raise ConfigError(f"{text}: expected key=value; try --help")
    if key not in hints:
        raise ConfigError(f"{key}: {nearest_name(key, hints)}")
    if key == "out":
        return key, value  # text, whatever YAML makes of it
    parsed = _yaml(key, value, hints[key])
    if not fits_hint(parsed, hints[key]):
        raise ConfigError(f"{key}={value}: {hint_mismatch(parsed, hints[key])}")
    return key, tuple(parsed) if isinstance(parsed, list) else parsed


def _yaml(key: str, value: str, hint: Any) -> Any:
    """A value as YAML reads it; ``1,2`` is a list where the key takes one."""
    listed = any(fits_hint([], part) for part in get_args(hint) or ()) or fits_hint([], hint)
    if listed and value != "null" and not value.startswith("["):
        value = f"[{value}]"
    try:
        parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
    except Exception as error:  # the YAML reader raises many kinds
        raise ConfigError(f"{key}={value}: not readable as YAML; quote it") from error
    assert isinstance(parsed, dict)
    return parsed["value"]


def _shown(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return "null" if default is None else str(default)

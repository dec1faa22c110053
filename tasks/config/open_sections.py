"""Sections that also take options of what they configure: of Lightning's Trainer, an optimizer."""

from dataclasses import fields
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from .schema import OptimizerConfig, TrainerConfig


class OpenSection(NamedTuple):
    """A section: its own keys, and the key that holds all others once it is read."""

    own: frozenset[str]
    rest: str


def _section(schema: type, rest: str) -> OpenSection:
    return OpenSection(frozenset(field.name for field in fields(schema)) - {rest}, rest)


OPEN_SECTIONS = {
    "trainer": _section(TrainerConfig, "lightning"),
    "optimizer": _section(OptimizerConfig, "options"),
}


def nest_options(config: DictConfig) -> None:
    """Move keys that are not a section's own below one key: ``trainer.OPTION`` to ``lightning``."""
    for name, (own, rest) in OPEN_SECTIONS.items():
        section = config.get(name)
        if isinstance(section, DictConfig):
            given = OmegaConf.to_container(section)
            assert isinstance(given, dict)
            others = {str(key): given.pop(key) for key in [*given] if key not in own}
            config[name] = {**given, rest: others}


def flatten_options(values: dict[str, Any]) -> None:
    """Undo ``nest_options`` in a configuration of plain values."""
    for name, (_, rest) in OPEN_SECTIONS.items():
        values[name].update(values[name].pop(rest))

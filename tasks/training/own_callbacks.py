"""Callbacks of Lightning that a configuration names."""

from typing import Any

from lightning.pytorch import Callback

from routers import OptionError
from routers.plugins import Registry

from ..config.named_part import split_parts
from .backup import BackupExperts
from .revival import ReviveExperts

KEY = "trainer.callbacks"

CALLBACKS: Registry[Callback] = Registry(KEY, Callback, group="switchyard.callbacks")
CALLBACKS.register("backup")(BackupExperts)
CALLBACKS.register("revive")(ReviveExperts)


def build_callbacks(values: Any) -> list[Callback]:
    """The callbacks of a configuration; ``ConfigError`` for what cannot work.

    >>> options = {"name": "lightning.pytorch.callbacks:Timer", "duration": "00:00:01:00"}
    >>> build_callbacks([options])[0].time_remaining()
    60.0
    """
    built = []
    for name, options in split_parts(KEY, values):
        if ":" not in name and name not in CALLBACKS.available():
            known = "".join(f"{each}, or " for each in CALLBACKS.available())
            expected = f"{known}module:Class, as in lightning.pytorch.callbacks:Timer"
            raise OptionError(KEY, name, expected)
        try:
            built.append(CALLBACKS.build(name, **options))
        except OptionError:
            raise
        except Exception as error:  # of code from outside
            problem = f"={name}: {type(error).__name__}: {error}"
            raise OptionError.about(KEY, problem) from error
    return built

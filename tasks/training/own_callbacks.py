"""Callbacks of Lightning that a configuration names."""

from typing import Any

from lightning.pytorch import Callback

from routers import OptionError
from routers.plugins import Registry

from .._task import Backbone
from ..config.named_part import split_parts
from ..config.schema import TrainerConfig
from .backup import BackupExperts
from .callbacks import OnExperts
from .fully_sharded import FullySharded
from .revival import ReviveExperts
from .strategies import find_strategy

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


def check_callbacks(trainer: TrainerConfig, backbone: Backbone) -> None:
    """Raise ``ConfigError`` for callbacks that cannot work on a network, before it is trained."""
    changing = [each for each in build_callbacks(trainer.callbacks) if isinstance(each, OnExperts)]
    if changing and isinstance(find_strategy(trainer).build(), FullySharded):
        raise OptionError.about(
            KEY, f"={trainer.callbacks}: works with whole parameters; use trainer.strategy=ddp"
        )
    for each in changing:
        each.check(backbone)

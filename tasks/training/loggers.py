"""Logs in addition to ``metrics.csv``: TensorBoard, Weights & Biases, MLflow, or another logger."""

import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from routers import ConfigError
from routers.plugins import Registry, check_options, defaults, unknown_option

from ..config.named_part import split_parts
from ..readers import check_installed

KEY = "trainer.logger"

#: Loggers by name; ``module:Class`` names any other, such as one of ``lightning.pytorch.loggers``.
LOGGERS: Registry[Logger] = Registry(KEY, Logger, group="switchyard.loggers")

LOGGERS.register("tensorboard")(TensorBoardLogger)
LOGGERS.register("wandb")(WandbLogger)
LOGGERS.register("mlflow")(MLFlowLogger)

#: Options that differ from the loggers' own defaults, for the folder of a run.
_DEFAULTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "tensorboard": lambda folder: {
        "run_name": "",
        "version": "tensorboard",
        "default_hp_metric": False,
    },
    "wandb": lambda folder: {"run_name": folder.name, "project": "switchyard"},
    "mlflow": lambda folder: {
        "run_name": folder.name,
        "experiment_name": "switchyard",
        "tracking_uri": os.environ.get("MLFLOW_TRACKING_URI"),
        "save_dir": str(folder / "mlruns"),
    },
}

#: The option by which a logger continues its run, for those that give runs identifiers.
_ID_OPTIONS = {"wandb": "id", "mlflow": "run_id"}

#: Loggers that need an extra: the name is that of the module and of the extra.
_EXTRAS = ("wandb", "mlflow")

#: Functions to which loggers pass options that are not theirs.
_FORWARDS: dict[str, Callable[[], Any]] = {
    "tensorboard": lambda: import_module("torch.utils.tensorboard").SummaryWriter,
    "wandb": lambda: import_module("wandb").init,
}

#: Identifiers of the run in other systems, in its folder.
IDS = "loggers.json"


def _named(values: Any) -> list[tuple[str, dict[str, Any]]]:
    """Names and options of loggers; ``csv`` stands for ``metrics.csv``, which every run has."""
    return [part for part in split_parts(KEY, values) if part != ("csv", {})]


@cache
def _factory(logger: Any) -> Any:
    """A function that makes a logger, with ``run_name`` for the option ``name`` of its class.

    In a configuration ``name`` names the class itself.

    >>> _factory(TensorBoardLogger)(save_dir="logs", run_name="mine").name
    'mine'
    """
    signature = inspect.signature(logger)
    if "name" not in signature.parameters or "run_name" in signature.parameters:
        return logger

    @wraps(logger.__init__)
    def make(**options: Any) -> Any:
        named = {"name": options.pop("run_name")} if "run_name" in options else {}
        return logger(**options, **named)

    ours = {"name": "run_name"}
    shown = [p.replace(name=ours.get(p.name, p.name)) for p in signature.parameters.values()]
    hints = {ours.get(name, name): hint for name, hint in make.__annotations__.items()}
    vars(make)["__signature__"] = signature.replace(parameters=shown)
    make.__annotations__ = hints
    return make


def check_loggers(values: Any) -> None:
    """Raise ``ConfigError`` for an unknown logger, an unknown option, or a missing package."""
    for name, options in _named(values):
        logger = _factory(LOGGERS.get_part(name))
        if name in _EXTRAS:
            check_installed(name, name, f"{KEY}={name}")
        known = defaults(logger, skip=0)
        kinds = {each.kind for each in inspect.signature(logger).parameters.values()}
        further = {each: options[each] for each in options if each not in known}
        if name in _FORWARDS and further:
            names = [*known, *sorted(defaults(_FORWARDS[name](), skip=0).keys() - {"name"})]
            for each in further:
                if each not in names:
                    raise unknown_option(f"{KEY}.{name}", each, names)
        elif inspect.Parameter.VAR_KEYWORD not in kinds:
            further = {}
        required = {each for each, value in known.items() if value is inspect.Parameter.empty}
        given_later = dict.fromkeys(required & {"save_dir"}, "")
        checked = {each: options[each] for each in options if each not in further}
        check_options(f"{KEY}.{name}", logger, {**given_later, **checked}, skip=0)


def build_loggers(
    values: Any, folder: Path, settings: Mapping[str, Any], new: bool
) -> list[Logger]:
    """The loggers that a configuration names, without ``metrics.csv``, which every run has.

    Args:
        values: names, or names with options.
        folder: of the run; files of loggers lie in it.
        settings: the configuration, which a logger stores with a run.
        new: whether the run starts; a resumed one continues what its loggers hold.

    Raises:
        ConfigError: if one does not start; those before it are ended.
    """
    loggers, ids = list[Logger](), dict[str, str]()
    known = {} if new or not (folder / IDS).exists() else json.loads((folder / IDS).read_text())
    for name, options in _named(values):
        factory = _factory(LOGGERS.get_part(name))
        place = {"save_dir": folder} if "save_dir" in defaults(factory, skip=0) else {}
        preset = _DEFAULTS[name](folder) if name in _DEFAULTS else {}
        resumed = {_ID_OPTIONS[name]: known[name]} if name in known else {}
        try:
            logger = factory(**{**place, **preset, **resumed, **options})
            started = getattr(logger, "experiment", None)  # which it starts
            if new:
                logger.log_hyperparams(settings)
        except Exception as error:  # of code from outside
            with suppress(Exception), closing(loggers):
                for each in loggers:
                    each.finalize("failed")
            problem = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(
                f"{KEY}={name}: does not start: {problem}; start its server, or correct its folder "
                f"or environment, and continue with python -m tasks resume={folder}; or start a "
                f"new run without it ({KEY}=csv) or with other options, and another out"
            ) from error
        if name in _ID_OPTIONS and started is not None:
            ids[name] = str(logger.version)
        loggers.append(logger)
    if ids:
        part = folder / f"{IDS}.part"
        part.write_text(json.dumps(ids), encoding="utf-8")
        os.replace(part, folder / IDS)
    return loggers


@contextmanager
def closing(loggers: Sequence[Logger]) -> Iterator[None]:
    """End what loggers keep open, so that the next run of this process has its own."""
    try:
        yield
    finally:
        for logger in loggers:
            finish = getattr(getattr(logger, "experiment", None), "finish", None)
            if finish is not None:
                finish()

"""A run's folder: made before training, never overwritten, written by renames."""

import json
import math
import os
import platform
from datetime import datetime
from importlib.metadata import version
from itertools import chain, count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from routers import ConfigError

from ._config import to_yaml
from ._schema import Config

RESULT = "result.json"
CONFIG = "config.yaml"
METRICS = "metrics.csv"


def open_folder(config: Config) -> Path:
    """The new, empty folder of a run.

    Raises:
        ConfigError: where it cannot be written, or holds a run already.
    """
    out = Path(config.out) if config.out else _unused(config)
    if (out / RESULT).exists():
        raise ConfigError(f"out={out}: holds a finished run; choose another out, or remove it")
    if (out / CONFIG).exists():
        raise ConfigError(
            f"out={out}: holds an unfinished run; go on with resume={out}, or choose another out"
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / CONFIG, to_yaml(config))
    except OSError as error:
        raise ConfigError(f"out={out}: cannot be written ({error.strerror})") from error
    return out


def existing_folder(path: str) -> Path:
    """The folder of a run to resume.

    Raises:
        ConfigError: where there is no run in it.
    """
    folder = Path(path)
    if not (folder / CONFIG).exists():
        raise ConfigError(f"resume={folder}: no run is there (no {CONFIG} in it)")
    return folder


def last_checkpoint(folder: Path, model: nn.Module) -> Path | None:
    """The checkpoint to go on from, or None where a run stopped before its first.

    Args:
        folder: of the run.
        model: what the checkpoint must fit.

    Raises:
        ConfigError: where the checkpoint is gone or damaged, or is another model's.
    """
    path = folder / "checkpoints" / "last.ckpt"
    if not path.exists():
        begun = path.parent.exists() and not list(path.parent.iterdir())
        if begun or (folder / METRICS).exists():  # the first checkpoint comes before any metric
            raise ConfigError(f"resume={folder}: {path} is missing; start anew with another out")
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        held = {name: values.shape for name, values in saved["state_dict"].items()}
    except Exception as error:  # zip, pickle, end of file … all mean the same to the user
        raise ConfigError(
            f"resume={folder}: {path} cannot be read ({type(error).__name__}); "
            "it is damaged: start anew with another out"
        ) from error
    if held != {name: values.shape for name, values in model.state_dict().items()}:
        raise ConfigError(
            f"resume={folder}: {path} holds another model than {CONFIG} describes; "
            "start anew with another out"
        )
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    os.replace(part, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity become null, for JSON has neither."""
    write_text(path, json.dumps(_json_safe(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds."""
    return json.loads(path.read_text())


def _json_safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_safe(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """What a number depends on beside the configuration."""
    names = ("torch", "lightning", "torchmetrics", "omegaconf", "numpy", "scikit-learn")
    found = {name: version(name) for name in ("switchyard", *names)}
    return {"python": platform.python_version(), **found}


def _unused(config: Config) -> Path:
    """A folder under ``runs/`` that is not there yet, named after the run and the time."""
    parts = (config.task["name"], config.router["name"], config.expert["name"])
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{'-'.join(p.replace(':', '.') for p in parts)}-s{config.seed}-{stamp}"
    names = chain([name], (f"{name}-{again}" for again in count(2)))
    return next(path for path in (Path("runs") / name for name in names) if not path.exists())

"""A run's folder: made before training, never overwritten, written by renames."""

import fcntl
import json
import math
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from routers import ConfigError

from ..config.compose import CONFIG, to_yaml, user_path
from ..config.schema import Config, arm_name

RESULT = "result.json"
METRICS = "metrics.csv"
CHECKPOINT = Path("checkpoints", "last.ckpt")
COMMAND = "command.txt"
LOCK = "lock"


@contextmanager
def new_run_dir(config: Config) -> Iterator[Path]:
    """The new folder of a run, held for this process; ``ConfigError`` if it holds anything."""
    with _writing(f"out={config.out}"):
        out = _unused(config) if config.out is None else user_path(config.out)
        out.mkdir(parents=True, exist_ok=True)
    _refuse_used(out)
    with locked(f"out={out}", out):
        _refuse_used(out)  # another run may have been faster
        with _writing(f"out={out}"):
            write_text(out / CONFIG, to_yaml(config))
        yield out


@contextmanager
def locked(setting: str, folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it however this one ends.

    If another process holds it, the ``ConfigError`` names the setting.
    """
    with _writing(setting):
        file = (folder / LOCK).open("a")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"{setting}: another process trains there now; wait for it, or choose another out"
            ) from error
        yield


def note_start(folder: Path, config: Config, arguments: Sequence[str]) -> None:
    """Store the configuration that runs from now on, and how it was started or resumed."""
    text = to_yaml(config)
    if (folder / CONFIG).read_text(encoding="utf-8") != text:
        write_text(folder / CONFIG, text)
    with (folder / COMMAND).open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(shlex.join(["python", "-m", "tasks", *arguments]) + "\n")


def last_checkpoint(folder: Path, model: nn.Module) -> Path | None:
    """The checkpoint to resume from, or None if a run stopped before its first.

    ``ConfigError`` if the checkpoint is missing or corrupt, or belongs to another model.
    """
    path, cure = folder / CHECKPOINT, "start a new run with another out"
    if not path.exists():
        # it comes before any metric, and its folder comes with it
        if path.parent.exists() or (folder / METRICS).exists():
            raise ConfigError(f"resume={folder}: {path} is missing; {cure}")
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        shapes = {name: values.shape for name, values in saved["state_dict"].items()}
    except Exception as error:  # zip, pickle, end of file … all mean the same to the user
        raise ConfigError(
            f"resume={folder}: {path} cannot be read ({type(error).__name__}); "
            f"the file is corrupt: {cure}"
        ) from error
    if shapes != {name: values.shape for name, values in model.state_dict().items()}:
        problem = f"holds another model than {CONFIG} describes"
        raise ConfigError(f"resume={folder}: {path} {problem}; {cure}")
    return path


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    part.write_text(text, encoding="utf-8")  # whatever the locale's is
    os.replace(part, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity become null, for JSON has neither."""
    write_text(path, json.dumps(_json_safe(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def _json_safe(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json_safe(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_json_safe(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """Versions of everything else that results depend on."""
    names = ("torch", "lightning", "torchmetrics", "omegaconf", "numpy", "scikit-learn")
    found = {"python": platform.python_version()}
    for name in ("switchyard", *names):
        found[name] = "not installed"
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def _writing(setting: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{setting}: cannot be written ({error.strerror})") from error


def _refuse_used(out: Path) -> None:
    names = {path.name for path in out.iterdir()}
    if RESULT in names:
        raise ConfigError(f"out={out}: holds a finished run; choose another out, or remove it")
    if CONFIG in names:
        cure = f"continue it with resume={out}, or choose another out"
        raise ConfigError(f"out={out}: holds an unfinished run; {cure}")
    if names - {LOCK}:
        problem = f"is not empty, and a run would write over {min(names - {LOCK})} and such"
        raise ConfigError(f"out={out}: {problem}; choose another out")


def _unused(config: Config) -> Path:
    """A new folder under ``runs/``, named after the run and the time."""
    parts = (config.task["name"], arm_name(config), config.expert["name"])
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{'-'.join(p.replace(':', '.') for p in parts)}-s{config.seed}-{stamp}"
    for number in count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):  # of a run that began in the same second
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable: there is always another number")

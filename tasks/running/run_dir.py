"""A run's folder: made before training, never overwritten, written by renames."""

import csv
import json
import math
import os
import platform
import shlex
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError

from .._task import Data
from ..config.compose import CONFIG, to_yaml, user_path
from ..config.layers import arm_name, part_name
from ..config.schema import Config
from ..loading.batches import Rank
from .checkpoint_parts import load_parts, shapes_of_parts
from .file_lock import file_lock

#: Format of the JSON and YAML files of runs and sweeps; higher where a key changes its meaning.
FORMAT = 1

RESULT = "result.json"
METRICS = "metrics.csv"
CHECKPOINT = Path("checkpoints", "last.ckpt")
COMMAND = "command.txt"

#: Name and hashes of the data that a run reads.
DATA = "data.json"

#: Record of the edits by which a run's folder was made from another, next to its weights.
EDITS = "edits.yaml"
PROGRAM = ("python", "-m", "tasks")
LOCK = "lock"

#: A lock that the first of several processes holds: those of a killed run end before it resumes.
RANKS = "ranks.lock"


@contextmanager
def new_run_dir(config: Config) -> Iterator[Path]:
    """The new folder of a run, held for this process; ``ConfigError`` if it holds anything."""
    with writing(f"out={config.out}"):
        out = _unused(config) if config.out is None else user_path(config.out)
        out.mkdir(parents=True, exist_ok=True)
    _refuse_used(out)
    with locked(f"out={out}", out):
        _refuse_used(out)  # another run may have been faster
        with writing(f"out={out}"):
            write_text(out / CONFIG, to_yaml(config))
        yield out


def check_unused(config: Config) -> None:
    """Raise ``ConfigError`` if the folder of a new run exists and holds anything."""
    if config.out is not None and (out := user_path(config.out)).exists():
        with writing(f"out={config.out}"):
            _refuse_used(out)


@contextmanager
def locked(setting: str, folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder; the system lets go of it however this one ends.

    If another process holds it, the ``ConfigError`` names the setting.
    """
    with ExitStack() as held:
        with writing(setting):
            try:
                held.enter_context(file_lock(folder / LOCK, wait=False))
            except BlockingIOError as error:
                cure = "wait for it, or choose another out"
                raise ConfigError(f"{setting}: another process trains there now; {cure}") from error
        yield


@contextmanager
def ranks_lock(folder: Path, rank: Rank) -> Iterator[None]:
    """Wait until the processes of a killed run have ended."""
    with file_lock(folder / RANKS) if rank.rank == 0 else nullcontext():
        yield


def note_start(folder: Path, config: Config, arguments: Sequence[str]) -> None:
    """Store the configuration that runs from now on, and how it was started or resumed."""
    text = to_yaml(config)
    if (folder / CONFIG).read_text(encoding="utf-8") != text:
        write_text(folder / CONFIG, text)
    with (folder / COMMAND).open("a", encoding="utf-8", errors="surrogateescape") as file:
        file.write(shlex.join([*PROGRAM, *arguments]) + "\n")


def note_data(folder: Path, data: Data) -> None:
    """Store which data a run reads; ``ConfigError`` if the run began with other data."""
    now = {"name": data.name, "sha256": data.sha256, "split_sha256": data.split_sha256}
    path = folder / DATA
    if not path.exists():  # the run is new
        write_json(path, now)
        return
    then = read_json(path)
    for name in ("sha256", "split_sha256"):
        if then[name] != now[name]:
            raise ConfigError(
                f"{folder}: the data ({data.name}) has changed since the run began, or the "
                f"tokenizer: {name} was {then[name]} and is {now[name]}; restore it, or start a "
                "new run"
            )


def first_arguments(folder: Path) -> list[str] | None:
    """The arguments with which a run was started; None if it was stopped before it noted them."""
    path = folder / COMMAND
    if not path.exists():
        return None
    text = path.read_text(encoding="utf-8", errors="surrogateescape")
    return shlex.split(text.splitlines()[0])[len(PROGRAM) :]


def set_result_aside(folder: Path) -> None:
    """Rename the result of a run that continues after its time limit, if there is one."""
    path = folder / RESULT
    if path.exists():
        seconds = read_json(path)["compute"]["train_seconds"]
        os.replace(path, path.with_stem(f"{path.stem}-{seconds:.0f}s"))


def last_checkpoint(folder: Path, model: nn.Module) -> Path | None:
    """The checkpoint to resume from, or None if a run stopped before its first.

    ``ConfigError`` if the checkpoint is missing or corrupt, or belongs to another model.
    """
    path, cure = folder / CHECKPOINT, "start a new run with another out"
    if not path.exists() and path.with_suffix(".old").exists():
        path.with_suffix(".old").rename(path)  # stopped while it was replaced
    if not path.exists():
        # it comes before any metric, and its folder comes with it
        if path.parent.exists() or (folder / METRICS).exists():
            raise ConfigError(f"resume={folder}: {path} is missing; {cure}")
        return None
    try:
        shapes = _read_shapes(path)
    except ConfigError as error:
        raise ConfigError(f"resume={folder}: {error}: {cure}") from error
    if shapes != _shapes(model.state_dict()):
        problem = f"holds another model than {CONFIG} describes"
        raise ConfigError(f"resume={folder}: {path} {problem}; {cure}")
    return path


def _read_shapes(path: Path) -> dict[str, torch.Size]:
    if not path.is_dir():
        return _shapes(read_checkpoint(path))
    with _corrupt(path):
        return shapes_of_parts(path)


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: values.shape for name, values in weights.items()}


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint; ``ConfigError`` if it is damaged or cannot be resumed."""
    from ..training.checkpoints import invalid_entry

    saved = _load(path)
    if entry := invalid_entry(saved):
        raise ConfigError(f"{path} holds no valid {entry}; the file is corrupt")
    return dict(saved["state_dict"])


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a checkpoint that may hold nothing else; ``ConfigError`` if it is damaged."""
    saved = _load(path)
    weights = saved.get("state_dict") if isinstance(saved, dict) else None
    if not isinstance(weights, dict) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ConfigError(f"{path} holds no valid state_dict; the file is corrupt")
    return weights


def _load(path: Path) -> Any:
    from ..training.frozen_weights import add_frozen

    with _corrupt(path):
        if path.is_dir():
            return load_parts(path)
        with zipfile.ZipFile(path) as archive:  # torch writes checksums and reads without them
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(damaged)
        saved = torch.load(path, map_location="cpu", weights_only=True)
    add_frozen(saved, path.parent)
    return saved


@contextmanager
def _corrupt(path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # zip, pickle, end of file … all mean the same to the user
        what = "checkpoint" if path.is_dir() else "file"
        problem = f"cannot be read ({type(error).__name__}); the {what} is corrupt"
        raise ConfigError(f"{path} {problem}") from error


def last_validation(folder: Path, name: str) -> str:
    """The last value of a score in validation, and its step; "" if there is none."""
    path = folder / METRICS
    if not path.is_file():
        return ""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row.get(f"val/{name}")]
    if not rows:
        return ""
    return f"validation {name} {float(rows[-1][f'val/{name}']):.4f} at step {rows[-1]['step']}"


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:  # whatever the locale's is
        file.write(text)
        file.flush()
        os.fsync(file.fileno())  # or a power failure may leave an empty file under the new name
    os.replace(part, path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole or not at all; NaN and infinity become null, for JSON has neither."""
    write_text(path, json.dumps(_json_safe(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ConfigError: if it has a later format.
    """
    value = json.loads(path.read_text(encoding="utf-8"))
    check_format(path, value)
    return value


def check_format(path: Path, content: Any) -> None:
    """Raise ``ConfigError`` for a file of a later format; one without ``format`` has format 1.

    >>> check_format(Path("result.json"), {"format": 2})
    Traceback (most recent call last):
    routers.plugins.errors.ConfigError: result.json: format 2 is of a later version ...
    """
    found = content.get("format", 1) if isinstance(content, Mapping) else 1
    if not isinstance(found, int) or found > FORMAT:
        raise ConfigError(
            f"{path}: format {found} is of a later version of Switchyard; this one reads formats "
            f"up to {FORMAT}, so update it"
        )


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
    for name in ("switchyard-moe", *names):
        found[name] = "not installed"
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


@contextmanager
def writing(setting: str) -> Iterator[None]:
    """Turn errors of writing what a setting names into a ``ConfigError``."""
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
    parts = (config.task["name"], arm_name(config), part_name(config, "expert"))
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{'-'.join(p.replace(':', '.') for p in parts)}-s{config.seed}-{stamp}"
    for number in count(1):
        path = Path("runs", name if number == 1 else f"{name}-{number}")
        with suppress(FileExistsError):  # of a run that began in the same second
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable: there is always another number")

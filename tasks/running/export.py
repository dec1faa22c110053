"""A finished run as a folder to pass on: weights as safetensors, configuration and result."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from routers import ConfigError

from ..config.compose import CONFIG
from ..readers import check_installed, needed
from .run_dir import RESULT, write_json

#: The network's weights in an exported folder.
WEIGHTS = "model.safetensors"

#: The extra that installs the library of the format.
EXTRA = "export"


def check_export(folder: Path) -> None:
    """Raise ``ConfigError`` unless the folder holds a finished run and safetensors is installed."""
    if not (folder / CONFIG).is_file():
        raise ConfigError(f"{folder}: no run is there (no {CONFIG} in it)")
    if not (folder / RESULT).is_file():
        raise ConfigError(
            f"{folder}: the run is not finished (no {RESULT} in it); "
            f"finish it with: python -m tasks resume={folder}"
        )
    check_installed("safetensors", EXTRA, f"export {folder}")


def export(
    folder: Path, weights: Mapping[str, Tensor], result: Mapping[str, Any], out: Path
) -> None:
    """Write the folder ``out`` whole or not at all; ``load`` reads it as it does a run's."""
    part = out.with_name(out.name + ".part")
    part.mkdir(exist_ok=True)
    # the format keeps no views: each tensor has its own memory
    own = {name: values.contiguous().clone() for name, values in weights.items()}
    needed("safetensors.torch", EXTRA, f"export {folder}").save_file(own, part / WEIGHTS)
    shutil.copyfile(folder / CONFIG, part / CONFIG)
    write_json(part / RESULT, dict(result))
    os.replace(part, out)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Exported weights; ``ConfigError`` if they cannot be read."""
    torch_format = needed("safetensors.torch", EXTRA, str(path))
    try:
        return dict(torch_format.load_file(path))
    except Exception as error:  # of the header, of the length: all mean the same to the user
        kind = type(error).__name__
        raise ConfigError(f"{path} cannot be read ({kind}); the file is corrupt") from error

"""Weights that are not trained: written once, and left out of every checkpoint."""

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from experts import weights_digest
from routers import ConfigError

from .fully_sharded import is_sharded

#: Next to the checkpoints of a run.
FILE = "frozen.ckpt"

#: Key in a checkpoint: the digest of the weights that it lacks.
KEY = "frozen_digest"


def frozen_weights(module: nn.Module) -> dict[str, Tensor]:
    """Parameters without training, by name; none where processes hold only parts of parameters.

    >>> layers = nn.Sequential(nn.Linear(2, 2).requires_grad_(False), nn.Linear(2, 1))
    >>> list(frozen_weights(layers))
    ['0.weight', '0.bias']
    """
    if is_sharded(module):
        return {}
    named = module.named_parameters(remove_duplicate=False)
    return {name: p.detach() for name, p in named if not p.requires_grad}


def leave_out(checkpoint: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Remove frozen weights from a checkpoint, which then has their digest."""
    if weights:
        checkpoint[KEY] = weights_digest(weights)
        state = checkpoint["state_dict"]
        checkpoint["state_dict"] = {k: v for k, v in state.items() if k not in weights}


def write_frozen(folder: Path, weights: dict[str, Tensor]) -> None:
    """Write frozen weights next to the checkpoints, whole or not at all."""
    if weights:
        part = folder / f"{FILE}.part"
        torch.save({"state_dict": weights}, part)
        os.replace(part, folder / FILE)


def add_frozen(checkpoint: Any, folder: Path) -> None:
    """Add to a checkpoint of a folder the weights that it lacks.

    ``ConfigError`` if their file is missing, or holds other weights.
    """
    if not isinstance(checkpoint, dict) or KEY not in checkpoint:
        return
    path = folder / FILE
    if not path.exists():
        raise ConfigError(f"{path} is missing, which holds the weights that were not trained")
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
        found = weights_digest(weights)
    except Exception as error:  # zip, pickle, end of file … all mean the same to the user
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}); it is corrupt"
        ) from error
    if found != checkpoint[KEY]:
        raise ConfigError(f"{path} holds other weights than those that the run started from")
    checkpoint["state_dict"] = {**checkpoint["state_dict"], **weights}

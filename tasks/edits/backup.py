"""Experts put back from the copies that a run has kept."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from experts import Copies, lost_experts, restore_experts
from routers import ConfigError, OptionError

from .._task import Backbone
from ..assembly.build import routed_layers
from ._base import EDITS, Context, Edit

#: The last copies of experts, in a run's folder; the callback ``backup`` writes them.
BACKUP = Path("backups", "experts.ckpt")


class Backup(NamedTuple):
    """Copies of the experts of every layer, after so many optimizer steps."""

    step: int
    layers: list[Copies]


def read_backup(folder: Path) -> Backup | None:
    """The last copies of a run; None without any, ``ConfigError`` if the file is damaged."""
    path = folder / BACKUP
    if not path.is_file():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return Backup(saved["step"], saved["layers"])
    except Exception as error:  # zip, pickle, end of file … all mean the same to the user
        raise ConfigError(
            f"{path} cannot be read ({type(error).__name__}); the file is corrupt: remove it"
        ) from error


@EDITS.register("backup")
class RestoreExperts(Edit):
    """Put experts back from the last copies that the callback ``backup`` wrote in the run's folder.

    All other parameters stay. In training the callback does it as soon as an expert is lost
    (``trainer.callbacks=[backup]``).

    Args:
        layer: index of the routed layer, from 0; None for all.
        experts: those to put back; None for those that are lost: with a parameter that is not
            finite, or with parameters that are all 0.
    """

    def __init__(self, *, layer: int | None = None, experts: Sequence[int] | None = None) -> None:
        self.layer, self.experts = layer, experts

    def apply(self, network: Backbone, context: Context) -> dict[str, Any]:
        layers = routed_layers(network)
        if self.layer is not None and not 0 <= self.layer < len(layers):
            raise OptionError("layer", self.layer, f"an index in [0, {len(layers) - 1}], or null")
        chosen = range(len(layers)) if self.layer is None else [self.layer]
        for expert in self.experts or ():
            fewest = min(layers[place].router.num_experts for place in chosen)
            if not 0 <= expert < fewest:
                raise OptionError("experts", expert, f"indices in [0, {fewest - 1}]")
        lost = {each: lost_experts(layers[each]).nonzero().flatten().tolist() for each in chosen}
        if self.experts is not None:
            lost = {each: list(self.experts) for each in chosen}
        if not any(lost.values()):
            raise OptionError.about(
                "experts", ": no expert is lost; name those to put back, as in experts=[3]"
            )
        backup = read_backup(context.folder)
        if backup is None:
            raise ConfigError(
                f"backup: {context.folder / BACKUP} is missing; only a run that is trained with "
                "trainer.callbacks=[backup] has copies of its experts"
            )
        if len(backup.layers) != len(layers):
            raise ConfigError(
                f"backup: {context.folder / BACKUP} is of {len(backup.layers)} routed layers, and "
                f"the network has {len(layers)}; give the run that wrote it"
            )
        restored = {place: experts for place, experts in lost.items() if experts}
        for place, experts in restored.items():
            restore_experts(layers[place], backup.layers[place], experts)
        return {"of_step": backup.step, "restored": restored}

"""Dead experts revived during training."""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from experts import MoE, router_entries
from routers import OptionError

from ..assembly.build import routed_layers
from ..edits.revive import Revive
from ..loading.seeds import mix_seed
from .callbacks import OnExperts, stepped
from .module import RoutedModule


class ReviveExperts(OnExperts):
    """Replaces dead experts by noisy copies of the busiest ones, every so many optimizer steps.

    Dead is whose load since the last check is below a share of an even load. Values are changed in
    place, and a copy has the optimizer's state of its original.

    Args:
        every: optimizer steps between two checks.
        below, noise, seed: as in the edit ``revive``.
    """

    def __init__(
        self, *, every: int = 100, below: float = 0.01, noise: float = 0.05, seed: int = 0
    ) -> None:
        if every < 1:
            raise OptionError("every", every, "an integer >= 1")
        self.edit = Revive(below=below, noise=noise, seed=seed)
        self.every = every
        self.load: Tensor | None = None

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(module, RoutedModule)
        if not stepped(trainer, batch_idx):
            return
        load = module.last_load.cpu()
        self.load = load if self.load is None else self.load + load
        if trainer.global_step % self.every:
            return
        draw = torch.Generator().manual_seed(mix_seed(self.edit.seed, trainer.global_step))
        for layer, own in zip(routed_layers(module.backbone), self.load, strict=True):
            copied = self.edit.copies(own[: layer.router.num_experts])
            if copied and layer.router.num_experts > 1:
                revive_in_place(layer, self.edit, copied, draw, trainer.optimizers[0])
        self.load = None

    def state_dict(self) -> dict[str, Any]:
        return {"load": self.load}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.load = state_dict["load"]


@torch.no_grad()
def revive_in_place(
    layer: MoE, edit: Revive, copied: dict[int, int], draw: torch.Generator, optimizer: Optimizer
) -> None:
    """Give a layer the values of its revived copy, and copies the optimizer's state of originals.

    Zeros as second moments would multiply the first steps of Adam.
    """
    new = edit.revived(layer, copied, draw)
    for values, revived in zip(_state(layer), _state(new), strict=True):
        values.copy_(revived)
    index = [copied.get(expert, expert) for expert in range(layer.router.num_experts)]
    of_bank = [_held(values, optimizer) for values in layer.bank.parameters()]
    for name in {name for held in of_bank for name in held}:
        like = deepcopy(layer.bank)  # a bank of the state, from which experts are taken
        for values, held in zip(like.parameters(), of_bank, strict=True):
            values.copy_(held.get(name, values))
        for taken, held in zip(like.take_experts(index).parameters(), of_bank, strict=True):
            if name in held:
                held[name].copy_(taken)
    both = (router_entries(layer.router, [*given]) for given in (copied, copied.values()))
    for (parameter, axis, entries), (_, _, origins) in zip(*both, strict=True):
        for state in _held(parameter, optimizer).values():
            state.index_copy_(axis, entries, state.index_select(axis, origins))


def _held(values: Tensor, optimizer: Optimizer) -> dict[str, Tensor]:
    """The optimizer's state of a parameter that has a number for each of its entries, by name."""
    found = optimizer.state.get(values, {}).items()
    return {n: s for n, s in found if isinstance(s, Tensor) and s.shape == values.shape}


def _state(layer: nn.Module) -> Iterator[Tensor]:
    yield from layer.parameters()
    yield from layer.buffers()

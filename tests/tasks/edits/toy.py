"""A small network with two routed layers, without data and without Lightning."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import experts
import routers
from experts import MoE
from routers import Routing
from tasks import (
    Backbone,
    Batch,
    Config,
    Context,
    apply_edits,
    compose,
    read_edits,
    settings_of,
)

DIM = 8
EXPERTS = 4
ROW_SHAPES = {("D",): (5, DIM), ("L", "D"): (5, DIM), ("D", "H", "W"): (DIM, 3, 4)}


class Toy(Backbone):
    """Routed layers with residuals, and a head."""

    def __init__(self, config: Config, depth: int = 2) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer_of(config, number) for number in range(depth))
        self.head = nn.Linear(DIM, 3)

    def forward(self, batch: Batch) -> tuple[Any, list[Routing]]:
        x, routings = batch["x"], []
        for layer in self.layers:
            y, routing = layer(x, ids=batch["ids"], task=batch["task"])
            x = x + y
            routings.append(routing)
        axes = layer.bank.row_axes
        if len(axes) > 1:
            x = layer.bank.pool(x)
        return self.head(x), routings


def layer_of(config: Config, number: int) -> MoE:
    """A layer as ``tasks`` builds it from a configuration."""
    settings = settings_of(config, number)
    (router, given), (bank, options) = (
        (part["name"], {k: v for k, v in part.items() if k != "name"})
        for part in (settings.router, settings.expert)
    )
    experts_here, shared = settings.moe.num_experts, settings.moe.shared
    return MoE(
        routers.build(router, DIM, experts_here, **given),
        experts.build(bank, DIM, experts_here, **options),
        shared=experts.build(bank, DIM, shared, **options) if shared else None,
        capacity=settings.moe.capacity,
        skip=settings.moe.skip,
    )


@cache
def base_config() -> Config:
    return compose(["trainer.threads=1"])


def config_of(
    router: str = "topk", bank: str = "mlp", number: int = EXPERTS, **given: Any
) -> Config:
    """A configuration whose parts have all their options, as a stored one has."""
    config = deepcopy(base_config())
    own = {name: value for name, value in given.items() if name in routers.ROUTERS.options(router)}
    rest = {name: value for name, value in given.items() if name not in own}
    config.router = {"name": router, **routers.ROUTERS.options(router), **own}
    config.expert = {"name": bank, **experts.EXPERTS.options(bank), **rest}
    config.moe.num_experts = number
    return config


def trained(config: Config, seed: int = 0, depth: int = 2) -> Toy:
    """A network with random weights, so that no score equals another, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Toy(config, depth).double()
        for layer in network.layers:
            layer.router.prepare(torch.arange(20), torch.randn(20, 3))
            for values in layer.router.parameters():
                values.data += 0.3 * torch.randn_like(values)
    return network.eval()


def batch_of(network: Toy, rows: int = 12, seed: int = 3) -> Batch:
    axes = network.layers[0].bank.row_axes
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, *ROW_SHAPES[axes], generator=generator, dtype=torch.float64)
    lead = x.shape[:2] if len(axes) == 1 else x.shape[:1]
    ids = torch.arange(lead.numel()).view(lead) * 7 % 20
    return {"x": x, "ids": ids, "task": ids % 2}


def outputs(network: Toy, batch: Batch) -> Tensor:
    with torch.no_grad():
        return network.eval()(batch)[0]


def keep_copies(network: Toy, folder: Path) -> None:
    """Write copies of the experts as the callback ``backup`` does."""
    path = folder / "backups" / "experts.ckpt"
    path.parent.mkdir()
    torch.save({"step": 5, "layers": [experts.copy_experts(e) for e in network.layers]}, path)


def edit(
    network: Toy,
    config: Config,
    written: Any,
    other: Callable[[str], Backbone] | None = None,
    folder: Path = Path("nowhere"),
) -> list[dict[str, Any]]:
    """Apply an edit to a network and its configuration; returns the records."""

    def missing(place: str) -> Backbone:
        raise AssertionError(place)

    def training() -> Iterator[Batch]:
        return (batch_of(network, 64, seed=seed) for seed in count(5))

    batches = [batch_of(network, seed=seed) for seed in (3, 4)]
    context = Context(config, lambda: batches, other or missing, training, folder)
    return apply_edits(read_edits("edits", [written]), network, context)

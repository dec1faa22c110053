"""How much each expert of a layer is needed, measured over passes of a network."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor

from routers import ConfigError, Routing
from routers.plugins import Registry
from routers.routing import Merge, Slots

from ..layers.moe import MoE


class Criterion(ABC):
    """A number for each expert of a layer; the higher, the more it is needed.

    Args:
        layer: the layer to measure.
        seed: of random draws.
    """

    reads_outputs = False

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        self.layer = layer

    @property
    @abstractmethod
    def value(self) -> Tensor:
        """The number of each expert over all passes, ``(E,)`` float64."""

    @abstractmethod
    def update(self, routing: Routing, norms: Tensor | None) -> None:
        """Include a pass.

        Args:
            routing: of the pass, after drops.
            norms: Euclidean norm of the output of each assignment, ``(A,)`` in expert order, if
                the criterion ``reads_outputs``.
        """


CRITERIA: Registry[Criterion] = Registry("by", Criterion, positional=2)


class Sum(Criterion):
    """A sum over passes."""

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        super().__init__(layer)
        self.total = torch.zeros(layer.router.num_experts, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        return self.total

    def update(self, routing: Routing, norms: Tensor | None) -> None:
        self.total += self.of_pass(routing).detach().double().cpu()

    @abstractmethod
    def of_pass(self, routing: Routing) -> Tensor:
        """The summand, ``(E,)``."""


@CRITERIA.register("load")
class Load(Sum):
    """Rows that each expert computes."""

    def of_pass(self, routing: Routing) -> Tensor:
        return routing.load


@CRITERIA.register("mass")
class Mass(Sum):
    """Gate mass that each expert receives, the sum of its weights."""

    def of_pass(self, routing: Routing) -> Tensor:
        return routing.importance


@CRITERIA.register("norm")
class Norm(Criterion):
    """Mean over the items of an expert of weight times norm of its output; 0 without items.

    Source: the saliency of REAP, Lasby et al. 2025, 2510.13999, equation 9.
    """

    reads_outputs = True

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        super().__init__(layer)
        self.sums = torch.zeros(2, layer.router.num_experts, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        return self.sums[0] / self.sums[1].clamp_min(1)

    def update(self, routing: Routing, norms: Tensor | None) -> None:
        assert norms is not None
        single = len(norms) == routing.num_assignments and routing.weight.dim() == 1
        if isinstance(routing.execution, Slots | Merge) or not single:
            raise ConfigError(
                f"by=norm: {type(self.layer.router).__name__} gives no single weight to the output "
                "of an expert for an item; choose by=mass or by=load"
            )
        order = routing.order
        parts = torch.stack([routing.weight[order].double() * norms, torch.ones_like(norms)])
        self.sums.index_add_(1, routing.expert[order].cpu(), parts.detach().cpu())


@CRITERIA.register("random")
class Random(Criterion):
    """A random number: a control for the others."""

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        super().__init__(layer)
        generator = torch.Generator().manual_seed(seed)
        self.drawn = torch.rand(layer.router.num_experts, generator=generator, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        return self.drawn

    def update(self, routing: Routing, norms: Tensor | None) -> None:
        pass


class RouteSimilarity(Criterion):
    """Cosine between the scores of two experts over all items, ``(E, E)``; weights without scores.

    Source: the similarity of router logits in M-SMoE, Li et al. 2023, 2310.01334, section 3.1.
    """

    def __init__(self, layer: MoE, seed: int = 0) -> None:
        super().__init__(layer)
        experts = layer.router.num_experts
        self.products = torch.zeros(experts, experts, dtype=torch.float64)

    @property
    def value(self) -> Tensor:
        size = self.products.diagonal().clamp_min(1e-300).sqrt()
        return self.products / (size.unsqueeze(1) * size)

    def update(self, routing: Routing, norms: Tensor | None) -> None:
        dense = routing.mean_weights if routing.logits is None else routing.to_dense(routing.logits)
        scores = routing.unpadded(dense).detach().double().cpu()
        self.products += scores.t() @ scores


@contextmanager
def measured(
    layers: Sequence[MoE], criterion: Callable[[MoE], Criterion]
) -> Iterator[list[Criterion]]:
    """Measure layers in all passes inside, with a criterion for each.

    >>> import experts, routers
    >>> layer = MoE(routers.build("uniform", 4, 2, k=1), experts.build("mlp", 4, 2))
    >>> with measured([layer], Load) as [load]:
    ...     _ = layer(torch.randn(6, 4))
    >>> load.value.tolist()
    [3.0, 3.0]
    """
    found = [criterion(layer) for layer in layers]
    with ExitStack() as hooks:
        for layer, each in zip(layers, found, strict=True):
            norms = list[Tensor]()
            if each.reads_outputs:  # with a hook the bank works on rows in expert order
                hooks.enter_context(layer.bank.register_forward_hook(_note_norms(norms)))
            hooks.enter_context(layer.register_forward_hook(_note_pass(each, norms)))
        yield found


def _note_norms(norms: list[Tensor]) -> Callable[..., None]:
    def note(bank: Any, args: Any, output: Tensor) -> None:
        norms.append(output.detach().double().flatten(1).norm(dim=1))

    return note


def _note_pass(criterion: Criterion, norms: list[Tensor]) -> Callable[..., None]:
    def note(layer: Any, args: Any, output: tuple[Tensor, Routing]) -> None:
        criterion.update(output[1], torch.cat(norms) if norms else None)
        norms.clear()

    return note

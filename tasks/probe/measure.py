"""Causal effects of the experts of a network: all changes evaluated on a split."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import lightning.pytorch as pl
from torch import Tensor

from experts import INTERVENTIONS, Intervention, MoE
from routers import ConfigError

from ..routes.collection import moe_layers
from ..training.module import RoutedModule
from .cases import Case, cases_of, masked, only, unchanged
from .effects import Effects, matched_share, plain
from .masks import Masks, busiest
from .passes import FirstPass, Passes, TryOut
from .shapley import Coalition, coalitions, draw_orders, shapley_values

#: Evaluates a module on a split, or on a number of its first samples.
Evaluate = Callable[[pl.LightningModule, int | None], None]

#: Samples by which impossible changes are found out.
FEW = 2

#: The intervention by which it is decided what an expert is needed for.
DROP = "drop"


@dataclass
class Wanted:
    """A description of the effects to measure.

    Attributes:
        layers: numbers of the routed layers.
        interventions: names; None for all that are possible.
        masks: as ``read_masks`` returns them.
        permutations: for Shapley values; 0 for none.
    """

    layers: Sequence[int]
    interventions: Sequence[str] | None
    masks: Masks | str | None
    permutations: int


@dataclass
class ProbedLayer:
    """A routed layer, its interventions by name, and reasons why others are impossible."""

    number: int
    name: str
    layer: MoE
    interventions: dict[str, Intervention] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


class Prober:
    """Finds the causal effects of the experts of a network.

    Args:
        module: the network and its task.
        evaluate: evaluates on the split.
        wanted: what to find out. ``ConfigError`` before the split is read if a change that it
            names is impossible.
        report: receives a line before each part of the work.

    Attributes:
        effects: what is measured.
        samples: their number.
        score: of the network as it is.
    """

    def __init__(
        self,
        module: RoutedModule,
        evaluate: Evaluate,
        wanted: Wanted,
        report: Callable[[str], None],
    ) -> None:
        self.module, self.evaluate, self.wanted, self.report = module, evaluate, wanted, report
        named = [*moe_layers(module.backbone).items()]
        self.layers = [ProbedLayer(number, *named[number]) for number in wanted.layers]
        self._build_interventions()
        self._try_out()
        self._first = FirstPass(module, [layer for _, layer in named])
        with ExitStack() as observers:
            for each in self.layers:
                for intervention in each.interventions.values():
                    observers.enter_context(intervention.observe())
            evaluate(self._first, None)
        scores = self._first.scores
        self.samples, self.score = self._first.samples, scores.score
        self._scores = scores if scores.is_mean else None
        self.effects = Effects(module.task, self._first.labels, scores.is_mean)

    def of_layers(self) -> list[dict[str, Any]]:
        """For each layer, as plain values, what its experts work on and are needed for."""
        return [self._of_layer(layer) for layer in self.layers]

    def of_network(self, other: RoutedModule, evaluate: Evaluate) -> dict[str, Any]:
        """Rows and effects of another network in the place of this one, as plain values."""
        pairs = (self.module, self.evaluate), (other, evaluate)
        passes = [Passes(module, [unchanged()], self._scores) for module, _ in pairs]
        for each, (_, evaluates) in zip(passes, pairs, strict=True):
            evaluates(each, None)
        without, under = (each.values for each in passes)
        return {"rows": passes[1].rows[0], "effects": self.effects.of(without[:, 0], under)[0]}

    def _build_interventions(self) -> None:
        names = self.wanted.interventions
        for each in self.layers:
            for name in INTERVENTIONS if names is None else names:
                part = INTERVENTIONS.get_part(name)
                try:
                    each.interventions[name] = part(each.layer)
                except ConfigError as error:
                    self._refuse(each, name, str(error))
            if self.wanted.masks is not None and each.layer.router.traits.merges:
                why = "merged experts work on all items of a part, so not without some of these"
                raise ConfigError(f"mask: impossible in layer {each.name or 'layer'}: {why}")

    def _try_out(self) -> None:
        """Refuse interventions whose first case is impossible on a few samples."""
        tried = [
            (each, cases_of({name: intervention})[0])
            for each in self.layers
            for name, intervention in each.interventions.items()
        ]
        passes = TryOut(self.module, [case for _, case in tried])
        self.evaluate(passes, FEW)
        for number, reason in passes.refused.items():
            layer, case = tried[number]
            self._refuse(layer, case.intervention, reason)

    def _refuse(self, layer: ProbedLayer, name: str, reason: str) -> None:
        """Note why an intervention is impossible; ``ConfigError`` if it was named."""
        if self.wanted.interventions is not None:
            raise ConfigError(f"{name}: impossible in layer {layer.name or 'layer'}: {reason}")
        layer.interventions.pop(name, None)
        layer.refused[name] = reason

    def _of_layer(self, probed: ProbedLayer) -> dict[str, Any]:
        layer, experts = probed.layer, probed.layer.router.num_experts
        cases = [*cases_of(probed.interventions), *self._masks(probed)]
        orders = draw_orders(experts, self.wanted.permutations)
        everyone = frozenset(range(experts))
        some = sorted({c for order in orders for c in coalitions(order)} - {everyone}, key=sorted)
        subsets = [only(layer, coalition) for coalition in some]
        passes = Passes(self.module, [unchanged(), *cases, *subsets], self._scores)
        name = probed.name or "layer"
        self.report(f"{name}: {len(passes.cases)} passes over {self.samples:,} samples")
        self.evaluate(passes, None)
        values = passes.values
        effects = self.effects.of(values[:, 0], values[:, 1 : 1 + len(cases)])
        changes = [
            {**case.about, "rows": rows, "effects": of_case}
            for case, rows, of_case in zip(cases, passes.rows[1:], effects, strict=False)
        ]
        worth = self.effects.merits(values.mean(2))[-1]
        worths = {everyone: worth[0], **dict(zip(some, worth[1 + len(cases) :], strict=True))}
        return {
            "layer": probed.number,
            "name": probed.name,
            "router": type(layer.router).__name__,
            "num_experts": experts,
            "rows": passes.rows[0],
            **self._works_on(probed.number),
            **self._needed_for(changes),
            "changes": changes,
            "refused": probed.refused,
            "shapley": _shapley(orders, worths),
        }

    def _works_on(self, number: int) -> dict[str, Any]:
        """The load of each expert, and the share of each label in it."""
        load, tables = self._first.load[number], self._first.tables[number]
        return {
            "load": (load / load.sum().clamp_min(1)).tolist(),
            "works_on": {name: _shares(table).tolist() for name, table in tables.items()},
        }

    def _needed_for(self, changes: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """The effect on each label of dropping each expert, and how far labels match experts."""
        dropped = [each["effects"][self.effects.main] for each in changes if each["change"] == DROP]
        matrices = {
            name: [[mean for mean, _, _ in effects[name]] for effects in dropped]
            for name in self.effects.labels
            if dropped
        }
        matched = {name: matched_share(matrix) for name, matrix in matrices.items()}
        return {"needed_for": matrices, "matched": matched}

    def _masks(self, probed: ProbedLayer) -> list[Case]:
        """The cases of masks; those of a labeling are of the expert that works most on a label."""
        masks = self.wanted.masks or {}
        if isinstance(masks, str):
            masks = {masks: busiest(self._first.tables[probed.number][masks])}
        return [
            masked(probed.layer, labeling, label, experts)
            for labeling in self.module.task.kinds()
            for label, experts in masks.get(labeling.name, {}).items()
        ]


def _shares(table: Tensor) -> Tensor:
    """The share of each label in the rows of an expert; 0 for an expert without rows."""
    return table / table.sum(1, keepdim=True).clamp_min(1e-300)


def _shapley(
    orders: Sequence[Sequence[int]], worths: dict[Coalition, float]
) -> dict[str, Any] | None:
    """Shapley values as plain values, with the values of all experts and of none."""
    if not orders:
        return None
    found = shapley_values(orders, worths.__getitem__)
    return {
        "permutations": len(orders),
        "values": found.values.tolist(),
        "low": plain(found.low),
        "high": plain(found.high),
        "all": float(worths[frozenset(orders[0])]),
        "none": float(worths[frozenset()]),
    }

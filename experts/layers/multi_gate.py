"""Several gates over one bank: one router per output, shared experts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from routers import ConfigError, Items, Router, Routing, Traits
from routers.gates import ExpertRows

from .._bank import Bank
from .join import join
from .moe import LayerInput, MoE
from .topology import GateTopology


class Gates(Router):
    """Several routers over the experts of one layer, as one router with a weight per gate.

    Items hold the concatenated streams, ``(N, S * D)``; every gate reads its own. Assignments are
    joined: an expert works once on an item for all gates that selected it. Arguments are those of
    ``MultiGateMoE``.

    Source: the gates of MMoE, Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007).

    >>> import experts, routers
    >>> gates = [routers.build("soft_mixture", 8, 4) for _ in range(2)]
    >>> Gates(gates, experts.mmoe(4, tasks=2))(Items(torch.randn(5, 8))).weight.shape
    torch.Size([20, 2])
    """

    def __init__(self, gates: Sequence[Router], topology: GateTopology) -> None:
        given = [gate.num_experts for gate in gates]
        wanted = [len(branch.experts) for branch in topology.branches]
        if given != wanted:
            raise ConfigError(
                f"gates have {given} experts: expected {wanted} as the topology's branches"
            )
        if len({gate.dim for gate in gates}) > 1:
            raise ConfigError(f"gates differ in width: {[gate.dim for gate in gates]}")
        super().__init__(gates[0].dim, topology.num_experts)
        self.gates = nn.ModuleList(gates)
        self.topology = topology
        self.traits = combined_traits([gate.traits for gate in gates])
        self.num_counts = sum(gate.num_counts for gate in gates)

    def forward(self, items: Items) -> Routing:
        streams = items.x.chunk(self.topology.streams, -1)
        experts = items.projections
        routings = [
            gate(
                replace(
                    items,
                    x=streams[branch.reads],
                    recorded=recorded,
                    earlier=tuple(r.gates[place] for r in items.earlier if place < len(r.gates)),
                    projections=None if experts is None else experts[list(branch.experts)],
                )
            )
            for place, (gate, branch, recorded) in enumerate(
                zip(self.gates, self.topology.branches, self._recorded(items), strict=True)
            )
        ]
        return join(items, routings, self.topology)

    def _recorded(self, items: Items) -> Sequence[Routing | None]:
        """The recorded routes of each gate."""
        recorded = items.recorded
        if recorded is None or not self.traits.needs_recorded:
            return [None] * len(self.gates)
        if len(recorded.gates) != len(self.gates):
            raise ConfigError(
                f"the recorded routes are of {max(len(recorded.gates), 1)} gates, and the layer "
                f"has {len(self.gates)}; give routes of a layer with as many"
            )
        if len(join(items, recorded.gates, self.topology).item) != recorded.num_assignments:
            raise ConfigError(
                "the layer of the recorded routes dropped assignments of its gates together, and "
                "routes of single gates do not have these drops; record without capacity, skip "
                "and expert_dropout"
            )
        return recorded.gates

    def expert_rows(self) -> list[ExpertRows]:
        return [
            ExpertRows(rows, tuple(branch.experts[expert] for expert in own))
            for gate, branch in zip(self.each(), self.topology.branches, strict=True)
            for rows, own in gate.expert_rows()
        ]

    @property
    def adapts(self) -> bool:
        return any(gate.adapts for gate in self.each())

    def adapt(self, load: Tensor) -> None:
        for gate, branch in zip(self.each(), self.topology.branches, strict=True):
            gate.adapt(load[list(branch.experts)])

    def adapt_from_counts(self, tally: Tensor) -> None:
        gates = [gate for gate in self.each() if gate.num_counts]
        parts = torch.split(tally, [gate.num_counts for gate in gates])
        for gate, part in zip(gates, parts, strict=True):
            gate.adapt_from_counts(part)

    def shared_with(self, before: Router) -> Router:
        if not isinstance(before, Gates) or before.topology != self.topology:
            raise ConfigError("router: the gates of two layers that share them differ")
        self.gates = shared_list(self.each(), before.each())
        return before if list(self.gates) == before.each() else self

    def prepare(self, ids: Tensor, features: Tensor) -> None:
        for gate in self.each():
            gate.prepare(ids, features)

    def defer(self, experts: Sequence[int]) -> bool:
        deferred = [
            gate.defer([branch.experts.index(e) for e in experts if e in branch.experts])
            for gate, branch in zip(self.each(), self.topology.branches, strict=True)
        ]
        return all(deferred)

    def each(self) -> list[Router]:
        """The routers of the gates, in their order."""
        return [gate for gate in self.gates if isinstance(gate, Router)]


class MultiGateMoE(MoE):
    """Several gates over one bank: ``y, routing = MultiGateMoE(gates, bank, topology)(streams)``.

    ``y_g = sum_e w_ge(x_g) FFN_e(x_source(e))``; every expert runs once for all gates. The input
    is streams ``(S, ...)``, each as ``MoE`` takes it, with a common ``mask``, ``ids`` and
    ``task``. The output ``(G, ...)`` has one part per gate; the routing is over the items,
    whichever stream an expert works on, with a weight per gate.

    Source: MMoE, Ma et al. 2018 (KDD, doi 10.1145/3219819.3220007), equations 6 and 7; CGC and
    PLE, Tang et al. 2020 (RecSys, doi 10.1145/3383313.3412236).

    Args:
        gates: routers, one per branch of the topology and over as many experts as it has.
        bank: the experts.
        topology: the stream and the experts of each gate. See ``mmoe``, ``cgc``, ``views``.
        shared: a bank whose every expert works on every real item of the last stream, for all
            gates with weight 1.
        settings: ``capacity``, ``drop``, ``rounding``, ``renormalize``, ``expert_dropout`` and
            ``skip`` and ``keep_outputs`` as in ``MoE``, for the joint assignments of all gates.

    Raises:
        ConfigError: if gates, bank and topology do not fit.

    >>> import experts, routers
    >>> gates = [routers.build("topk", 8, 4, k=2) for _ in range(3)]
    >>> layer = MultiGateMoE(gates, experts.build("mlp", 8, 4), experts.mmoe(4, tasks=3))
    >>> y, routing = layer(torch.randn(1, 5, 8))
    >>> y.shape, routing.weight.shape[1]
    (torch.Size([3, 5, 8]), 3)
    """

    def __init__(
        self,
        gates: Sequence[Router],
        bank: Bank,
        topology: GateTopology,
        *,
        shared: Bank | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(Gates(gates, topology), bank, shared=shared, **settings)

    @property
    def topology(self) -> GateTopology:
        """The stream and the experts of each gate."""
        assert isinstance(self.router, Gates)
        return self.router.topology

    @property
    def num_streams(self) -> int:
        return self.topology.streams

    @property
    def num_gates(self) -> int:
        return self.topology.num_gates

    def _streams(self, x: Tensor) -> Sequence[Tensor]:
        wanted = self.topology.streams
        if x.shape[:1] != (wanted,):
            raise ValueError(f"x has shape {tuple(x.shape)}: expected ({wanted}, ...)")
        return x.unbind()

    def _mixed(
        self, streams: Sequence[LayerInput], routing: Routing
    ) -> tuple[Tensor, Tensor | None]:
        read, *others = sorted(set(self.topology.sources))
        if not others:
            return super()._mixed(streams[read:], routing)
        # the rows of all streams as items of one routing; an expert's sums are in its stream's part
        n = routing.num_items
        source = torch.tensor(self.topology.sources, device=routing.item.device)
        rows = torch.cat([stream.rows for stream in streams])
        inner = [stream.inner for stream in streams if stream.inner is not None]
        item = source[routing.expert] * n + routing.item
        spread = replace(routing, item=item, num_items=len(rows), is_dense=False)
        y, outputs = self._mix(rows, spread, torch.cat(inner) if inner else None)
        return y.view(len(y), len(streams), n, *y.shape[2:]).sum(1), outputs


def shared_list(own: Sequence[Router], before: Sequence[Router]) -> nn.ModuleList:
    """Each router after it took from the one before what it shares, or that one itself."""
    pairs = zip(own, before, strict=True)
    return nn.ModuleList([router.shared_with(other) for router, other in pairs])


def combined_traits(traits: Sequence[Traits]) -> Traits:
    """Traits of several gates together: promises that all make, and needs that any has."""
    needs = ("learned", "merges", "needs_ids", "needs_task", "needs_recorded", "needs_projections")
    promises = (
        "per_item", "causal", "causal_in_eval", "equivariant", "convex", "exact_gradients",
        "expects_load",
    )  # fmt: skip
    any_has = {name: any(getattr(t, name) for t in traits) for name in needs}
    all_make = {name: all(getattr(t, name) for t in traits) for name in promises}
    return Traits(**any_has, **all_make, has_logits=False)

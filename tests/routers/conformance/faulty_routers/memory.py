"""Traps 9, 14 and 19: what a router remembers."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import nn

import routers
from routers import LOSSES
from routers.blocks import Float32State

from ._planted import Copy, Planted


class Biased(Copy):
    """Loss-free balancing, without a fault."""

    sound = True
    rate = 0.01

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.bias = self.make_bias(num_experts)

    def make_bias(self, num_experts):
        module = Float32State()
        module.register_buffer("value", torch.zeros(num_experts))
        return module

    def choose(self, logits):
        return super().choose(logits + self.bias.value)

    def move(self, load):
        load = load.double()
        self.bias.value.data += self.rate * (load.mean() - load).sign()

    def adapt(self, load):
        if self.training:
            self.move(load)


class BiasAdaptsInEval(Biased):
    def adapt(self, load):
        self.move(load)


class BiasWeighs(Biased):
    def weigh(self, logits, expert):
        return super().weigh(logits + self.bias.value, expert)


class BiasInLogits(Biased):
    def forward(self, items):
        routing = super().forward(items)
        return replace(routing, logits=routing.logits + self.bias.value)


class BiasIsParameter(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.value = nn.Parameter(torch.zeros(num_experts))
        return module


class BiasIsCast(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.register_buffer("value", torch.zeros(num_experts))
        return module


class BiasIsNotSaved(Biased):
    def make_bias(self, num_experts):
        module = Float32State()
        module.register_buffer("value", torch.zeros(num_experts), persistent=False)
        return module


class BiasIsAnAttribute(Biased):
    def make_bias(self, num_experts):
        module = nn.Module()
        module.value = torch.zeros(num_experts)
        return module


class BiasMovesInEval(Biased):
    def forward(self, items):
        routing = super().forward(items)
        if not self.training:
            self.move(routing.load)
        return routing


class BiasMovesInForward(Biased):
    """Once per pass: twice where activations are recomputed, often where gradients accumulate."""

    def forward(self, items):
        routing = super().forward(items)
        if self.training:
            self.move(routing.load)
        return routing

    def adapt(self, load):
        pass


class BiasFeedsTheBusy(Biased):
    rate = -0.01


class Tallied(Biased):
    """The same with a bias that follows counts of first choices with its own step size."""

    sound = True

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.num_counts = num_experts
        self.make_steps()

    def make_steps(self):
        self.bias.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def count_step(self):
        self.bias.steps += 1
        return self.bias.steps

    def forward(self, items):
        routing = super().forward(items)
        first = (routing.logits + self.bias.value)[self.counted(items)].argmax(-1)
        tally = torch.bincount(first, minlength=self.num_experts)
        return replace(routing, extras={"counts": tally} if self.training else {})

    def counted(self, items):
        return items.real()

    def adapt(self, load):
        pass

    def adapt_from_counts(self, tally):
        if not self.training:
            return
        far = 0.5 / (1 + self.count_step())
        self.bias.value += far * (tally.double().mean() - tally).sign()


class TallyMovesAnAttribute(Tallied, BiasIsAnAttribute):
    pass


class StepsAreAnAttribute(Tallied):
    """Choices are saved, but not how far the next step goes."""

    def make_steps(self):
        self.steps = 0

    def count_step(self):
        self.steps += 1
        return self.steps


class TallyCountsPadding(Tallied):
    def counted(self, items):
        return torch.ones_like(items.real())


class TallyOfFractions(Tallied):
    def forward(self, items):
        routing = super().forward(items)
        extras = {"counts": routing.load / len(items)} if self.training else {}
        return replace(routing, extras=extras)


class TallyInEval(Tallied):
    def forward(self, items):
        routing = super().forward(items)
        return routing if self.training else replace(routing, extras={"counts": routing.load})


class PriceIsAnAttribute(routers.ROUTERS["relu"]):
    """What a tally moves shows in a loss alone, and in training alone."""

    search_space: ClassVar[Mapping[str, Any]] = {}

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts, k=1)  # fewer than are active, so that the price rises
        self.sparsity_coefficient.value = self.sparsity_coefficient._buffers.pop("value")


class CountsPasses(Copy):
    """One expert more after some passes, also of evaluation; equal items differ long after."""

    late = 1000

    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.passes = 0

    def count(self):
        self.passes += 1
        return self.passes

    def choose(self, logits):
        chosen = super().choose(logits)
        return chosen if self.count() < self.late else (chosen + 1) % self.num_experts


class CountsPassesInAList(CountsPasses):
    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        self.passes = []

    def count(self):
        self.passes.append(1)
        return len(self.passes)


class CountsPassesInABuffer(CountsPasses):
    def __init__(self, dim, num_experts):
        super().__init__(dim, num_experts)
        del self.passes
        self.register_buffer("passes", torch.zeros((), dtype=torch.int64))


KEPT: list[Any] = []


class KeepsItsLoss(Copy):
    def forward(self, items):
        routing = super().forward(items)
        KEPT.append(LOSSES["switch"](routing))
        return routing


class KeepsItsLogits(Copy):
    def scores(self, items):
        self.last = self.gate(items)
        return self.last


PLANTS = [
    Planted(9, BiasWeighs, "adapt_selects", "to select, not to weigh"),
    Planted(9, BiasInLogits, "adapt_selects", "losses would oppose it"),
    Planted(9, BiasIsParameter, "adapt_moves_buffers", "the optimizer changes as well"),
    Planted(9, BiasIsCast, "adapt_moves_buffers", "keep it in float32"),
    Planted(9, BiasIsNotSaved, "adapt_moves_buffers", "which no checkpoint holds"),
    Planted(9, BiasIsAnAttribute, "state_dict_round_trip", "with register_buffer"),
    Planted(9, BiasMovesInEval, "forward_keeps_state", "once per optimizer step"),
    Planted(9, BiasMovesInForward, "forward_keeps_state", "once per optimizer step"),
    Planted(9, BiasFeedsTheBusy, "adapt_balances", "lower that of those above"),
    Planted(9, TallyMovesAnAttribute, "state_dict_round_trip", "routes differently"),
    Planted(9, StepsAreAnAttribute, "state_dict_round_trip", "adapts differently: bias.value"),
    Planted(9, PriceIsAnAttribute, "state_dict_round_trip", "trains differently, in .*sparsity"),
    Planted(9, TallyOfFractions, "counts", "count in integers"),
    Planted(9, TallyInEval, "counts", "holds counts in eval"),
    Planted(14, KeepsItsLoss, "nothing_kept", "leaves [0-9]+ tensors behind"),
    Planted(14, KeepsItsLogits, "nothing_kept", "keep no loss, score or activation"),
    Planted(19, CountsPasses, "forward_keeps_state", "eval changes passes, so evaluating"),
    Planted(19, CountsPassesInAList, "forward_keeps_state", "eval changes passes, so"),
    Planted(19, BiasAdaptsInEval, "adapt", "adapt changes bias.value in eval"),
    Planted(19, CountsPassesInABuffer, "forward_keeps_state", "forward changed passes"),
]

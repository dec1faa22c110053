"""Hidden neurons of experts: found, permuted, selected and aligned."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from routers import ConfigError
from routers.plugins import arguments_of, rebuilt

from .._bank import Bank

#: Sizes of the axes of rows on which a bank is tested.
_SIZES = {"L": 3, "H": 4, "W": 4}


class Neurons(NamedTuple):
    """The entries of hidden neurons in the stacks of a bank, found without a declaration.

    An axis of a stack has ``blocks`` entries for each of ``H`` neurons, block by block: one for
    an ``mlp``, two along the first matrix of a ``glu``.

    Attributes:
        number: ``H``, of each expert.
        axes: for each stack that has any, its axes of a single expert with their blocks.
        outputs: the stack by which the outputs of an expert are proportional, if they are sums
            over its neurons; else "".
    """

    number: int
    axes: dict[str, list[tuple[int, int]]]
    outputs: str

    def select(self, name: str, values: Tensor, neurons: Tensor) -> Tensor:
        """The entries of some neurons in the values of one expert of a stack."""
        for axis, blocks in self.axes.get(name, []):
            values = values.index_select(axis, self.entries(neurons, blocks))
        return values

    def entries(self, neurons: Tensor, blocks: int) -> Tensor:
        """Places of neurons along an axis with so many blocks."""
        return torch.cat([neurons + block * self.number for block in range(blocks)])


def find_neurons(bank: Bank) -> Neurons:
    """Find the hidden neurons of a bank by building it with another ``hidden``.

    A test on random rows proves that outputs stay if the neurons of each expert are permuted.

    Raises:
        ConfigError: if the bank has no option ``hidden``, or its neurons are not interchangeable:
            those of ``low_rank`` belong to a matrix that all experts share.

    >>> import experts
    >>> find_neurons(experts.build("glu", 4, 3, hidden=8)).axes
    {'gate_and_up': [(1, 2)], 'down': [(0, 1)]}
    """
    kind = type(bank).__name__
    if "hidden" not in arguments_of(bank) or not bank.expert_parameters:
        raise ConfigError(f"expert: {kind} has no option hidden, and so no neurons to work on")
    small, hidden = _small(bank, 6), 6
    wider = _small(bank, hidden + 1)
    axes = dict[str, list[tuple[int, int]]]()
    for name in bank.expert_parameters:
        shapes = small.get_parameter(name).shape[1:], wider.get_parameter(name).shape[1:]
        changed = [
            (axis, now - before)
            for axis, (before, now) in enumerate(zip(*shapes, strict=True))
            if now != before
        ]
        if any(shapes[0][axis] != blocks * hidden for axis, blocks in changed):
            raise ConfigError(f"expert: which neuron has which entries of {kind}.{name} is unclear")
        if changed:
            axes[name] = changed
    if not _keeps_outputs(small, Neurons(hidden, axes, "")):
        raise ConfigError(
            f"expert: the neurons of an expert of {kind} are not interchangeable; choose an "
            "expert with separate matrices such as mlp"
        )
    scaling = [name for name in bank.expert_parameters if _scales(small, name)]
    joinable = axes.keys() == set(bank.expert_parameters)  # nothing but neurons
    is_sum = joinable and len(scaling) == 1 and _adds_up(small, Neurons(hidden, axes, ""))
    return Neurons(_size(bank, axes), axes, scaling[0] if is_sum else "")


def take_neurons(bank: Bank, neurons: Neurons, chosen: Sequence[Tensor]) -> Bank:
    """A bank whose experts have some of their neurons, in the given order.

    ``chosen`` holds for each expert the indices of the same number of neurons, int64.
    """
    new = rebuilt(bank, hidden=len(chosen[0])).to(next(bank.parameters()).dtype)
    for (name, values), old in zip(new.named_parameters(), bank.parameters(), strict=True):
        own = old.detach().clone()
        if name in bank.expert_parameters:
            parts = [neurons.select(name, own[e], each) for e, each in enumerate(chosen)]
            own = torch.stack(parts)
        values.data = own
        values.requires_grad_(old.requires_grad)
    return new.train(bank.training)


@torch.no_grad()
def join_experts(neurons: Neurons, parts: Sequence[tuple[Bank, int, float]]) -> Bank:
    """A bank with one expert, the neurons of several side by side: a weighted sum of their outputs.

    Args:
        neurons: of all their banks, whose outputs are sums over neurons.
        parts: a bank, its expert and the weight of that expert's output, for each.

    >>> import experts
    >>> bank, rows = experts.build("mlp", 4, 2, hidden=3), torch.randn(5, 4)
    >>> joined = join_experts(find_neurons(bank), [(bank, 0, 0.5), (bank, 1, 2.0)])
    >>> one, two = (bank(rows, torch.tensor(load)) for load in ([5, 0], [0, 5]))
    >>> torch.allclose(joined(rows, torch.tensor([5])), 0.5 * one + 2 * two, atol=1e-5)
    True
    """
    first = parts[0][0]
    new = rebuilt(first, num_experts=1, hidden=len(parts) * neurons.number)
    new = new.to(next(first.parameters()))
    for name in first.expert_parameters:
        own = [
            bank.get_parameter(name)[expert] * (weight if name == neurons.outputs else 1)
            for bank, expert, weight in parts
        ]
        for axis, blocks in neurons.axes[name]:
            split = [values.chunk(blocks, axis) for values in own]
            own = [torch.cat([part for block in zip(*split, strict=True) for part in block], axis)]
        new.get_parameter(name).copy_(own[0])
    return new.train(first.training)


def aligned(bank: Bank, neurons: Neurons, expert: int, to: int) -> Tensor:
    """The order of the neurons of ``expert`` that agrees best with those of ``to``, ``(H,)``.

    The sum of inner products between the weights of neurons is largest: an optimal assignment.
    Source: weight matching of Ainsworth et al. 2022, 2209.04836, section 3.2, within a layer.
    """
    from scipy.optimize import linear_sum_assignment  # slow to import

    ours, theirs = _features(bank, neurons, expert), _features(bank, neurons, to)
    _, order = linear_sum_assignment((theirs @ ours.t()).cpu().numpy(), maximize=True)
    return torch.from_numpy(order).to(ours.device)


def _features(bank: Bank, neurons: Neurons, expert: int) -> Tensor:
    """Weights of every neuron, ``(H, F)`` float64, of the stacks with one axis of neurons."""
    found = []
    for name, axes in neurons.axes.items():
        if len(axes) == 1:
            axis, blocks = axes[0]
            values = bank.get_parameter(name)[expert].detach().double().movedim(axis, 0)
            found.append(values.reshape(blocks, neurons.number, -1).movedim(0, 1).flatten(1))
    return torch.cat(found, 1)


def _small(bank: Bank, hidden: int) -> Bank:
    return rebuilt(bank, num_experts=2, hidden=hidden).double().eval()


def _size(bank: Bank, axes: dict[str, list[tuple[int, int]]]) -> int:
    """``H`` of the bank itself."""
    name, ((axis, blocks), *_) = next(iter(axes.items()))
    return bank.get_parameter(name).shape[axis + 1] // blocks


@torch.no_grad()
def _keeps_outputs(bank: Bank, neurons: Neurons) -> bool:
    generator = torch.Generator().manual_seed(0)
    orders = [torch.randperm(neurons.number, generator=generator) for _ in range(bank.num_experts)]
    rows, load = _rows(bank)
    return torch.allclose(bank(rows, load), take_neurons(bank, neurons, orders)(rows, load))


@torch.no_grad()
def _adds_up(bank: Bank, neurons: Neurons) -> bool:
    """Whether outputs are the sum of those of experts with one half of the neurons each."""
    halves = torch.arange(neurons.number).chunk(2)
    rows, load = _rows(bank)
    parts = [take_neurons(bank, neurons, [half] * bank.num_experts)(rows, load) for half in halves]
    return torch.allclose(bank(rows, load), parts[0] + parts[1])


@torch.no_grad()
def _scales(bank: Bank, name: str) -> bool:
    """Whether outputs are proportional to a stack."""
    rows, load = _rows(bank)
    before, values = bank(rows, load), bank.get_parameter(name)
    values.mul_(2)
    after = bank(rows, load)
    values.div_(2)
    return torch.allclose(2 * before, after)


def _rows(bank: Bank) -> tuple[Tensor, Tensor]:
    """Random rows, three of each of two experts, and the load."""
    shape = [{**_SIZES, "D": bank.dim}[axis] for axis in bank.row_axes]
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, *shape, generator=generator, dtype=torch.float64), torch.tensor([3, 3])

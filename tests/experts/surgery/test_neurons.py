"""Neurons of experts: found by shapes, proved by outputs, aligned by assignment."""

import pytest
import torch

from experts import aligned, find_neurons, take_neurons
from routers import ConfigError

from ..cases import bank_of, rows_for, same

pytestmark = pytest.mark.usefixtures("double")

HIDDEN = 6
LOAD = torch.tensor([3, 0, 2, 1])


@pytest.mark.parametrize(
    ("name", "outputs"),
    [("mlp", "down"), ("glu", "down"), ("conv", "second"), ("gru", ""), ("transformer", "")],
)
def test_permuted_neurons_are_found_again(name, outputs):
    bank = bank_of(name, hidden=HIDDEN)
    neurons = find_neurons(bank)
    assert (neurons.number, neurons.outputs) == (HIDDEN, outputs)
    orders = [torch.randperm(HIDDEN, generator=torch.Generator().manual_seed(e)) for e in range(4)]
    twin = take_neurons(bank, neurons, orders)
    rows = rows_for(bank, 6)
    same(twin(rows, LOAD), bank(rows, LOAD))
    for values in bank.parameters():  # expert 1 becomes expert 0 in another order
        values.data[1] = values.data[0]
    both = take_neurons(bank, neurons, [torch.arange(HIDDEN), orders[1], *orders[2:]])
    assert orders[1][aligned(both, neurons, 1, 0)].tolist() == list(range(HIDDEN))


def test_banks_whose_neurons_are_shared_or_absent():
    for name in ("low_rank", "singleton", "mixed"):
        with pytest.raises(ConfigError, match=r"not interchangeable|no option hidden"):
            find_neurons(bank_of(name))

"""Dead experts revived in place, with the state of the optimizer."""

import torch

import experts
import routers
from experts import MoE
from tasks import EDITS
from tasks.training.revival import revive_in_place


def test_living_experts_keep_values_and_copies_have_the_state_of_originals():
    layer = MoE(routers.build("topk", 8, 4), experts.build("mlp", 8, 4, hidden=6))
    optimizer = torch.optim.Adam(layer.parameters())
    for _ in range(3):
        layer(torch.randn(16, 8))[0].square().mean().backward()
        optimizer.step()
    parameters = list(layer.parameters())
    before = [p.clone() for p in parameters]
    names = ("exp_avg", "exp_avg_sq")
    state = [{name: optimizer.state[p][name].clone() for name in names} for p in parameters]
    edit, draw = EDITS.build("revive", noise=0.1), torch.Generator().manual_seed(0)
    revive_in_place(layer, edit, {2: 0}, draw, optimizer)
    assert all(one is two for one, two in zip(layer.parameters(), parameters, strict=True))
    living = [0, 1, 3]
    for parameter, old, held in zip(parameters, before, state, strict=True):
        assert parameter[living].equal(old[living])
        assert not parameter[2].equal(old[2])
        for name, values in held.items():
            now = optimizer.state[parameter][name]
            assert now[living].equal(values[living])
            assert now[2].equal(values[0])
            assert not values[2].equal(values[0])
    gap = layer.bank.up[2] - before[1][0]
    assert 0.05 < gap.std() / before[1][0].std() < 0.2

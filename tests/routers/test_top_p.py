"""Top-P: the shortest prefix with enough probability."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import routers
from routers import ConfigError, Items


@settings(deadline=None, max_examples=30)
@given(threshold=st.floats(0.01, 0.99), sharp=st.floats(0.1, 5.0), seed=st.integers(0, 999))
def test_chosen_are_the_shortest_sufficient_prefix(threshold, sharp, seed):
    torch.manual_seed(seed)
    router = routers.build("top_p", 5, 6, threshold=threshold).double()
    routing = router(Items(sharp * torch.randn(7, 5, dtype=torch.float64)))
    for item in range(7):
        chosen = routing.assigned_mask[item]
        inside, outside = routing.probs[item][chosen], routing.probs[item][~chosen]
        assert inside.sum() >= threshold - 1e-12
        assert inside.sum() - inside.min() < threshold  # one fewer would not do
        assert not len(outside) or inside.min() >= outside.max()
        weight = routing.weight[routing.item == item]
        torch.testing.assert_close(weight.sort().values, inside.sort().values)


def test_a_sure_gate_takes_one_an_even_gate_many():
    router = routers.build("top_p", 4, 4, threshold=0.7)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(4))
    x = torch.tensor([[9.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    assert router(Items(x)).assigned_mask.sum(1).tolist() == [1, 3]


@pytest.mark.parametrize("spread", [1.0, 30.0, 1000.0])
def test_a_threshold_of_one_takes_all(spread):
    """Though sums of the first few round to 1, and some probabilities to 0."""
    torch.manual_seed(0)
    router = routers.build("top_p", 8, 16, threshold=1.0)
    assert router(Items(spread * torch.randn(200, 8))).assigned_mask.all()


@pytest.mark.parametrize("threshold", [0.0, 1.01])
def test_threshold_out_of_range(threshold):
    with pytest.raises(ConfigError, match=r"router\.threshold"):
        routers.build("top_p", 4, 4, threshold=threshold)

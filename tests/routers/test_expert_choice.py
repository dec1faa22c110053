"""Expert choice compared with a slow computation, and its traits."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import routers
from routers import ConfigError, Items


def slow(probs: np.ndarray, real: np.ndarray, groups: int, factor: float) -> np.ndarray:
    """``(N, E)`` weights, 0 where an expert did not take the item."""
    n, e = probs.shape
    length = n // groups
    weights = np.zeros((n, e))
    for group in range(groups):
        members = [i for i in range(group * length, (group + 1) * length) if real[i]]
        capacity = math.ceil(factor * len(members) / e - 1e-9)
        for expert in range(e):
            for i in sorted(members, key=lambda i: -probs[i, expert])[:capacity]:
                weights[i, expert] = probs[i, expert]
    return weights


@settings(deadline=None, max_examples=25)
@given(
    length=st.integers(1, 9),
    groups=st.integers(1, 3),
    e=st.integers(2, 6),
    factor=st.sampled_from([0.5, 1.0, 1.3, 2.0]),
    masked=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_against_a_slow_computation(length, groups, e, factor, masked, seed):
    torch.manual_seed(seed)
    n = length * groups
    mask = torch.rand(n) > 0.4 if masked else None
    router = routers.build("expert_choice", 4, e, factor=factor).double()
    routing = router(Items(torch.randn(n, 4, dtype=torch.float64), groups=groups, mask=mask))
    found = torch.zeros(n, e, dtype=torch.float64)
    found[routing.item, routing.expert] = routing.weight.detach()
    real = np.ones(n, dtype=bool) if mask is None else mask.numpy()
    expected = slow(routing.logits.detach().softmax(-1).numpy(), real, groups, factor)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)


def test_load_is_even_and_lies_expert_by_expert():
    routing = routers.build("expert_choice", 4, 4, factor=1.5)(Items(torch.randn(8, 4)))
    assert routing.load.tolist() == [3, 3, 3, 3]
    assert routing.fan_in == 3


def test_weights_are_not_renormalized():
    torch.manual_seed(0)
    routing = routers.build("expert_choice", 4, 4)(Items(torch.randn(8, 4)))
    torch.testing.assert_close(routing.weight, routing.probs[routing.item, routing.expert])


def test_it_sees_the_future_and_says_so():
    router = routers.build("expert_choice", 2, 2, factor=1.0).eval()
    with torch.no_grad():
        router.gate.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    early = torch.tensor([[1.0, 0.0], [0.5, 0.0]])
    quiet = torch.tensor([[0.0, 0.0], [0.0, 0.0]])
    loud = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    before, after = (
        router(Items(torch.cat([early, late]))).assigned_mask[:2] for late in (quiet, loud)
    )
    assert before[:, 0].all()
    assert not after[:, 0].any()
    assert not router.traits.causal
    assert not router.traits.per_item


@pytest.mark.parametrize("factor", [0.0, 5.0])
def test_factor_out_of_range(factor):
    with pytest.raises(ConfigError, match=r"router\.factor=.*num_experts=4"):
        routers.build("expert_choice", 4, 4, factor=factor)

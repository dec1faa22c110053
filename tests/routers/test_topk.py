"""Top-K: two weightings, the pitfall of one expert, jitter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import routers
from routers import ConfigError, Items


def identity_router(k: int, weighting: str, **options: object) -> routers.Router:
    """Three experts whose logits are the item itself."""
    router = routers.build("topk", 3, 3, k=k, weighting=weighting, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(3))
    return router


# softmax of (log 1, log 3, log 6) is (.1, .3, .6)
X = torch.tensor([[1.0, 3.0, 6.0]]).log()


def test_weights_are_probabilities_of_the_chosen():
    routing = identity_router(2, "probability")(Items(X))
    assert routing.expert.tolist() == [2, 1]
    torch.testing.assert_close(routing.weight, torch.tensor([0.6, 0.3]))


def test_renormalized_weights_are_probabilities_over_their_sum():
    routing = identity_router(2, "renormalized")(Items(X))
    torch.testing.assert_close(routing.weight, torch.tensor([2 / 3, 1 / 3]))


def test_probs_are_softmaxed_once():
    routing = identity_router(2, "renormalized")(Items(X))
    torch.testing.assert_close(routing.probs, torch.tensor([[0.1, 0.3, 0.6]]))


@settings(deadline=None, max_examples=20)
@given(k=st.integers(1, 6), n=st.integers(1, 9), seed=st.integers(0, 999))
def test_chosen_are_the_k_largest(k, n, seed):
    torch.manual_seed(seed)
    router = routers.build("topk", 5, 6, k=k, weighting="probability")
    routing = router(Items(torch.randn(n, 5)))
    for item in range(n):
        ranked = sorted(range(6), key=lambda e: -routing.logits[item, e].item())
        assert set(routing.expert[routing.item == item].tolist()) == set(ranked[:k])


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("topk", {"k": 1}),
        ("noisy_topk", {"k": 1}),
        ("hierarchical", {"primary_k": 1, "k": 2, "weighting": "renormalized"}),
        ("hierarchical", {"primary_k": 2, "k": 1, "weighting": "renormalized"}),
    ],
)
def test_one_renormalized_expert_is_refused_with_a_cure(name, options):
    with pytest.raises(ConfigError, match=r"k=1.*2.*use (topk with )?weighting=probability"):
        routers.build(name, 8, 8, **options)


def test_one_expert_with_its_probability_learns():
    torch.manual_seed(0)
    router = routers.build("topk", 4, 4, k=1, weighting="probability")
    router(Items(torch.randn(6, 4))).weight.sum().backward()
    assert router.gate.weight.grad.norm() > 1e-3


@pytest.mark.parametrize(("k", "allowed"), [(0, r"\[1, num_experts=3\]"), (4, "num_experts=3")])
def test_k_out_of_range(k, allowed):
    with pytest.raises(ConfigError, match=rf"router.k={k} .*{allowed}"):
        routers.build("topk", 3, 3, k=k)


def test_jitter_multiplies_the_input_in_training():
    router = identity_router(2, "renormalized", jitter=0.25)
    x = torch.tensor([[1.0, 2.0, 0.0]]).repeat(500, 1)
    factor = router(Items(x)).logits / x.clamp_min(1)
    assert (factor[:, 2] == 0).all()  # additive noise would move a zero
    assert 0.75 <= factor[:, :2].min() < 0.8
    assert 1.2 < factor[:, :2].max() <= 1.25
    assert (x == torch.tensor([1.0, 2.0, 0.0])).all()


def test_no_jitter_in_eval():
    router = identity_router(2, "renormalized", jitter=0.25).eval()
    assert torch.equal(router(Items(X)).logits, X)


@pytest.mark.parametrize("jitter", [-0.1, 1.0])
def test_jitter_out_of_range(jitter):
    with pytest.raises(ConfigError, match=r"router\.jitter"):
        routers.build("topk", 3, 3, jitter=jitter)

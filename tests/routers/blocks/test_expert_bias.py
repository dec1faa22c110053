"""Loss-free balancing: each rule by hand, and its effect on the load."""

import numpy as np
import pytest
import torch

from routers import max_violation
from routers.blocks import (
    UPDATE_RULES,
    DualBias,
    PidBias,
    ProportionalBias,
    QuantileBias,
    SignBias,
)

N, E, K = 2000, 8, 2


def skewed(seed: int = 0) -> torch.Tensor:
    """Scores within 0 and 1 under which a few experts get most items."""
    torch.manual_seed(seed)
    return (torch.randn(N, E) + torch.linspace(-1, 1, E)).sigmoid()


def load_of(scores: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.bincount((scores + bias).topk(K).indices.flatten(), minlength=E)


def step(bias, scores):
    bias.adapt(load_of(scores, bias.value))
    tally = bias.counts(scores)
    if tally is not None:
        bias.adapt_from_counts(tally)


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_every_rule_balances_by_itself(rule):
    scores = skewed()
    bias = UPDATE_RULES[rule](E, K, None)
    before = max_violation(load_of(scores, bias.value))
    for _ in range(300):
        step(bias, scores)
    assert before > 1.0
    assert max_violation(load_of(scores, bias.value)) < 0.12


@pytest.mark.parametrize(("shift", "spread"), [(-8.0, 0.5), (0.0, 0.0005)])
def test_by_quantile_scores_may_lie_close(shift, spread):
    torch.manual_seed(0)
    scores = (shift + spread * (torch.randn(N, E) + torch.linspace(-1, 1, E))).sigmoid()
    bias = QuantileBias(E, K, None)
    for _ in range(100):
        step(bias, scores)
    assert max_violation(load_of(scores, bias.value)) < 0.12


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_nothing_moves_where_nothing_came(rule):
    bias = UPDATE_RULES[rule](E, K, None)
    step(bias, skewed())
    held = bias.value.clone()
    assert held.any()
    bias.adapt(torch.zeros(E, dtype=torch.int64))
    bias.adapt_from_counts(torch.zeros(bias.num_counts, dtype=torch.int64))
    assert torch.equal(bias.value, held)


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_a_rate_of_zero_is_no_bias(rule):
    bias = UPDATE_RULES[rule](E, K, 0.0)
    step(bias, skewed())
    assert not bias.value.any()


@pytest.mark.parametrize("rule", UPDATE_RULES)
def test_it_stays_in_float32_whatever_the_module_is_cast_to(rule):
    bias = UPDATE_RULES[rule](E, K, None).to(torch.bfloat16)
    for _ in range(50):
        step(bias, skewed())
    assert bias.value.dtype == torch.float32
    assert not torch.equal(bias.value, bias.value.bfloat16().float())
    assert not list(bias.parameters())
    saved = bias.state_dict()
    assert saved.keys() == dict(bias.named_buffers()).keys() >= {"value"}
    assert all(values.dtype == torch.float32 for values in saved.values())


def test_by_sign_the_size_of_a_lack_does_not_count():
    bias = SignBias(4, 1, 0.25)
    bias.adapt(torch.tensor([90, 2, 4, 4]))
    assert bias.value.tolist() == [-0.25, 0.25, 0.25, 0.25]
    bias.adapt(torch.tensor([4, 4, 2, 6]))  # an expert at the mean stays
    assert bias.value.tolist() == [-0.25, 0.25, 0.5, 0.0]


def test_the_mean_of_huge_loads_is_exact():
    bias = SignBias(2, 1, 1.0)
    bias.adapt(torch.tensor([2**40, 2**40 + 2]))
    assert bias.value.tolist() == [1.0, -1.0]


def test_by_proportion_a_step_is_relative_to_the_mean():
    for size in (1, 1000):
        bias = ProportionalBias(4, 1, 0.5)
        bias.adapt(size * torch.tensor([8, 0, 4, 4]))
        assert bias.value.tolist() == [-0.5, 0.5, 0.0, 0.0]


def test_by_quantile_one_step_makes_loads_even_where_one_expert_is_off():
    # s_1 - s_0 is uniform on -0.2 .. 0.6: an even share needs b_0 - b_1 = 0.2
    gap = torch.linspace(-0.2, 0.6, 4001)
    scores = torch.stack([0.3 - gap / 2, 0.3 + gap / 2], 1)
    bias = QuantileBias(2, 1, 1.0)
    for _ in range(2):  # each sees the other's cutoff, so the first step goes halfway or beyond
        bias.adapt_from_counts(bias.counts(scores))
    chosen = (scores + bias.value).argmax(1)
    assert max_violation(torch.bincount(chosen, minlength=2)) < 0.02


def test_by_quantile_parts_of_a_step_add_up():
    scores = skewed()
    whole, parts = QuantileBias(E, K, 1.0), QuantileBias(E, K, 1.0)
    whole.adapt_from_counts(whole.counts(scores))
    parts.adapt_from_counts(sum(parts.counts(part) for part in scores.split(300)))
    assert torch.equal(whole.value, parts.value)
    assert abs(whole.value.mean().item()) < 8 * torch.finfo(torch.float32).eps


def test_by_quantile_needed_biases_are_those_of_the_definition():
    scores = skewed()
    bias = QuantileBias(E, K, 1.0)
    bias.value += torch.linspace(0.2, -0.2, E)
    cutoff = (scores + bias.value).sort(-1, descending=True).values[:, K : K + 1]
    goal = (cutoff - scores).double().quantile(K / E, 0)
    bias.adapt_from_counts(bias.counts(scores))
    torch.testing.assert_close(bias.value.double(), goal - goal.mean(), atol=0.005, rtol=0)


def test_pid_is_the_sum_of_errors_the_last_one_and_its_change():
    loads = np.random.default_rng(0).integers(0, 50, (5, E))
    bias = PidBias(E, K, 0.1)
    for load in loads:
        bias.adapt(torch.from_numpy(load))
        bias.adapt(torch.zeros(E, dtype=torch.int64))  # a step without items is none
    errors = 1 - loads / loads.mean(1, keepdims=True)
    wanted = 0.1 * (errors.sum(0) + errors[-1] + 0.25 * (errors[-1] - errors[-2]))
    np.testing.assert_allclose(bias.value.numpy(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n", [200, 203])
def test_bip_by_sorted_lists(n):
    """Algorithm 1; in its last round any price between two items parts them alike."""
    scores = skewed()[:n].double().numpy()
    start = np.linspace(0.1, -0.2, E, dtype=np.float32)
    q, ranked = -start.astype(float), lambda values, rank: sorted(values)[::-1][rank - 1]
    for _ in range(DualBias.rounds):
        p = np.array([ranked(row - q, K + 1) for row in scores])
        most = n * K // E
        last = [[ranked(s - p, most + extra) for s in scores.T] for extra in (1, 0)]
        q = np.maximum(last[0], 0)
    bias = DualBias(E, K, 0.5)
    bias.value.copy_(torch.from_numpy(start))
    bias.adapt_from_counts(bias.counts(torch.from_numpy(scores)))
    found = start - (start - bias.value.numpy()) * 2  # half of the way was gone
    low, high = (-np.maximum(values, 0) for values in (last[1], last[0]))
    assert (found > low - 0.005).all()
    assert (found < high + 0.005).all()
    assert (q > 0.02).sum() >= 2

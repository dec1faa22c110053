"""Group-limited top-K, compared with a loop over items."""

import pytest
import torch

import routers
from routers import ConfigError, Items


def reference(scores: list[float], groups: int, kept: int, k: int) -> set[int]:
    """DeepSeek-V3's rule for one item, by sorting."""
    size = len(scores) // groups
    members = [range(g * size, (g + 1) * size) for g in range(groups)]
    worth = [sum(sorted((scores[e] for e in group), reverse=True)[:2]) for group in members]
    best = sorted(range(groups), key=lambda g: -worth[g])[:kept]
    allowed = [e for g in best for e in members[g]]
    return set(sorted(allowed, key=lambda e: -scores[e])[:k])


@pytest.mark.parametrize(
    ("experts", "groups", "kept", "k"),
    [(8, 4, 2, 2), (8, 4, 1, 2), (12, 3, 2, 5), (16, 4, 4, 3), (6, 6, 3, 3), (8, 1, 1, 4)],
)
def test_chosen_are_the_best_of_the_best_groups(experts, groups, kept, k):
    torch.manual_seed(0)
    router = routers.build("grouped_topk", 5, experts, k=k, expert_groups=groups, kept_groups=kept)
    router.bias.value += 0.3 * torch.randn(experts)
    routing = router(Items(torch.randn(40, 5)))
    scores = routing.logits.sigmoid()
    for item in range(40):
        chosen = routing.expert[routing.item == item]
        biased = (scores[item] + router.bias.value).tolist()
        assert set(chosen.tolist()) == reference(biased, groups, kept, k)
        expected = scores[item, chosen] / scores[item, chosen].sum()
        torch.testing.assert_close(routing.weight[routing.item == item], expected)


def test_two_good_experts_outweigh_one_excellent():
    router = routers.build("grouped_topk", 4, 4, k=2, expert_groups=2, kept_groups=1)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(4))
    # scores .9 and .1 against .6 and .5
    x = torch.tensor([[9.0, 1 / 9, 1.5, 1.0]]).log()
    assert router(Items(x)).expert.tolist() == [2, 3]


def test_the_bias_follows_the_load():
    router = routers.build("grouped_topk", 4, 4, expert_groups=2, kept_groups=1, rate=0.5)
    router.adapt(torch.tensor([4, 4, 0, 0]))
    assert router.bias.value.tolist() == [-0.5, -0.5, 0.5, 0.5]
    assert router(Items(torch.zeros(3, 4))).load.tolist() == [0, 0, 3, 3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expert_groups": 3}, r"router\.expert_groups=3 .*divisor of num_experts=8"),
        ({"expert_groups": 0}, r"router\.expert_groups=0"),
        ({"kept_groups": 5}, r"router\.kept_groups=5 .*in \[1, expert_groups=4\]"),
        ({"kept_groups": 1, "k": 3}, r"router\.kept_groups=1 .*in \[2, .*to hold k=3"),
        ({"rule": "quantile"}, r"router\.rule=quantile.*sign"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("grouped_topk", 4, 8, **options)

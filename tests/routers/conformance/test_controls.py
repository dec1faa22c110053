"""Routers that route at random, by what comes next, or as they began."""

import pytest
import torch

import routers
from routers import CheckError, ConfigError, Items, Router, Traits
from routers.conformance.checks.traits import check_causal
from routers.conformance.harness import RouterUnderTest

from ...router_samples import traits

X = torch.zeros(6, 3)
IDS = torch.tensor([11, 22, 33, 44, 55, 66])


def expert_of(ids: torch.Tensor) -> list[int]:
    """Where ``hash`` sends these ids: what ``oracle`` does to those that come before."""
    return routers.build("hash", 3, 8)(Items(torch.zeros(len(ids), 3), ids=ids)).expert.tolist()


# ---- oracle ----


def test_oracle_routes_by_the_next_id_and_the_last_by_its_own():
    routing = routers.build("oracle", 3, 8)(Items(X, ids=IDS))
    assert routing.expert.tolist() == expert_of(IDS[[1, 2, 3, 4, 5, 5]])
    assert routing.weight.tolist() == [1.0] * 6


def test_oracle_does_not_look_into_the_next_group():
    routing = routers.build("oracle", 3, 8)(Items(X, groups=2, ids=IDS))
    assert routing.expert.tolist() == expert_of(IDS[[1, 2, 2, 4, 5, 5]])


def test_oracle_skips_padding():
    mask = torch.tensor([True, False, False, True, True, False])
    routing = routers.build("oracle", 3, 8)(Items(X, mask=mask, ids=IDS))
    assert routing.item.tolist() == [0, 3, 4]
    assert routing.expert.tolist() == expert_of(IDS[[3, 4, 4]])


class Liar(routers.ROUTERS["oracle"]):
    """An oracle that calls itself causal. Source: 2024.

    >>> Liar.traits.causal
    True
    """

    traits = Traits(
        learned=False, per_item=False, equivariant=False, needs_ids=True, has_logits=False
    )


def test_the_kit_catches_an_oracle_that_calls_itself_causal():
    with pytest.raises(CheckError, match="change earlier routes"):
        check_causal(RouterUnderTest(Liar, 8, 4))


def test_oracle_without_ids_says_what_to_do():
    with pytest.raises(ConfigError, match=r"router=oracle: needs ids.*ids=\.\.\."):
        routers.build("oracle", 3, 4)(Items(X))


def test_oracle_is_prepared_as_its_table_is():
    router = routers.build("oracle", 3, 2, table="balanced", buckets=64)
    router.prepare(torch.tensor([7] * 8 + [5] * 4 + [3] * 3), torch.zeros(15, 1))
    # the most frequent id to expert 0, the others to expert 1
    assert router(Items(X[:3], ids=torch.tensor([5, 7, 3]))).expert.tolist() == [0, 1, 1]


# ---- stochastic ----


def test_stochastic_draws_every_expert_alike_and_anew():
    torch.manual_seed(0)
    router = routers.build("stochastic", 1, 4).train()
    items = Items(torch.zeros(4000, 1))
    first, second = router(items), router(items)
    # 1000 each, four standard deviations are 110; a quarter of all draws repeat, within 4 of 27
    assert (first.load - 1000).abs().max() < 110
    assert abs((first.expert == second.expert).sum().item() - 1000) < 110


def test_stochastic_experts_of_an_item_differ_and_share():
    routing = routers.build("stochastic", 1, 4, k=3)(Items(torch.zeros(50, 1)))
    assert all(len(set(row)) == 3 for row in routing.expert.view(50, 3).tolist())
    torch.testing.assert_close(routing.weight, torch.full((150,), 1 / 3))


def test_stochastic_lots_of_eval_follow_seed_and_place():
    items = Items(torch.zeros(40, 1), groups=2)
    one, again, other = (routers.build("stochastic", 1, 8, seed=s).eval()(items) for s in (1, 1, 2))
    assert torch.equal(one.expert, again.expert)
    assert not torch.equal(one.expert, other.expert)
    assert torch.equal(one.expert[:20], one.expert[20:])


def test_stochastic_lots_of_eval_give_every_expert_its_turn():
    load = routers.build("stochastic", 1, 8, k=2).eval()(Items(torch.zeros(16, 1))).load
    assert load.tolist() == [4] * 8


def test_a_seed_out_of_range():
    with pytest.raises(ConfigError, match=r"router\.seed=-1"):
        routers.build("stochastic", 1, 4, seed=-1)


# ---- frozen ----


def built(name: str, **options: object) -> Router:
    torch.manual_seed(0)
    return routers.build(name, 3, 8, **options)


def test_frozen_top_k_is_random_fixed():
    items = Items(torch.randn(9, 3))
    one, other = built("frozen", of="topk"), built("random_fixed")
    assert torch.equal(one(items).expert, other(items).expert)
    assert torch.equal(one(items).weight, other(items).weight)


def test_frozen_routes_as_the_router_at_its_start_noise_included():
    items = Items(torch.randn(9, 3))
    frozen, plain = built("frozen", of="noisy_topk"), built("noisy_topk")
    torch.manual_seed(1)
    before = frozen(items)
    torch.manual_seed(1)
    assert torch.equal(before.logits, plain(items).logits)
    assert not torch.equal(frozen(items).logits, before.logits)


def test_frozen_does_not_move():
    router = built("frozen", of="soft_mixture").train()
    frozen = {name: value.clone() for name, value in router.state_dict().items()}
    assert not router(Items(torch.randn(9, 3))).weight.requires_grad
    router.adapt(torch.arange(8))
    assert all(torch.equal(value, frozen[name]) for name, value in router.state_dict().items())


def test_frozen_promises_what_the_router_promises():
    assert not built("frozen", of="expert_choice").traits.causal
    assert built("frozen", of="topk").traits.causal


@pytest.mark.parametrize("of", [n for n in routers.available() if not traits(n).learned])
def test_what_learns_nothing_cannot_be_frozen(of):
    with pytest.raises(ConfigError, match=rf"router\.of={of} is invalid: .*trait learned"):
        built("frozen", of=of)


def test_errors_in_routing_name_the_frozen_router():
    router = built("frozen", of="task_gate", options={"tasks": 2})
    with pytest.raises(ConfigError, match=r"^router=task_gate: .* task 2: .* \[0, tasks=2\)"):
        router(Items(X, task=torch.tensor([0, 1, 2, 0, 1, 2])))
    with pytest.raises(ConfigError, match=r"^router=task_gate: needs the task"):
        router(Items(X))


def test_the_kit_holds_for_a_frozen_router_that_reads_tasks_and_content():
    routers.check_router("frozen", of="task_gate")


def test_frozen_passes_options_on():
    assert built("frozen", of="topk", options={"k": 3})(Items(X)).num_assignments == 18
    with pytest.raises(ConfigError, match="did you mean 'k'"):
        built("frozen", of="topk", options={"kk": 3})

"""Hash routing: the tables and their requirements."""

from dataclasses import replace

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.blocks import k_means


def experts(router: routers.Router, ids: list[int]) -> list[int]:
    return router(Items(torch.zeros(len(ids), 2), ids=torch.tensor(ids))).expert.tolist()


def prepared(table: str, ids: list[int], features: torch.Tensor, e: int = 2) -> routers.Router:
    router = routers.build("hash", 2, e, table=table, buckets=64)
    router.prepare(torch.tensor(ids), features)
    return router


def test_same_id_same_expert_weight_one():
    router = routers.build("hash", 2, 8)
    routing = router(Items(torch.randn(4, 2), ids=torch.tensor([3, 9, 3, 3])))
    assert routing.expert[0] == routing.expert[2] == routing.expert[3]
    assert routing.weight.tolist() == [1, 1, 1, 1]


def test_random_is_reproducible_by_seed():
    ids = list(range(200))
    one, again, other = (routers.build("hash", 2, 8, seed=s) for s in (1, 1, 2))
    assert experts(one, ids) == experts(again, ids)
    assert experts(one, ids) != experts(other, ids)


def test_random_ignores_the_global_generator():
    before = torch.get_rng_state()
    routers.build("hash", 2, 8)
    assert torch.equal(torch.get_rng_state(), before)


def test_random_uses_all_experts_alike():
    load = torch.bincount(routers.build("hash", 2, 4).table)
    # 65536 / 4 = 16384, four standard deviations are 443
    assert (load - 16384).abs().max() < 443


def test_balanced_deals_by_frequency():
    # counts 8, 4, 3, 1: the first to expert 0, the others together to expert 1
    ids = [7] * 8 + [5] * 4 + [3] * 3 + [1]
    router = prepared("balanced", ids, torch.zeros(16, 1))
    assert experts(router, [7, 5, 3, 1]) == [0, 1, 1, 1]
    routing = router(Items(torch.zeros(16, 2), ids=torch.tensor(ids)))
    assert routing.load.tolist() == [8, 8]


def test_balanced_is_more_even_than_random_on_skewed_counts():
    torch.manual_seed(0)
    ids = (torch.rand(2000).pow(2) * 50).long()
    spread = {
        table: prepared(table, ids.tolist(), torch.zeros(2000, 1), 4)(
            Items(torch.zeros(2000, 2), ids=ids)
        ).load.double()
        for table in ("balanced", "random")
    }
    assert spread["balanced"].max() < 1.05 * 500
    assert spread["random"].max() > 1.2 * 500


def test_clustered_keeps_near_features_together():
    ids = list(range(10)) * 3
    centre = torch.tensor([0.0 if i < 5 else 10.0 for i in ids]).unsqueeze(1)
    torch.manual_seed(0)
    found = experts(prepared("clustered", ids, centre + torch.rand(30, 1)), list(range(10)))
    assert len(set(found[:5])) == len(set(found[5:])) == 1
    assert found[0] != found[9]


def test_clustered_averages_an_ids_features():
    # ids 0 and 1 are near on average, though their single rows are far
    ids = [0, 0, 1, 1, 2, 2]
    features = torch.tensor([[-9.0], [9.0], [8.0], [-8.0], [50.0], [51.0]])
    found = experts(prepared("clustered", ids, features), [0, 1, 2])
    assert found[0] == found[1] != found[2]


#: Wherever two centres start among these, the far pair is parted from the rest, but not at once.
SPREAD = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 30.0, 31.0]


@pytest.mark.parametrize("seed", range(6))
def test_clustered_goes_on_until_clusters_stay(seed):
    router = routers.build("hash", 2, 2, table="clustered", buckets=64, seed=seed)
    router.prepare(torch.arange(12), torch.tensor(SPREAD).unsqueeze(1))
    found = experts(router, list(range(12)))
    assert found == [found[0]] * 10 + [1 - found[0]] * 2


@pytest.mark.parametrize("rounds", range(4))
def test_lloyds_rounds_by_slow_loops(rounds):
    drawn = torch.randperm(12, generator=torch.Generator().manual_seed(1))[:2].tolist()
    centres = [SPREAD[place] for place in drawn]

    def nearest() -> list[int]:
        return [min(range(2), key=lambda c: abs(point - centres[c])) for point in SPREAD]

    for _ in range(rounds):
        clusters = [[p for p, c in zip(SPREAD, nearest(), strict=True) if c == i] for i in range(2)]
        centres = [sum(cluster) / len(cluster) for cluster in clusters]
    points = torch.tensor(SPREAD, dtype=torch.float64).unsqueeze(1)
    found = k_means(points, 2, torch.Generator().manual_seed(1), rounds)
    assert found.tolist() == nearest()


@pytest.mark.parametrize("table", ["balanced", "clustered", "dispersed"])
def test_where_no_id_was_seen_the_table_is_random(table):
    random = routers.build("hash", 2, 4, buckets=64, seed=3)
    router = routers.build("hash", 2, 4, table=table, buckets=64, seed=3)
    router.prepare(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 5))
    assert experts(router, list(range(64))) == experts(random, list(range(64)))
    router.prepare(torch.tensor([7, 9]), torch.randn(2, 5))
    others = [i for i in range(64) if i not in (7, 9)]
    assert experts(router, others) == experts(random, others)


def test_dispersed_deals_out_what_is_near():
    # five ids near 0, seven near 10, some seen more often: no cluster has two more on one expert
    ids = [*range(12), 0, 0, 1, 11, 11, 11]
    features = torch.tensor([0.0 if i < 5 else 10.0 for i in ids]).unsqueeze(1)
    torch.manual_seed(0)
    found = experts(prepared("dispersed", ids, features + torch.rand(18, 1)), list(range(12)))
    assert sorted([found[:5].count(0), found[:5].count(1)]) == [2, 3]
    assert sorted([found[5:].count(0), found[5:].count(1)]) == [3, 4]
    assert found.count(0) == found.count(1) == 6


def test_dispersed_and_clustered_are_of_the_same_clusters():
    torch.manual_seed(0)
    ids, features = list(range(40)), torch.randn(40, 3)
    cluster = experts(prepared("clustered", ids, features, 4), ids)
    expert = experts(prepared("dispersed", ids, features, 4), ids)
    for c in range(4):
        dealt = [expert[i] for i in ids if cluster[i] == c]
        assert max(map(dealt.count, range(4))) - min(map(dealt.count, range(4))) <= 1
    assert [expert.count(e) for e in range(4)] == [10] * 4


def test_ids_beyond_the_buckets_wrap_around():
    router = routers.build("hash", 2, 8, buckets=16)
    assert experts(router, [3, 19, 35]) == [experts(router, [3])[0]] * 3


def test_without_ids_it_says_what_to_do():
    with pytest.raises(ConfigError, match=r"router=hash: needs ids.*ids=\.\.\."):
        routers.build("hash", 2, 4)(Items(torch.zeros(3, 2)))


@pytest.mark.parametrize("table", ["balanced", "clustered", "dispersed"])
def test_tables_from_data_must_be_prepared(table):
    router = routers.build("hash", 2, 4, table=table)
    with pytest.raises(ConfigError, match=r"router\.prepare\(ids, features\)"):
        experts(router, [1, 2])


def test_a_prepared_table_travels_in_the_state_dict():
    router = prepared("balanced", [7] * 8 + [5] * 4, torch.zeros(12, 1))
    fresh = routers.build("hash", 2, 2, table="balanced", buckets=64, seed=9)
    fresh.load_state_dict(router.state_dict())
    assert experts(fresh, list(range(64))) == experts(router, list(range(64)))


def test_k_experts_are_different_and_any_set_is_as_likely():
    table = routers.build("hash", 2, 4, k=2).table.view(-1, 2)
    assert (table[:, 0] != table[:, 1]).all()
    pairs = torch.bincount(table[:, 0] * 4 + table[:, 1], minlength=16)
    pairs = pairs[pairs > 0]
    # 65536 / 12 = 5461, five standard deviations are 353
    assert len(pairs) == 12
    assert (pairs - 5461).abs().max() < 353


def test_previous_reads_the_unpadded_item_before_in_its_group():
    ids = torch.tensor([5, 7, 9, 11, 5, 9])
    mask = torch.tensor([True, False, True, True, True, True])
    items = Items(torch.zeros(6, 2), groups=2, ids=ids, mask=mask)
    router = routers.build("hash", 2, 64, by="previous")
    own = experts(routers.build("hash", 2, 64), ids.tolist())
    assert router(items).expert.tolist() == [own[i] for i in (0, 0, 3, 3, 4)]
    left = router(replace(items, mask=torch.tensor([False, True, True, False, True, True])))
    assert left.expert.tolist() == [own[i] for i in (1, 1, 4, 4)]


def test_selected_experts_keep_their_gate_and_stay_different():
    torch.manual_seed(0)
    router = routers.build("hash", 3, 4, k=2, weighting="sigmoid")
    items = Items(torch.randn(9, 3), ids=torch.arange(9))
    order = [2, 0, 3, 1]
    before, after = router(items), router.take_experts(order)(items)
    assert torch.tensor(order)[after.expert].tolist() == before.expert.tolist()
    torch.testing.assert_close(after.weight, before.weight)
    fewer = router.take_experts([3, 1, 1]).table.view(-1, 2)
    assert (fewer[:, 0] != fewer[:, 1]).all()
    swapped = prepared("balanced", [7] * 8 + [5] * 4, torch.zeros(12, 1)).take_experts([1, 0])
    assert experts(swapped, [7, 5]) == [1, 0]


def test_bad_options():
    for options, message in (
        ({"by": "next"}, r"router\.by=next: unknown"),
        ({"by": "position", "table": "balanced"}, "random with by=position"),
        ({"weighting": "sigmoid"}, r"router\.k=1 .*integer in \[2,"),
        ({"weighting": "sigmoud"}, "did you mean 'sigmoid'"),
        ({"k": 5}, r"router\.k=5"),
    ):
        with pytest.raises(ConfigError, match=message):
            routers.build("hash", 2, 4, **options)
    with pytest.raises(ConfigError, match=r"did you mean 'balanced'"):
        routers.build("hash", 2, 4, table="balance")
    with pytest.raises(ConfigError, match=r"router\.buckets=0"):
        routers.build("hash", 2, 4, buckets=0)

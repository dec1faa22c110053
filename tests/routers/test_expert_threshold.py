"""Expert thresholds: items above thresholds, thresholds follow quantiles, items are independent."""

import pytest
import torch

import routers
from routers import ConfigError, Items, load_cv
from routers.expert_threshold import Threshold


def identity_router(**options: object) -> routers.Router:
    """Four experts whose logits are the item itself."""
    router = routers.build("expert_threshold", 4, 4, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(4))
    return router


def test_an_item_goes_where_its_score_is_above_the_bar():
    router = identity_router()
    router.threshold.value.copy_(torch.tensor([0.2, 0.95, 0.5, 0.99]).logit())
    x = torch.tensor([[1.0, 9.0, 4.0, 9.0], [1 / 9, 9.0, 0.5, 9.0]]).log()
    routing = router(Items(x))  # scores .5 .9 .8 .9, and .1 .9 .33 .9
    assert routing.item.tolist() == [0, 0]
    assert routing.expert.tolist() == [0, 2]
    torch.testing.assert_close(routing.weight, torch.tensor([0.5, 0.8]))


def test_bars_are_the_quantiles_of_the_steps_items():
    torch.manual_seed(0)
    router = identity_router(factor=1.0)
    x = torch.randn(4000, 4) + torch.tensor([-1.0, 0.0, 1.0, 2.0])
    router.adapt_from_counts(sum(router(Items(part)).extras["counts"] for part in x.split(900)))
    exact = x.quantile(0.75, 0)
    torch.testing.assert_close(router.threshold.value, exact, atol=0.01, rtol=0)
    assert (router(Items(x)).load - 1000).abs().max() < 60


@pytest.mark.parametrize("shift", [-8.0, 0.0, 8.0])
@pytest.mark.parametrize("spread", [0.002, 0.5])
def test_bars_part_scores_wherever_they_lie_and_however_close(shift, spread):
    torch.manual_seed(0)
    router, fresh = identity_router(factor=1.0), identity_router(factor=1.0)
    for _ in range(60):
        router.adapt_from_counts(
            router(Items(shift + spread * torch.randn(1000, 4))).extras["counts"]
        )
    fresh.load_state_dict(router.state_dict())
    load = fresh.eval()(Items(shift + spread * torch.randn(8000, 4))).load
    assert load.sum().item() / 8000 == pytest.approx(1.0, rel=0.1)
    assert load_cv(load) < 0.1


def test_bars_follow_a_gate_that_moves_far_in_the_middle_of_training():
    torch.manual_seed(0)
    router = identity_router()
    for shift in [0.0] * 40 + [-8.0] * 60:
        router.adapt_from_counts(router(Items(shift + torch.randn(1000, 4))).extras["counts"])
    routing = router(Items(torch.randn(8000, 4) - 8))
    assert routing.num_assignments / 8000 == pytest.approx(2.0, rel=0.1)


@pytest.mark.parametrize("gate", routers.GATES)
@pytest.mark.parametrize(("e", "factor"), [(8, 2.0), (64, 1.0), (4, 4.0)])
def test_starts_near_its_share_with_any_gate(gate, e, factor):
    torch.manual_seed(0)
    router = routers.build("expert_threshold", 16, e, factor=factor, gate=gate).eval()
    # of 4096 items that the start is estimated on and these, five standard deviations are 0.1
    routing = router(Items(torch.randn(16000, 16), groups=160))
    assert routing.num_assignments / 16000 == pytest.approx(factor, rel=0.1)


def test_the_start_draws_no_lots_of_its_own():
    torch.manual_seed(0)
    one, gate = routers.build("expert_threshold", 4, 8), routers.build("topk", 4, 8).gate
    torch.manual_seed(0)
    torch.testing.assert_close(routers.build("topk", 4, 8).gate.weight, one.gate.weight)
    torch.testing.assert_close(routers.build("topk", 4, 8).gate.weight, gate.weight)


def test_a_gate_that_tells_no_item_apart_is_refused():
    with pytest.raises(ConfigError, match=r"router\.gate=a gate with equal scores for all items"):
        routers.build("expert_threshold", 4, 8, gate={"name": "linear", "scale": 0.0})


def test_first_steps_count_alike_later_ones_fade():
    bar, means = Threshold(torch.tensor([0.3, 0.3]), decay=0.75), []
    for new in (1.0, 0.0, 0.5, 0.5, 0.0):
        bar.update(torch.tensor([new, 0.0]))
        means.append(bar.value[0].item())
    assert means == pytest.approx([1.0, 0.5, 0.5, 0.5, 0.375])


def test_bars_are_saved():
    torch.manual_seed(0)
    router, fresh = (routers.build("expert_threshold", 4, 4) for _ in range(2))
    router.adapt_from_counts(router(Items(torch.randn(50, 4) + 1)).extras["counts"])
    fresh.load_state_dict(router.state_dict())
    assert torch.equal(fresh.threshold.value, router.threshold.value)
    assert fresh.threshold.steps == 1


def test_bars_move_in_training_alone_and_not_without_items():
    router = routers.build("expert_threshold", 4, 4)
    start = router.threshold.value.clone()
    tally = router(Items(torch.randn(50, 4) + 1)).extras["counts"]
    router.eval()
    router.adapt_from_counts(tally)
    router.train()
    router.adapt_from_counts(torch.zeros_like(tally))
    assert torch.equal(router.threshold.value, start)
    assert router.threshold.steps == 0
    router.adapt_from_counts(tally)
    assert (router.threshold.value != start).all()
    assert "counts" not in router.eval()(Items(torch.randn(50, 4))).extras


def test_padding_moves_no_bar():
    torch.manual_seed(0)
    router = routers.build("expert_threshold", 4, 4)
    x = torch.randn(6, 4)
    mask = torch.tensor([True, True, False, True, False, True])
    assert torch.equal(
        router(Items(x, mask=mask)).extras["counts"], router(Items(x[mask])).extras["counts"]
    )


def test_bars_stay_in_float32():
    router = routers.build("expert_threshold", 4, 4).to(torch.bfloat16)
    assert router.threshold.value.dtype == torch.float32
    assert router.gate.weight.dtype == torch.bfloat16


def test_an_expert_that_nobody_passes_gets_work_again():
    torch.manual_seed(0)
    router = identity_router(factor=1.0)
    router.threshold.steps += 1000
    router.threshold.value[0] = 1.0
    for _ in range(40):
        router.adapt_from_counts(router(Items(torch.randn(500, 4))).extras["counts"])
    load = router(Items(torch.randn(4000, 4))).load
    assert load_cv(load) < 0.1
    assert abs(load.sum().item() / 4000 - 1.0) < 0.1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"factor": 0.0}, r"router\.factor=0\.0"),
        ({"factor": 5.0}, r"router\.factor=5\.0.*num_experts=4"),
        ({"decay": 1.0}, r"router\.decay=1\.0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("expert_threshold", 4, 4, **options)

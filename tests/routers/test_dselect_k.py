"""DSelect-k: smooth bits, exact zeros, unused codes, and its losses."""

import math

import pytest
import torch

import experts
import routers
from routers import LOSSES, ConfigError, Items
from routers.dselect_k import smooth_step

LOG2 = math.log(2)


def router_of(scores: list[float], num_experts: int, k: int, **options: object) -> routers.Router:
    """A router that gives every item these scores: per selector its bits, lowest first, then a."""
    router = routers.build("dselect_k", 1, num_experts, k=k, gamma=1.0, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.tensor(scores).unsqueeze(1))
    return router


def routed(*given: object, n: int = 1) -> routers.Routing:
    return router_of(*given)(Items(torch.ones(n, 1)))


def test_smooth_step():
    t = torch.linspace(-1, 1, 201, dtype=torch.float64).requires_grad_()
    s = smooth_step(t)
    inside = t.detach().abs() < 0.5
    expected = -2 * t**3 + 1.5 * t + 0.5
    torch.testing.assert_close(s[inside], expected[inside])
    assert (s[t <= -0.5] == 0).all()
    assert (s[t >= 0.5] == 1).all()
    torch.testing.assert_close(s + s.flip(0), torch.ones_like(s))
    (slope,) = torch.autograd.grad(s.sum(), t)
    assert slope.abs().diff().abs().max() < 0.07  # no jump where it ends


def test_settled_bits_spell_the_number():
    # bits (0, 1, 1) are 0 + 2 + 4
    routing = routed([-9.0, 9.0, 9.0, 0.0], 8, 1)
    assert (routing.expert.tolist(), routing.weight.tolist()) == ([6], [1.0])


def test_half_open_bits_share_by_products():
    # S(.25) = .84375 that bit 0 is on; bit 1 is off
    routing = routed([0.25, -9.0, 0.0], 4, 1)
    torch.testing.assert_close(routing.probs, torch.tensor([[0.15625, 0.84375, 0.0, 0.0]]))
    assert routing.assigned_mask.tolist() == [[True, True, False, False]]


def test_selectors_are_mixed_by_a_softmax():
    # selector 0 says 1, selector 1 says 2; odds are 3 to 1
    routing = routed([9.0, -9.0, math.log(3), -9.0, 9.0, 0.0], 4, 2)
    torch.testing.assert_close(routing.probs, torch.tensor([[0.0, 0.75, 0.25, 0.0]]))
    assert routing.load.tolist() == [0, 1, 1, 0]


def test_gamma_widens_the_step():
    wide = router_of([0.5, 0.0], 2, 1)
    wide.gamma = 2.0
    torch.testing.assert_close(
        wide(Items(torch.ones(1, 1))).probs, torch.tensor([[0.15625, 0.84375]])
    )


def test_most_bits_of_a_new_gate_can_move_wherever_a_sweep_looks():
    torch.manual_seed(0)
    router = routers.build(
        "dselect_k", 64, 8, gamma=routers.ROUTERS["dselect_k"].search_space["gamma"]["low"]
    )
    bits = router.gate(Items(torch.randn(1000, 64))).view(1000, router.k, -1)[..., :-1]
    on = smooth_step(bits.detach() / router.gamma)
    assert ((on > 0) & (on < 1)).float().mean() > 0.6


def test_codes_of_nobody_take_weight_away():
    # 3 experts, two bits half on: each code a quarter, one of them unused
    routing = routed([0.0, 0.0, 0.0], 3, 1)
    assert routing.weight.tolist() == [0.25, 0.25, 0.25]
    torch.testing.assert_close(routing.probs, torch.full((1, 3), 1 / 3))
    lost = routed([9.0, 9.0, 0.0], 3, 1)
    assert (lost.num_assignments, lost.probs.tolist()) == (0, [[0.0, 0.0, 0.0]])


@pytest.mark.parametrize(
    ("e", "convex"), [(1, True), (2, True), (3, False), (8, True), (12, False)]
)
def test_weights_sum_to_one_where_every_code_is_somebodys(e, convex):
    assert routers.build("dselect_k", 4, e, k=1).traits.convex is convex


def test_selector_entropy_by_hand():
    # one selector with two open bits, another settled: 2 log 2 and 0
    routing = routed([0.0, 0.0, 0.0, 9.0, 9.0, 0.0], 4, 2, n=3)
    assert LOSSES["selector_entropy"](routing).item() == pytest.approx(2 * LOG2)


def test_selector_reach_by_hand():
    # a selector with three quarters within reach, another with all: 4 / 3 - 1 and 0
    routing = routed([0.0, 0.0, 0.0, -9.0, 9.0, 0.0], 3, 2, n=3)
    assert LOSSES["selector_reach"](routing).item() == pytest.approx(1 / 3)
    everyone = routed([0.0, 0.0, 0.0], 4, 1)
    assert LOSSES["selector_reach"](everyone).item() == 0


def test_reach_pulls_back_towards_experts():
    router = router_of([0.3, 0.3, 0.0], 3, 1)  # mostly at code 3, which no expert has
    LOSSES["selector_reach"](router(Items(torch.ones(1, 1)))).backward()
    assert (router.gate.weight.grad[:2] > 0).all()  # descent turns both bits down


def test_reach_pulls_harder_the_farther_experts_are():
    """Also where next to nothing of a selector is within reach."""
    bits = [0.3, 0.45, 0.47, 0.49]  # of one half, where a bit is settled
    pulls = []
    for bit in bits:
        router = router_of([bit, bit, 0.0], 3, 1).double()
        LOSSES["selector_reach"](router(Items(torch.ones(1, 1).double()))).backward()
        # the slope of a bit itself goes to 0 there: how hard its mass is pulled
        slope = 1.5 - 6 * bit**2
        pulls.append(router.gate.weight.grad[0].item() / slope)
    assert pulls == sorted(pulls)
    assert pulls[0] > 1
    assert pulls[-1] == pytest.approx(1e4, rel=0.01)  # of 1 / m at m = 0.01


def test_reach_is_an_inverse_continued_by_its_tangent():
    mass = torch.tensor([1.0, 0.5, 0.01, 0.005, 0.0], dtype=torch.float64).view(-1, 1, 1)
    mass.requires_grad_()
    routing = routers.Routing.by_mask(
        Items(torch.zeros(5, 1)), mass.detach().squeeze(1), extras={"selectors": mass}
    )
    value = 5 * LOSSES["selector_reach"](routing)
    assert value.item() == pytest.approx(0 + 1 + 99 + 149 + 199)
    (slope,) = torch.autograd.grad(value, mass)
    torch.testing.assert_close(slope.flatten(), -torch.tensor([1, 4, 1e4, 1e4, 1e4]).double())


def test_entropy_settles_bits():
    router = router_of([0.1, -0.1, 0.0], 4, 1)
    LOSSES["selector_entropy"](router(Items(torch.ones(1, 1)))).backward()
    assert router.gate.weight.grad[0] < 0 < router.gate.weight.grad[1]


def test_padding_counts_in_no_term():
    router = routers.build("dselect_k", 4, 5)
    x = torch.randn(6, 4)
    mask = torch.arange(6) < 4
    padded, short = router(Items(x, mask=mask)), router(Items(x[:4]))
    for name in ("selector_entropy", "selector_reach"):
        torch.testing.assert_close(LOSSES[name](padded), LOSSES[name](short))


def test_several_gates_are_summed():
    torch.manual_seed(0)
    gates = [routers.build("dselect_k", 4, 5) for _ in range(2)]
    layer = experts.MultiGateMoE(gates, experts.build("mlp", 4, 5), experts.mmoe(5, tasks=2))
    x = torch.randn(1, 9, 4)
    _, routing = layer(x)
    for name in ("selector_entropy", "selector_reach"):
        expected = sum(LOSSES[name](gate(Items(x[0]))) for gate in gates)
        torch.testing.assert_close(LOSSES[name](routing), expected)


def test_without_selectors_it_says_what_to_do():
    routing = routers.build("topk", 3, 3)(Items(torch.randn(2, 3)))
    for name in ("selector_entropy", "selector_reach"):
        with pytest.raises(ConfigError, match=rf"losses\.{name}: .*router=dselect_k"):
            LOSSES[name](routing)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 5}, {"gamma": 0.0}, {"gamma": float("inf")}])
def test_options_out_of_range(options):
    (name,) = options
    with pytest.raises(ConfigError, match=rf"router\.{name}="):
        routers.build("dselect_k", 3, 4, **options)

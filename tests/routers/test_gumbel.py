"""Gumbel top-K: samples of the gate's distribution, gradients of the relaxation."""

import io

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.gumbel import MIN_TEMPERATURE

# softmax of (log 1, log 3, log 6) is (.1, .3, .6)
X = torch.tensor([[1.0, 3.0, 6.0]]).log()


def identity_router(**options: object) -> routers.Router:
    """Three experts whose logits are the item itself."""
    router = routers.build("gumbel", 3, 3, **options)
    with torch.no_grad():
        router.gate.weight.copy_(torch.eye(3))
    return router


def test_one_is_drawn_by_its_probability():
    torch.manual_seed(0)
    n = 20_000
    share = identity_router(k=1)(Items(X.repeat(n, 1))).load / n
    assert (share - torch.tensor([0.1, 0.3, 0.6])).abs().max() < 4 * (0.25 / n) ** 0.5


def test_two_are_drawn_without_replacement():
    torch.manual_seed(0)
    n = 20_000
    routing = identity_router(k=2)(Items(X.repeat(n, 1)))
    # first 2 then 1, or first 1 then 2: .6 * .3 / .4 + .3 * .6 / .7
    both = (
        (routing.assigned_mask == torch.tensor([False, True, True])).all(1).double().mean().item()
    )
    assert abs(both - (0.6 * 0.3 / 0.4 + 0.3 * 0.6 / 0.7)) < 4 * (0.25 / n) ** 0.5


@pytest.mark.parametrize("k", [1, 2, 3])
def test_weights_are_even_in_training_and_eval(k):
    torch.manual_seed(0)
    router = identity_router(k=k)
    for mode in (True, False):
        weight = router.train(mode)(Items(torch.randn(9, 3))).weight
        torch.testing.assert_close(weight, torch.full((9 * k,), 1 / k))


def test_no_noise_in_eval():
    router = identity_router(k=2).eval()
    assert router(Items(X)).expert.tolist() == [2, 1]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_the_gradient_is_that_of_the_relaxed_draw(temperature):
    torch.manual_seed(0)
    router = identity_router(k=1, temperature=temperature, floor=temperature).double().eval()
    x = X.double()
    routing = router(Items(x))  # without noise, so that the draw is known
    (found,) = torch.autograd.grad(routing.weight.sum(), router.gate.weight)
    h = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad((h / temperature).softmax(-1)[0, 2], h)
    torch.testing.assert_close(found, expected.t() @ x)
    assert found.abs().max() > 0.1


def test_the_temperature_falls_to_its_floor():
    router = routers.build("gumbel", 3, 3, temperature=2.0, floor=0.5, rate=0.5)
    seen = []
    for _ in range(4):
        seen.append(router.temperature.value.item())
        router.adapt(torch.ones(3))
    assert seen == pytest.approx([2.0, 2 * 0.60653066, 2 * 0.36787944, 0.5])


def test_weights_are_numbers_at_the_least_temperature():
    torch.manual_seed(0)
    router = identity_router(temperature=MIN_TEMPERATURE, floor=MIN_TEMPERATURE)
    weight = router(Items(1e4 * torch.randn(50, 3))).weight
    torch.testing.assert_close(weight, torch.full((100,), 1 / 2))


def test_a_resumed_run_goes_on_cooling():
    used = routers.build("gumbel", 3, 3)
    for _ in range(300):
        used.adapt(torch.ones(3))
    stream = io.BytesIO()
    torch.save(used.state_dict(), stream)
    stream.seek(0)
    fresh = routers.build("gumbel", 3, 3)
    fresh.load_state_dict(torch.load(stream, weights_only=True))
    assert fresh.temperature.value == used.temperature.value == pytest.approx(0.74081822)


def test_half_precision_does_not_stop_the_clock():
    router = routers.build("gumbel", 3, 3).to(torch.bfloat16)
    for _ in range(300):
        router.adapt(torch.ones(3))
    assert router.temperature.steps == 300


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"temperature": 1e-46}, r"router\.temperature=1e-46.*1e-30"),
        ({"floor": 0.0}, r"router\.floor=0\.0"),
        ({"floor": 1e-46}, r"router\.floor=1e-46.*1e-30"),
        ({"floor": 2.0}, r"router\.floor=2\.0.*temperature=1\.0"),
        ({"rate": -1.0}, r"router\.rate=-1\.0"),
        ({"k": 4}, r"router\.k=4"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        routers.build("gumbel", 3, 3, **options)

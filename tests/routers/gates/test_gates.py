"""Gates compared with direct computations."""

import math

import pytest
import torch

import routers
from routers import ConfigError, Items
from routers.gates import build_gate


def test_linear_starts_with_logits_of_the_given_scale():
    torch.manual_seed(0)
    gate = build_gate({"name": "linear", "scale": 2.0}, 400, 50)
    assert gate(Items(torch.randn(100, 400))).std().item() == pytest.approx(2.0, rel=0.05)


def test_rows_are_those_whose_products_with_items_are_the_logits():
    x = torch.randn(5, 8)
    for name in routers.GATES:
        gate = build_gate(name, 8, 4)
        assert gate.rows() is not None or name != "linear"
        if gate.rows() is not None:
            torch.testing.assert_close(gate(Items(x)), x @ gate.rows().t())

    class Squared(routers.GATES["linear"]):
        def forward(self, items):
            return super().forward(items).square()

    assert Squared(8, 4).rows() is None  # an inherited method would not fit the new ``forward``


def test_cosine_is_a_cosine():
    gate = build_gate({"name": "cosine", "project": 0, "temperature": 0.5}, 2, 2)
    with torch.no_grad():
        gate.centroid.copy_(torch.tensor([[3.0, 0.0], [1.0, 1.0]]))
    logits = gate(Items(torch.tensor([[0.0, 5.0], [7.0, 0.0]])))
    expected = torch.tensor([[0.0, math.sqrt(2)], [2.0, math.sqrt(2)]])  # cos / 0.5
    torch.testing.assert_close(logits, expected)


def test_attention_by_slow_loops():
    torch.manual_seed(0)
    gate = build_gate({"name": "attention", "width": 3}, 4, 2).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    mask = torch.tensor([True, True, False, True, True, True])
    found = gate(Items(x, groups=2, mask=mask)).detach()
    gate.requires_grad_(False)
    for item in range(6):
        group = [i for i in range(item // 3 * 3, item // 3 * 3 + 3) if mask[i]]
        power = [math.exp(float(gate.pool[0] @ x[i])) for i in group]
        pooled = sum(p / sum(power) * x[i] for p, i in zip(power, group, strict=True))
        query = gate.query @ x[item] + gate.context @ pooled
        torch.testing.assert_close(found[item], gate.key @ query / math.sqrt(3))


def test_gate_options_are_checked():
    with pytest.raises(ConfigError, match=r"router\.gate=liner: unknown; did you mean 'linear'"):
        routers.build("topk", 4, 4, gate="liner")
    with pytest.raises(ConfigError, match=r"router\.gate\.hiden: unknown; did you mean 'hidden'"):
        routers.build("topk", 4, 4, gate={"name": "mlp", "hiden": 3})
    with pytest.raises(ConfigError, match=r"router\.gate\.temperature"):
        routers.build("topk", 4, 4, gate={"name": "cosine", "temperature": 0.0})


def test_options_without_a_name_belong_to_the_linear_gate():
    router = routers.build("topk", 4, 4, gate={"scale": 0.0})
    assert not router.gate.weight.any()


def test_every_parameter_has_an_axis():
    """FSDP2 shards parameters along their first axis."""
    parts = [build_gate(name, 8, 4) for name in routers.GATES]
    parts += [routers.build(name, 8, 8) for name in routers.available()]
    assert not [part for part in parts for p in part.parameters() if not p.dim()]


def test_a_temperature_without_an_axis_is_loaded():
    """Of checkpoints from before it had one."""
    router = routers.build("soft_moe", 4, 2)
    state = router.state_dict()
    state["gate.log_temperature"] = torch.tensor(0.5)
    router.load_state_dict(state)
    assert router.gate.log_temperature.tolist() == [0.5]

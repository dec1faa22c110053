"""Gates compared with direct computations."""

import math

import numpy as np
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


def built(name, **options):
    """A gate from 5 features to 3 scores in float64, 4 items, and its parameters in NumPy."""
    torch.manual_seed(0)
    gate = build_gate({"name": name, **options}, 5, 3).double()
    state = {key: value.detach().numpy() for key, value in gate.state_dict().items()}
    x = torch.randn(4, 5, dtype=torch.float64)
    return gate(Items(x)).detach().numpy(), x.numpy(), state


def test_prototype_is_a_distance_between_codes():
    found, x, s = built("prototype", width=2)
    for item, expert in np.ndindex(found.shape):
        centred = (x[item] - x[item].mean()) / np.sqrt(x[item].var() + 1e-5)
        code = s["encode"] @ (centred / (1 + np.exp(-centred))) + s["bias"]
        gap = code - s["prototype"][expert]
        assert found[item, expert] == pytest.approx(-(gap @ gap) / (2 * math.sqrt(2)))
    np.testing.assert_allclose(np.linalg.norm(s["prototype"], axis=1), math.sqrt(2), rtol=1e-6)


def test_low_rank_takes_the_mean_over_anchors():
    found, x, s = built("low_rank", width=2, anchors=3, bound=1.5)
    for item, expert in np.ndindex(found.shape):
        code, powers = s["project"] @ x[item], []
        for anchor in s["anchor"][expert]:
            length = math.sqrt(np.linalg.norm(code) * np.linalg.norm(anchor))
            powers.append(math.exp(1.5 * math.tanh(code @ anchor / (1.5 * length))))
        assert found[item, expert] == pytest.approx(math.log(sum(powers) / 3), abs=1e-6)


def test_hadamard_scales_features_by_an_mlp():
    found, x, s = built("hadamard", hidden=4)
    for item in range(4):
        hidden = [h * (1 + math.erf(h / math.sqrt(2))) / 2 for h in s["inner"] @ x[item]]
        scale = s["outer"] @ np.array(hidden)
        np.testing.assert_allclose(found[item], s["weight"] @ (scale * x[item]))


def test_hypernetwork_generates_a_linear_gate_and_learns_its_embedding_only():
    found, x, s = built("hypernetwork", width=3, hidden=4)
    hidden = np.maximum(s["inner"] @ s["embedding"], 0)
    np.testing.assert_allclose(found, [[(w @ hidden) @ row for w in s["outer"]] for row in x])
    gate = build_gate("hypernetwork", 5, 3)
    assert [name for name, _ in gate.named_parameters()] == ["embedding"]


def test_subspace_scores_the_length_of_a_projection():
    found, x, s = built("subspace", rank=2, concentration=0.7)
    for item, expert in np.ndindex(found.shape):
        unit = x[item] / np.linalg.norm(x[item])
        parts = [float(u @ unit) ** 2 for u in s["basis"][expert]]
        assert found[item, expert] == pytest.approx(5 / 2 * 0.7 * sum(parts))


@pytest.mark.parametrize(
    ("gate", "option"),
    [
        ("prototype", {"width": 0}),
        ("low_rank", {"anchors": 0}),
        ("low_rank", {"bound": 0.0}),
        ("hadamard", {"hidden": 0}),
        ("hypernetwork", {"width": 0}),
        ("subspace", {"rank": 0}),
        ("subspace", {"concentration": 0.0}),
    ],
)
def test_sizes_are_checked(gate, option):
    with pytest.raises(ConfigError, match=rf"gate\.{next(iter(option))}=0.* is invalid"):
        build_gate({"name": gate, **option}, 5, 3)


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
